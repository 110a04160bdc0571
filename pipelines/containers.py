"""Running the steps of the pipeline in containers on this machine (``kfp.local.DockerRunner``).

A container sees the artifacts of the run, the DVC remote (read-only) and MLflow's SQLite store,
each under its own path, and no network unless the remote or MLflow is reached through one. It has
no capabilities, and its user is the one who runs it; if that is root, the image's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import IMAGE
from streetseg.config import Params
from streetseg.errors import StreetsegError
from streetseg.tracking import sqlite_path, store_of

if TYPE_CHECKING:
    from kfp.local import DockerRunner

USER = 1000
"""Of the image."""
SHARED_MEMORY = "2g"
"""Size of ``/dev/shm``, through which the workers of the loader hand over batches."""
CREDENTIALS = "MLFLOW_TRACKING_", "AWS_"
"""Beginnings of the variables that a container with a network is given."""


def image_id() -> str:
    """The id of the image that the components run on.

    Raises:
        StreetsegError: Docker does not answer, or has no such image.
    """
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        return str(docker.from_env().images.get(IMAGE).id)
    except ImageNotFound:
        raise StreetsegError(
            f"Docker has no image {IMAGE}: run 'make images', or name another in STREETSEG_IMAGE"
        ) from None
    except DockerException as error:
        raise StreetsegError(f"Docker does not answer: {error}: is its engine running?") from None


def docker_runner(params: Params, folder: Path, gpus: bool = False) -> DockerRunner:
    """What kfp runs containers with.

    Args:
        params: names the remote and the store.
        folder: where the artifacts of the run go; it is given to the image's user if root runs it.
        gpus: whether containers see the machine's GPUs.
    """
    from docker.types import DeviceRequest, Mount
    from kfp.local import DockerRunner

    folder = folder.resolve()
    own, remote, store = [folder], params.data.remote, store_of(params.registry)
    mounts = []
    environment = {}
    if database := sqlite_path(store):
        database = database.resolve()
        database.parent.mkdir(parents=True, exist_ok=True)
        own += [database.parent, database, database.parent / "mlartifacts"]
        mounts.append(Mount(str(database.parent), str(database.parent), type="bind"))
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
    if is_local := "://" not in remote:
        mounts.append(Mount(remote, remote, type="bind", read_only=True))
    options: dict[str, Any] = {"network_mode": "none"}
    if not (database and is_local):
        options = {}
        environment |= {k: v for k, v in os.environ.items() if k.startswith(CREDENTIALS)}
    if gpus:
        options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return DockerRunner(
        user=_user_of(own),
        mounts=mounts,
        environment=environment,
        shm_size=SHARED_MEMORY,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        **options,
    )


def _user_of(paths: list[Path]) -> str:
    """Who runs in the containers; what root owns is given to the image's user."""
    if os.getuid():
        return f"{os.getuid()}:{os.getgid()}"
    for path in paths:
        if path.exists():
            os.chown(path, USER, USER)
    for path in (below for top in (paths[0], paths[-1]) for below in top.rglob("*")):
        os.chown(path, USER, USER)
    return f"{USER}:{USER}"
