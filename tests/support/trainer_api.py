"""The part of a Kubernetes API that runs TrainJobs: their commands are run on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from scripts.servers import free_port

NAMESPACE, TOKEN = "team", "let-me-in"
UID = "3e9f2c64-8d7b-4a51-9c06-5b1f0d2a7e38"
POD = {
    "metadata": {
        "name": "street-segmentation-training-x7k2p-system-container-impl-1",
        "namespace": NAMESPACE,
        "uid": "b7c1de90-1111-2222-3333-444455556666",
        "labels": {"pipeline/runid": "run-1", "workflows.argoproj.io/completed": "false"},
        "ownerReferences": [
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Workflow",
                "name": "street-segmentation-training-x7k2p",
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    },
    "spec": {
        "serviceAccountName": "default-editor",
        "imagePullSecrets": [{"name": "pull"}],
        "securityContext": {"fsGroup": 2000},
        "containers": [
            {"name": "wait", "image": "registry.example/argoexec"},
            {
                "name": "main",
                "image": "registry.example/streetseg:1.2",
                "env": [
                    {"name": "KFP_POD_NAME", "value": "of no use to others"},
                    {"name": "MLFLOW_TRACKING_USERNAME", "value": "trainer"},
                    {
                        "name": "MLFLOW_TRACKING_PASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": "mlflow", "key": "password"}},
                    },
                ],
            },
        ],
    },
}


class FakeCluster:
    """An API server with its TrainJobs.

    Attributes:
        jobs: the TrainJobs by name.
        calls: "create", "get" or "delete" for each request about a TrainJob, without dry runs.
        refuses: the status of the answer to every request, if not 0.
        forbids: verbs that the service account may not use.
        knows_trainjobs: whether Kubeflow Trainer is installed.
        command: what pods run instead of what the job says, if set.
    """

    def __init__(self, folder: Path) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, subprocess.Popen[bytes]] = {}
        self.calls: list[str] = []
        self.refuses, self.forbids, self.knows_trainjobs = 0, set[str](), True
        self.command: list[str] = []
        self.folder = folder
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def kubeconfig(self, address: str = "") -> Path:
        """A kubeconfig for this server, or for another address."""
        path = self.folder / f"kubeconfig-{len(list(self.folder.iterdir()))}"
        cluster = {"name": "c", "cluster": {"server": address or self.address}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
        user = {"name": "u", "user": {"token": TOKEN}}
        tree = {"clusters": [cluster], "contexts": [context], "users": [user]}
        path.write_text(yaml.safe_dump({**tree, "current-context": "x"}))
        return path

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for process in self.pods.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def answer(self, verb: str, path: str, query: dict, body: dict) -> tuple[int, dict | str]:
        prefix = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
        if self.refuses:
            return self.refuses, _status(self.refuses, "not now")
        if path.startswith(f"/api/v1/namespaces/{NAMESPACE}/pods/"):
            if path.rsplit("/", 1)[1] == POD["metadata"]["name"]:
                return 200, POD
            return 404, _status(404, "pods not found")
        if not path.startswith(prefix) or not self.knows_trainjobs:
            return 404, "404 page not found"
        if verb in self.forbids:
            return 403, _status(
                403,
                f'trainjobs.trainer.kubeflow.org is forbidden: User "default-editor" cannot {verb} '
                f'resource "trainjobs" in the namespace "{NAMESPACE}"',
            )
        with self.lock:
            if verb == "create":
                return self._create(body, query)
            return getattr(self, f"_{verb}")(path.removeprefix(f"{prefix}/"))

    def _create(self, job: dict, query: dict) -> tuple[int, dict]:
        assert query["fieldValidation"] == ["Strict"]
        accepted = TrainerV1alpha1TrainJob.from_dict(job).to_dict()
        if accepted != job:
            return 400, _status(400, 'strict decoding error: unknown field "spec.…"')
        runtime = job["spec"]["runtimeRef"]["name"]
        if runtime != "torch-distributed":
            return 403, _status(
                403,
                'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
                f'spec.RuntimeRef: ClusterTrainingRuntime.trainer.kubeflow.org "{runtime}" not '
                "found: specified clusterTrainingRuntime must be created before the TrainJob",
            )
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, _status(409, f'trainjobs "{name}" already exists')
        if "dryRun" not in query:
            self.calls.append("create")
            self.jobs[name] = job
            self.pods[name] = self._start(job["spec"]["trainer"])
        return 201, job

    def _get(self, name: str) -> tuple[int, dict]:
        self.calls.append("get")
        if name in self.jobs and self._gone(name):
            del self.jobs[name]
        if name not in self.jobs:
            return 404, _status(404, f'trainjobs "{name}" not found')
        job = self.jobs[name]
        if "status" not in job:
            answer = dict(job)
            job["status"] = {}
            return 200, answer
        job["status"] = _state(self.pods[name].poll())
        TrainerV1alpha1TrainJob.from_dict(job)
        return 200, job

    def _delete(self, name: str) -> tuple[int, dict]:
        """As with foreground deletion, the job is there until its pods have ended."""
        if name not in self.jobs:
            return 404, _status(404, f'trainjobs "{name}" not found')
        self.calls.append("delete")
        self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if self.pods[name].poll() is None:
            os.killpg(self.pods[name].pid, signal.SIGTERM)
        return 200, self.jobs[name]

    def _gone(self, name: str) -> bool:
        deleted = "deletionTimestamp" in self.jobs[name]["metadata"]
        return deleted and self.pods[name].poll() is not None

    def _start(self, trainer: dict) -> subprocess.Popen[bytes]:
        """Be the one pod of the job, as the runtime ``torch-distributed`` sets it up."""
        pet = {
            "PET_NNODES": trainer["numNodes"],
            "PET_NPROC_PER_NODE": trainer["numProcPerNode"],
            "PET_NODE_RANK": 0,
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": free_port(),
        }
        variables = {entry["name"]: entry["value"] for entry in trainer["env"] if "value" in entry}
        environment = {**os.environ, **variables, **{key: str(value) for key, value in pet.items()}}
        with (self.folder / "pod.log").open("ab") as log:
            return subprocess.Popen(
                self.command or trainer["command"] + trainer["args"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _state(code: int | None) -> dict:
    """The status of a job whose pod runs, or ended with this code."""
    if code is None:
        counts = {"ready": 1, "succeeded": 0, "failed": 0, "active": 1, "suspended": 0}
        return {"jobsStatus": [{"name": "node", **counts}]}
    kind, reason, message = (
        ("Failed", "FailedJobs", "jobset failed due to one or more job failures")
        if code
        else ("Complete", "AllJobsCompleted", "jobset completed successfully")
    )
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {"conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


def _status(code: int, message: str) -> dict:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code} | {
        "message": message
    }


def _handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self, verb: str) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(sent) if sent else {}
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                code, answer = cluster.answer(verb, url.path, parse_qs(url.query), body)
            else:
                code, answer = 401, _status(401, "Unauthorized")
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self._serve("get")

        def do_POST(self) -> None:
            self._serve("create")

        def do_DELETE(self) -> None:
            self._serve("delete")

        def log_message(self, *_: object) -> None:
            pass

    return Handler
