"""The part of the Kubeflow Pipelines v2beta1 API that runs and schedules pipelines.

Requests and answers are checked against the models of ``kfp_server_api``, which are generated from
the API's specification.
"""

from __future__ import annotations

import email.parser
import email.policy
import inspect
import json
import re
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import kfp_server_api as api
import yaml

from streetseg.core.provenance import REPOSITORY

RECORDED = REPOSITORY / "tests" / "data" / "kfp"
"""Answers of a real Kubeflow Pipelines 2.17 to runs of ours; the workflow is not yet JSON text."""
NAMESPACE, TOKEN = "team", "let-me-in"
NOT_YET = "1970-01-01T00:00:00Z"
TYPES = {"str": str, "bool": bool, "int": int, "object": object, "datetime": datetime}


class RefusalError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeKubeflow:
    """An API server of a multi-user Kubeflow, in which one namespace is open to one token.

    Attributes:
        pipelines, versions, experiments, runs, schedules: what exists, by id.
        packages: the YAML of each version, by its id.
        story: the states of a run, one for each request: its own, and those of its
            steps. The last one stays.
        recorded: answers of a real backend about a run, by its id: see ``record``.
        serves_v1: whether the v1 API is served, which has the Argo workflow of a run.
        logs: what each pod has printed, by its name or that of its node.
        calls: verb and path of every successful request.
        answer: the answer to every request, if set: status, headers and body.
    """

    def __init__(self) -> None:
        self.pipelines: dict[str, dict] = {}
        self.versions: dict[str, dict] = {}
        self.packages: dict[str, str] = {}
        self.experiments: dict[str, dict] = {}
        self.runs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.story: list[tuple[str, dict[str, str]]] = [("PENDING", {})]
        self.errors: dict[str, str] = {}
        self.recorded: dict[str, dict] = {}
        self.serves_v1 = True
        self.workflows: dict[str, dict] = {}
        self.logs: dict[str, str] = {}
        self.calls: list[str] = []
        self.answer: tuple[int, dict[str, str], str] | None = None
        self.polls = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def create_pipeline(self, body: dict) -> dict:
        self._open(body.get("namespace", ""))
        if any(each["name"] == body["name"] for each in self.pipelines.values()):
            raise RefusalError(409, f"Failed to create a pipeline: The name {body['name']} exists")
        return _keep(self.pipelines, "pipeline_id", body)

    def get_pipeline_by_name(self, name: str, namespace: str = "") -> dict:
        self._open(namespace)
        for each in self.pipelines.values():
            if (each["name"], each["namespace"]) == (name, namespace):
                return each
        raise RefusalError(404, f"Pipeline {name} not found")

    def list_versions(self, pipeline_id: str, filter: str) -> dict:
        mine = {k: v for k, v in self.versions.items() if v["pipeline_id"] == pipeline_id}
        return {"pipeline_versions": _filtered(mine, filter)}

    def upload_version(self, body: str, name: str, pipelineid: str) -> dict:
        self._open(self.pipelines[pipelineid]["namespace"])
        if any(each["name"] == name for each in self.versions.values()):
            raise RefusalError(409, "Failed to create a pipeline version")
        version = {"name": name, "display_name": name, "pipeline_id": pipelineid}
        made = _keep(self.versions, "pipeline_version_id", version)
        self.packages[made["pipeline_version_id"]] = body
        return made

    def get_version(self, pipeline_id: str, version_id: str) -> dict:
        version = self.versions.get(version_id)
        if version is None or version["pipeline_id"] != pipeline_id:
            raise RefusalError(404, f"Pipeline version {version_id} not found")
        spec, *platform = yaml.safe_load_all(self.packages[version_id])
        both = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        return {**version, "pipeline_spec": both}

    def create_experiment(self, body: dict) -> dict:
        self._open(body.get("namespace", ""))
        return _keep(self.experiments, "experiment_id", body)

    def list_experiments(self, filter: str, namespace: str = "") -> dict:
        self._open(namespace)
        mine = {k: v for k, v in self.experiments.items() if v["namespace"] == namespace}
        return {"experiments": _filtered(mine, filter)}

    def create_run(self, body: dict) -> dict:
        self._exists(body)
        self.polls = 0
        return _keep(self.runs, "run_id", {**body, "state": "PENDING", "finished_at": NOT_YET})

    def record(self, name: str, **changes: Any) -> str:
        """Serve a recorded run, and return its id."""
        run = json.loads((RECORDED / f"{name}.json").read_text())
        run["v2beta1"] |= changes
        run_id = run["v2beta1"]["run_id"]
        self.recorded[run_id] = run
        return run_id

    def get_run(self, run_id: str) -> dict:
        if run_id in self.recorded:
            return self.recorded[run_id]["v2beta1"]
        if run_id not in self.runs:
            raise RefusalError(404, f"Failed to get a run: Run {run_id} not found")
        state, steps = self.story[min(self.polls, len(self.story) - 1)]
        self.polls += 1
        done = state in ("SUCCEEDED", "FAILED", "CANCELED")
        self.runs[run_id] |= {
            "state": state,
            "finished_at": "2026-01-31T03:10:00Z" if done else NOT_YET,
        }
        self.workflows[run_id] = self._workflow(steps)
        return self.runs[run_id]

    def get_workflow(self, run_id: str) -> str:
        """The answer of the v1 API."""
        if not self.serves_v1:
            raise RefusalError(501, "Not Implemented")
        run = {"run": {"id": run_id}}
        if run_id in self.recorded:
            run = self.recorded[run_id].get("v1beta1") or run
            workflow = (run.get("pipeline_runtime") or {}).get("workflow_manifest")
        else:
            workflow = self.workflows.get(run_id)
        if workflow:
            run = {**run, "pipeline_runtime": {"workflow_manifest": json.dumps(workflow)}}
        return json.dumps(run)

    def terminate_run(self, run_id: str) -> dict:
        self.story = [("CANCELING", {})]
        self.polls = 0
        return {}

    def retry_run(self, run_id: str) -> dict:
        self.story = [("RUNNING", {}), ("SUCCEEDED", {})]
        self.polls = 0
        return {}

    def list_runs(
        self,
        sort_by: str,
        page_size: str,
        experiment_id: str = "",
        filter: str = "",
        namespace: str = "",
    ) -> dict:
        assert sort_by == "created_at desc"
        if experiment_id:
            mine = [each for each in self.runs.values() if each["experiment_id"] == experiment_id]
        else:
            self._open(namespace)
            recorded = {key: run["v2beta1"] for key, run in self.recorded.items()}
            mine = _filtered(recorded, filter, "recurring_run_id")
        return {"runs": mine[::-1][: int(page_size)]}

    def create_schedule(self, body: dict) -> dict:
        self._exists(body)
        return _keep(self.schedules, "recurring_run_id", body)

    def list_schedules(
        self, namespace: str = "", filter: str = "", page_size: str = "20", page_token: str = ""
    ) -> dict:
        self._open(namespace)
        found = _filtered(self.schedules, filter) if filter else [*self.schedules.values()]
        first = int(page_token or 0)
        page = {"recurringRuns": found[first : first + int(page_size)]}
        more = first + int(page_size)
        return page | ({"next_page_token": str(more)} if more < len(found) else {})

    def delete_schedule(self, recurring_run_id: str) -> dict:
        del self.schedules[recurring_run_id]
        return {}

    def read_log(self, run_id: str, pod: str) -> str:
        """The log of a pod; the real server has sent status 200 before it looks for one."""
        if pod not in self.logs:
            message = f"Failed to read logs for run {run_id}: pods {pod} not found"
            return json.dumps({"error_message": message, "error_details": f"BadRequest: {message}"})
        return self.logs[pod]

    def _open(self, namespace: str) -> None:
        if not namespace:
            raise RefusalError(400, "Invalid input error: a namespace is needed in multi-user mode")
        if namespace != NAMESPACE:
            raise RefusalError(403, f"User 'me' is not authorized in namespace {namespace}")

    def _exists(self, body: dict) -> None:
        if "pipeline_spec" not in body:
            version = self.versions[body["pipeline_version_reference"]["pipeline_version_id"]]
            assert version["pipeline_id"] == body["pipeline_version_reference"]["pipeline_id"]
        assert body["experiment_id"] in self.experiments

    def _workflow(self, steps: dict[str, str]) -> dict:
        """The Argo workflow: of each step a driver, and a group around the executor.

        They are named as Argo names them: a pod ends in the number of its node.
        """
        workflow = "street-segmentation-training-x7k2p"
        nodes: dict[str, dict] = {}

        def add(kind: str, path: str, number: int, phase: str, group: int = 0, **more: str) -> None:
            nodes[f"{workflow}-{number}"] = {
                "id": f"{workflow}-{number}",
                "name": f"{workflow}.root.{path}",
                "displayName": path.rpartition(".")[2],
                "type": kind,
                "phase": phase,
                "boundaryID": f"{workflow}-{group}" if group else workflow,
                "startedAt": f"2026-01-31T03:{number // 10:02}:00Z",
                "finishedAt": None if phase in ("Running", "Pending") else "2026-01-31T03:09:59Z",
                **more,
            }

        for number, (name, state) in enumerate(steps.items(), 1):
            phase = "Succeeded" if state == "CACHED" else state.capitalize()
            driver, group, pod = 10 * number, 10 * number + 1, 10 * number + 2
            template = "system-container-{}".format
            add("Pod", f"{name}-driver", driver, "Succeeded", templateName=template("driver"))
            add("DAG", name, group, phase, templateName=template("executor"))
            if state == "CACHED":
                add("Skipped", f"{name}.executor", pod, "Skipped", group)
                continue
            more = {"templateName": template("impl")}
            if name in self.errors:
                more["message"] = self.errors[name]
            add("Pod", f"{name}.executor", pod, phase, group, **more)
        return {"metadata": {"name": workflow}, "status": {"nodes": nodes}}


def _keep(things: dict[str, dict], key: str, body: dict) -> dict:
    made = {**body, key: str(uuid.uuid4()), "created_at": "2026-01-31T03:00:00Z"}
    things[made[key]] = made
    return made


def _filtered(things: dict[str, dict], filter: str, key: str = "display_name") -> list[dict]:
    """What a filter of one key leaves."""
    conform(json.loads(filter), "V2beta1Filter")
    (predicate,) = json.loads(filter)["predicates"]
    assert (predicate["operation"], predicate["key"]) == ("EQUALS", key)
    return [each for each in things.values() if each.get(key) == predicate["string_value"]]


def conform(value: Any, kind: str) -> None:
    """Raise AssertionError unless a value is of a type of the API."""
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list), f"{value} is no list"
        for each in value:
            conform(each, match[1])
    elif match := re.fullmatch(r"dict\(str, (.*)\)", kind):
        assert isinstance(value, dict), f"{value} is no mapping"
        if match[1] != "object":  # any JSON
            for each in value.values():
                conform(each, match[1])
    elif kind == "datetime":
        datetime.fromisoformat(value)
    elif kind in TYPES:
        assert isinstance(value, TYPES[kind]), f"{value} is no {kind}"
    else:
        model = getattr(api, kind)
        if not model.openapi_types:
            assert value in model.allowable_values, f"{value} is no {kind}"
            return
        assert isinstance(value, dict), f"{value} is no {kind}"
        kinds = {model.attribute_map[name]: each for name, each in model.openapi_types.items()}
        assert value.keys() <= kinds.keys(), f"{kind} has no {value.keys() - kinds.keys()}"
        for name, each in value.items():
            conform(each, kinds[name])


def _known_query(method: Callable[..., Any]) -> set[str]:
    """The query parameters of a method of the generated client."""
    source = inspect.getsource(getattr(api, method.__qualname__.split(".")[0]))
    begin = source.index(f"def {method.__name__}_with_http_info")
    body = source[begin : source.index("call_api(", begin)]
    return set(re.findall(r"query_params\.append\(\('(\w+)'", body))


PIPELINES, RUNS, UPLOADS = (
    api.PipelineServiceApi,
    api.RunServiceApi,
    api.PipelineUploadServiceApi,
)
EXPERIMENTS, SCHEDULES = api.ExperimentServiceApi, api.RecurringRunServiceApi
ROUTES: list[tuple[str, str, str, Any, str, str]] = [
    # verb, path, handler, method of the client, type of the request, type of the answer
    (
        "GET",
        "/pipelines/names/(?P<name>[^/]+)",
        "get_pipeline_by_name",
        PIPELINES.pipeline_service_get_pipeline_by_name,
        "",
        "V2beta1Pipeline",
    ),
    (
        "POST",
        "/pipelines",
        "create_pipeline",
        PIPELINES.pipeline_service_create_pipeline,
        "V2beta1Pipeline",
        "V2beta1Pipeline",
    ),
    (
        "GET",
        "/pipelines/(?P<pipeline_id>[^/]+)/versions",
        "list_versions",
        PIPELINES.pipeline_service_list_pipeline_versions,
        "",
        "V2beta1ListPipelineVersionsResponse",
    ),
    (
        "GET",
        "/pipelines/(?P<pipeline_id>[^/]+)/versions/(?P<version_id>[^/]+)",
        "get_version",
        PIPELINES.pipeline_service_get_pipeline_version,
        "",
        "V2beta1PipelineVersion",
    ),
    (
        "POST",
        "/pipelines/upload_version",
        "upload_version",
        UPLOADS.upload_pipeline_version,
        "file",
        "V2beta1PipelineVersion",
    ),
    (
        "GET",
        "/experiments",
        "list_experiments",
        EXPERIMENTS.experiment_service_list_experiments,
        "",
        "V2beta1ListExperimentsResponse",
    ),
    (
        "POST",
        "/experiments",
        "create_experiment",
        EXPERIMENTS.experiment_service_create_experiment,
        "V2beta1Experiment",
        "V2beta1Experiment",
    ),
    ("GET", "/runs", "list_runs", RUNS.run_service_list_runs, "", "V2beta1ListRunsResponse"),
    ("POST", "/runs", "create_run", RUNS.run_service_create_run, "V2beta1Run", "V2beta1Run"),
    ("GET", "/runs/(?P<run_id>[^/]+)", "get_run", RUNS.run_service_get_run, "", "V2beta1Run"),
    (
        "POST",
        "/runs/(?P<run_id>[^/]+):terminate",
        "terminate_run",
        RUNS.run_service_terminate_run,
        "",
        "dict(str, object)",
    ),
    (
        "POST",
        "/runs/(?P<run_id>[^/]+):retry",
        "retry_run",
        RUNS.run_service_retry_run,
        "",
        "dict(str, object)",
    ),
    (
        "GET",
        "/recurringruns",
        "list_schedules",
        SCHEDULES.recurring_run_service_list_recurring_runs,
        "",
        "V2beta1ListRecurringRunsResponse",
    ),
    (
        "POST",
        "/recurringruns",
        "create_schedule",
        SCHEDULES.recurring_run_service_create_recurring_run,
        "V2beta1RecurringRun",
        "V2beta1RecurringRun",
    ),
    (
        "DELETE",
        "/recurringruns/(?P<recurring_run_id>[^/]+)",
        "delete_schedule",
        SCHEDULES.recurring_run_service_delete_recurring_run,
        "",
        "dict(str, object)",
    ),
]
WORKFLOW = re.compile("/apis/v1beta1/runs/(?P<run_id>[^/]+)")
LOG = re.compile("/apis/v1alpha1/runs/(?P<run_id>[^/]+)/nodes/(?P<pod>[^/]+)/log")


def _serve(
    kubeflow: FakeKubeflow, verb: str, path: str, query: dict[str, str], sent: bytes, kind: str
) -> str:
    """The body of the answer."""
    if match := LOG.fullmatch(path):
        return kubeflow.read_log(**match.groupdict())
    if match := WORKFLOW.fullmatch(path):
        return kubeflow.get_workflow(**match.groupdict())
    for allowed, pattern, name, method, takes, gives in ROUTES:
        match = re.fullmatch(f"/apis/v2beta1{pattern}", path)
        if match is None or verb != allowed:
            continue
        unknown = query.keys() - _known_query(method)
        assert not unknown, f"{method.__name__} has no query parameters {unknown}"
        arguments = {key: unquote(value) for key, value in match.groupdict().items()} | query
        if takes == "file":
            arguments["body"] = _uploaded(sent, kind)
        elif takes:
            body = json.loads(sent)
            conform(body, takes)
            arguments["body"] = body
        answer = getattr(kubeflow, name)(**arguments)
        conform(answer, gives)
        return json.dumps(answer)
    raise RefusalError(501, f"no route for {verb} {path}")


def _uploaded(sent: bytes, kind: str) -> str:
    """The YAML in a form."""
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + sent
    )
    (part,) = form.iter_parts()  # type: ignore[attr-defined]
    assert part.get_param("name", header="Content-Disposition") == "uploadfile"
    assert part.get_filename().endswith(".yaml")
    return part.get_payload(decode=True).decode()


def _handler(kubeflow: FakeKubeflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {"Content-Type": "application/json"}
            if kubeflow.answer:
                status, headers, text = kubeflow.answer
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, text = 401, "Unauthorized"
            else:
                try:
                    with kubeflow.lock:
                        kind = self.headers.get("Content-Type", "")
                        query = dict(parse_qsl(url.query))
                        text = _serve(kubeflow, self.command, url.path, query, sent, kind)
                    kubeflow.calls.append(f"{self.command} {url.path}")
                    status = 200
                    if LOG.fullmatch(url.path):
                        headers = {"Content-Type": "text/plain"}
                except RefusalError as error:
                    status = error.status
                    text = json.dumps({"error": str(error), "code": 2, "message": str(error)})
                except Exception as error:  # a mistake of the client's, for the test to see
                    status = 400
                    message = f"{type(error).__name__}: {error}"
                    text = json.dumps({"error": message, "code": 3, "message": message})
            body = text.encode(errors="surrogateescape")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names are of the library

        def log_message(self, *_: object) -> None:
            pass

    return Handler
