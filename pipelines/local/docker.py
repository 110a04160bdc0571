"""Running the steps of the pipeline in containers on this machine (``kfp.local.DockerRunner``).

A container sees the artifacts of the run, the DVC remote (read-only) and the folder of MLflow's
SQLite store, each under its own path, and no network unless the remote or MLflow is reached through
one. It has no capabilities, and its user is the one who runs it; if that is root, the image's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components import IMAGE
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.tracking.store import absolute_store, sqlite_path, store_of

if TYPE_CHECKING:
    from kfp.local import DockerRunner

USER = 1000
"""Of the image."""
SHARED_MEMORY = "2g"
"""Size of ``/dev/shm``, through which the workers of the data loader pass batches."""
CREDENTIALS = "MLFLOW_TRACKING_", "MLFLOW_S3_", "AWS_"
"""Prefixes of the variables that a container with a network gets."""


@contextmanager
def docker_errors() -> Iterator[None]:
    """Turn an error of Docker into one line."""
    from docker.errors import APIError, DockerException, ImageNotFound

    try:
        yield
    except ImageNotFound:
        raise StreetsegError(
            f"Docker has no image {IMAGE}: run 'make images', or name another in STREETSEG_IMAGE"
        ) from None
    except APIError as error:
        raise StreetsegError(f"Docker refuses: {error.explanation or error}") from None
    except DockerException as error:
        raise StreetsegError(f"Docker does not answer: {error}: is its engine running?") from None


def image_id() -> str:
    """The id of the image that the components run on.

    Raises:
        StreetsegError: Docker does not answer, or has no such image.
    """
    import docker

    with docker_errors():
        return str(docker.from_env().images.get(IMAGE).id)


def local_paths(params: Params) -> dict[str, str]:
    """The settings that are paths on this machine, made absolute: containers see the same paths."""
    paths = {}
    if "://" not in params.data.remote:
        paths["data.remote"] = str(Path(params.data.remote).resolve())
    if sqlite_path(store := store_of(params.registry)):
        paths["registry.tracking_uri"] = absolute_store(store)
    return paths


def docker_runner(
    params: Params, folder: Path, network: str = "bridge", gpus: bool = False
) -> DockerRunner:
    """What kfp runs the steps with.

    Args:
        params: names the remote and the store, see :func:`local_paths`.
        folder: where the artifacts of the run go.
        network: Docker's network for containers that need one.
        gpus: whether containers see the machine's GPUs.

    Raises:
        StreetsegError: a folder is not the user's, or MLflow is out of reach of a container.
    """
    from docker.types import DeviceRequest, Mount
    from kfp.local import DockerRunner

    user = _user_of(folder)
    mounts = []
    options: dict[str, Any] = {"network_mode": "none"}
    remote, store = params.data.remote, store_of(params.registry)
    database = sqlite_path(store)
    if database:
        _user_of(database.parent)
        mounts.append(Mount(str(database.parent), str(database.parent), type="bind"))
    if "://" not in remote:
        mounts.append(Mount(remote, remote, type="bind", read_only=True))
    if "://" in remote or not database:
        credentials = {name: v for name, v in os.environ.items() if name.startswith(CREDENTIALS)}
        options = {"network_mode": network, "environment": credentials}
    host = urlsplit(store).hostname
    if host in ("127.0.0.1", "localhost") and network != "host":
        raise StreetsegError(
            f"MLflow at {host} is this machine, not a container: name an address that both reach, "
            "or --network host"
        )
    if gpus:
        options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return DockerRunner(
        user=user,
        mounts=mounts,
        shm_size=SHARED_MEMORY,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        **options,
    )


def _user_of(folder: Path) -> str:
    """The user of containers that write to a folder, which is created if need be."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid():
        return f"{os.getuid()}:{os.getgid()}"
    if is_new:
        os.chown(folder, USER, USER)
    elif folder.stat().st_uid != USER:
        raise StreetsegError(
            f"{folder} is not of user {USER}, who runs the steps in containers for root: give it "
            f"with 'chown -R {USER}:{USER} {folder}', name another, or do not be root"
        )
    return f"{USER}:{USER}"
