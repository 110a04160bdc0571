"""A folder of images, segmented by a service."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from streetseg.client.request import Answer, Request, ServiceError, mask_file
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.parallel import thread_map
from streetseg.core.progress import track
from streetseg.core.storage import Storage
from streetseg.images.paths import list_images, mask_name

ABOUT_THE_PICTURE = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
    httpx.codes.UNSUPPORTED_MEDIA_TYPE,
    httpx.codes.INTERNAL_SERVER_ERROR,
)
"""Statuses after which the next image may do better."""


@dataclass(frozen=True)
class Folder:
    """A folder of images that the service was asked about."""

    destination: Path
    made: int
    """Masks of this call."""
    there: int
    """Masks that an earlier call had left."""
    failed: dict[str, str]
    """What is wrong with each image that has no mask, by its path below the source."""
    model_versions: list[str]
    """That made the masks of this call: more than one if a promotion came between."""


def ask_for_folder(
    send: Callable[[Request[bytes]], Answer[bytes]],
    source: str | Path,
    destination: str | Path,
    parallel: int,
) -> Folder:
    """Fetch the masks of a folder; :meth:`streetseg.client.Client.folder` says how.

    Args:
        send: asks the service; it is called from several threads.
        source: folder of images.
        destination: folder for the masks.
        parallel: how many images are asked about at the same time.
    """
    origin, target = (Storage(str(Path(folder).resolve())) for folder in (source, destination))
    pictures, masks = list_images(origin, target), target.files()
    to_do = [path for path in pictures if mask_name(path) not in masks]
    failed: dict[str, str] = {}
    versions: set[str] = set()

    def ask(path: str) -> tuple[str, str, str]:
        """The path, and the version of the model or what is wrong with the image."""
        try:
            answer = send(mask_file(origin.read(path)))
        except ServiceError as error:
            if error.status not in ABOUT_THE_PICTURE:
                raise
            return path, "", error.reason
        except StreetsegError as error:
            return path, "", str(error)
        target.write(mask_name(path), answer.value)
        return path, answer.model_version, ""

    pool = ThreadPoolExecutor(parallel)
    try:
        asked = thread_map(pool, ask, to_do, ahead=2 * parallel)
        for path, version, wrong in track(asked, total=len(to_do), description="ask"):
            if wrong:
                failed[path] = wrong
            else:
                versions.add(version)
    except KeyboardInterrupt:
        raise StoppedError(
            f"stopped with masks in {target.url}: the same command goes on with the rest"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    made, there = len(to_do) - len(failed), len(pictures) - len(to_do)
    return Folder(Path(target.url), made, there, failed, sorted(versions))
