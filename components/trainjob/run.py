"""Training on the machines of a cluster: handed over on a volume, done by a TrainJob."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from components.trainjob.kubeflow_trainer import TrainJobs, describe_job, owner_of, state_of
from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from streetseg.tracking.record import read_metric

if TYPE_CHECKING:
    from streetseg.training.train import TrainedModel

FOLDERS = "streetseg-????????-????-????-????-????????????*"
"""Of runs, on the volume: each is named after the uid of its workflow."""
KEPT_S = 7 * 24 * 3600
"""Age at which what another run left on the volume is removed."""


def train_on_cluster(
    params: Params,
    dataset: Path,
    destination: Path,
    *,
    nodes: int,
    gpus: int,
    runtime: str,
    claim: str,
    mount: Path,
) -> TrainedModel:
    """Train like :func:`streetseg.training.train.train`, in the pods of a TrainJob.

    The job has the name of the pipeline run. A second call in the same run goes on with a job that
    is still there, and puts one that failed aside for a new one, which goes on from the checkpoint
    on the volume. A model that is on the volume is taken as it is. It stays there, for kfp may fail
    to store what this step hands on; a later run removes it after a week.

    Args:
        params: the recipe.
        dataset: folder of the prepared dataset.
        destination: where the model artifact goes.
        nodes: pods.
        gpus: of each pod; 0 for one process on CPUs.
        runtime: the ClusterTrainingRuntime to start from.
        claim: a persistent volume claim (ReadWriteMany), which this step has at ``mount``.
        mount: where it is, here and in the pods.

    Raises:
        StreetsegError: no volume, no cluster, the job is refused or fails, or SIGTERM (which
            deletes the job and leaves the checkpoint).
    """
    from streetseg.training.train import TrainedModel

    if not mount.is_dir():
        raise StreetsegError(f"no volume at {mount}: the claim {claim} must be mounted there")
    jobs = TrainJobs()
    pod = jobs.own_pod()
    name = f"streetseg-{owner_of(pod)['uid']}"
    folder = mount / name
    model = folder / "model"
    command = ["torchrun", "-m", "streetseg", "train"]
    command += ["--params", str(folder / "params.yaml"), "--out", str(model)]
    job = describe_job(
        name, pod, command, nodes=nodes, gpus=gpus, runtime=runtime, claim=claim, mount=mount
    )
    with _deleted_on_request(jobs, name, folder):
        there = jobs.find(name)
        _tidy(mount, folder, jobs)
        if not model.is_dir():
            if not _in_progress(there):
                if there:
                    jobs.remove(name)
                jobs.check(job)
                _hand_over(params, dataset, folder)
                jobs.create(job)
            jobs.wait(name)

    origin = read_config(model)
    with atomic_folder(destination, "config.json") as taken:
        shutil.copytree(model, taken, dirs_exist_ok=True, copy_function=shutil.copyfile)
    miou = read_metric(params.registry, origin["run_id"], "best_selection_miou")
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    return TrainedModel(destination, origin["run_id"], origin["epoch"], miou)


def _in_progress(job: dict | None) -> bool:
    """Whether a job runs, or will."""
    if job is None or "deletionTimestamp" in job["metadata"]:
        return False
    return state_of(job)[0] not in ("failed", "complete")


def _tidy(mount: Path, own: Path, jobs: TrainJobs) -> None:
    """Remove what other runs left on the volume, unless a job of theirs goes on.

    A training renews its folder with each checkpoint, but may wait long for its pods. What time it
    is, the volume says.
    """
    with tempfile.NamedTemporaryFile(dir=mount) as touched:
        now = Path(touched.name).stat().st_mtime
    for folder in mount.glob(FOLDERS):
        # Another step tidies up too; an API that does not answer can wait until the next run.
        with suppress(FileNotFoundError, StreetsegError):
            old = now - folder.stat().st_mtime > KEPT_S
            if folder != own and old and not _in_progress(jobs.find(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)
                print(f"{folder}, of an earlier run, is removed", flush=True)


def _hand_over(params: Params, dataset: Path, folder: Path) -> None:
    """Put the dataset and the settings where the pods read them, unless they are there."""
    if (folder / "params.yaml").is_file():
        return
    tree = params.to_dict()
    held = PreparedDataset(dataset)
    tree["data"] |= {"prepared": str(folder / "prepared"), "source": held.source}
    tree["prepare"]["size"] = list(held.size)
    tree["train"]["checkpoint"] = str(folder / "training.checkpoint")
    with atomic_folder(folder, "params.yaml", "is the volume full, or not this user's?") as fresh:
        shutil.copytree(dataset, fresh / "prepared", copy_function=shutil.copyfile)
        (fresh / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@contextmanager
def _deleted_on_request(jobs: TrainJobs, name: str, folder: Path) -> Iterator[None]:
    """Delete the job if this step is told to end (SIGTERM, Ctrl-C), so that its GPUs are free."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        jobs.delete(name)
        raise StreetsegError(
            f"stopped: train job {name} is deleted; a retried run goes on from {folder}"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)
