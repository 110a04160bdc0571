"""Training in a TrainJob: the dataset goes to its pods on a volume, and the model comes back."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from components.trainjob.api import TrainJobs, state_of
from components.trainjob.manifest import Json, TrainJobSpec, build_manifest, owner_of
from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from streetseg.tracking.metric_names import BEST_MIOU
from streetseg.tracking.results import read_metric

if TYPE_CHECKING:
    from streetseg.training.train import TrainedModel

RUN_FOLDERS = "streetseg-????????-????-????-????-????????????*"
"""Folders of runs on the volume: each is named after the uid of its workflow."""
MAX_AGE_S = 7 * 24 * 3600
"""Age at which the folder of another run is removed from the volume."""


def train_on_cluster(
    params: Params, dataset: Path, destination: Path, spec: TrainJobSpec
) -> TrainedModel:
    """Train like :func:`streetseg.training.train.train`, in the pods of a TrainJob.

    The job is named after the pipeline run. A second call in the same run resumes waiting for a job
    that still runs, and replaces a failed one by a new one, which resumes from the checkpoint on
    the volume. A model that is on the volume is taken as it is. It stays there, because kfp may
    fail to store the output of this step; a later run removes it after a week.

    Args:
        params: the recipe.
        dataset: folder of the prepared dataset.
        destination: where the model artifact goes.
        spec: nodes, GPUs, runtime and volume.

    Raises:
        StreetsegError: no volume, no cluster, the job is refused or fails, or SIGTERM (which
            deletes the job and leaves the checkpoint).
    """
    from streetseg.training.train import TrainedModel

    mount = Path(spec.mount)
    if not mount.is_dir():
        raise StreetsegError(f"no volume at {mount}: the claim {spec.claim} must be mounted there")
    jobs = TrainJobs()
    pod = jobs.own_pod()
    name = f"streetseg-{owner_of(pod)['uid']}"
    folder = mount / name
    model = folder / "model"
    command = ["torchrun", "-m", "streetseg", "train"]
    command += ["--params", str(folder / "params.yaml"), "--out", str(model)]
    job = build_manifest(name, pod, command, spec)
    with _deleted_if_interrupted(jobs, name, folder):
        existing = jobs.find(name)
        _remove_old_runs(mount, folder, jobs)
        if not model.is_dir():
            if not _in_progress(existing):
                if existing:
                    jobs.remove(name)
                jobs.check(job)
                _copy_to_volume(params, dataset, folder)
                jobs.create(job)
            jobs.wait(name)

    origin = read_config(model)
    with atomic_folder(destination, "config.json") as copy:
        shutil.copytree(model, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
    miou = read_metric(params.registry, origin["run_id"], BEST_MIOU)
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    return TrainedModel(destination, origin["run_id"], origin["epoch"], miou)


def _in_progress(job: Json | None) -> bool:
    """Whether a job runs, or will."""
    if job is None or "deletionTimestamp" in job["metadata"]:
        return False
    return state_of(job)[0] not in ("failed", "complete")


def _remove_old_runs(mount: Path, own: Path, jobs: TrainJobs) -> None:
    """Remove the folders that other runs left on the volume, unless their jobs are in progress.

    A training renews its folder with each checkpoint, but may wait long for its pods. The current
    time is that of the volume's clock.
    """
    with tempfile.NamedTemporaryFile(dir=mount) as touched:
        now = Path(touched.name).stat().st_mtime
    for folder in mount.glob(RUN_FOLDERS):
        # Another step may remove it first; an API that does not answer can wait until the next run.
        with suppress(FileNotFoundError, StreetsegError):
            old = now - folder.stat().st_mtime > MAX_AGE_S
            if folder != own and old and not _in_progress(jobs.find(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)
                print(f"{folder}, of an earlier run, is removed", flush=True)


def _copy_to_volume(params: Params, dataset: Path, folder: Path) -> None:
    """Put the dataset and the settings where the pods read them, unless they are there."""
    if (folder / "params.yaml").is_file():
        return
    tree = params.to_dict()
    prepared = PreparedDataset(dataset)
    tree["data"] |= {"prepared": str(folder / "prepared"), "source": prepared.source}
    tree["prepare"] |= {"size": list(prepared.size), "fit": prepared.fit}
    tree["train"]["checkpoint"] = str(folder / "training.checkpoint")
    with atomic_folder(folder, "params.yaml", "is the volume full, or not this user's?") as fresh:
        shutil.copytree(dataset, fresh / "prepared", copy_function=shutil.copyfile)
        (fresh / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@contextmanager
def _deleted_if_interrupted(jobs: TrainJobs, name: str, folder: Path) -> Iterator[None]:
    """Delete the job on SIGTERM or Ctrl-C, so that its GPUs are free."""
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
