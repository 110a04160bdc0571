"""Segmentation of a folder of images with a service."""

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

IMAGE_ERRORS = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
    httpx.codes.UNSUPPORTED_MEDIA_TYPE,
    httpx.codes.INTERNAL_SERVER_ERROR,
)
"""Statuses that concern one image: the next one may succeed."""
MAX_PARALLEL = 100
"""Connections that httpx opens at a time."""


@dataclass(frozen=True)
class Folder:
    """The result of segmenting a folder."""

    destination: Path
    made: int
    """Masks that this call made."""
    there: int
    """Masks that existed already."""
    failed: dict[str, str]
    """Why each image without a mask failed, by its path below the source."""
    model_versions: list[str]
    """The versions that made the masks of this call: several after a promotion meanwhile."""


def segment_folder(
    send: Callable[[Request[bytes]], Answer[bytes]],
    source: str | Path,
    destination: str | Path,
    parallel: int,
) -> Folder:
    """Request masks by ``send`` from several threads; see :meth:`.Client.folder`."""
    if not (isinstance(parallel, int) and 1 <= parallel <= MAX_PARALLEL):
        raise StreetsegError(f"parallel={parallel}: give a whole number from 1 to {MAX_PARALLEL}")
    images, masks = (Storage(str(Path(folder).resolve())) for folder in (source, destination))
    paths, existing = list_images(images, masks), masks.files()
    pending = [path for path in paths if mask_name(path) not in existing]
    failed: dict[str, str] = {}
    versions: set[str] = set()

    def request_mask(path: str) -> tuple[str, str, str]:
        """Path, model version and problem of an image; one of the last two is empty."""
        try:
            answer = send(mask_file(images.read(path)))
        except ServiceError as error:
            if error.status not in IMAGE_ERRORS:
                raise
            return path, "", error.reason
        except StreetsegError as error:
            return path, "", str(error)
        masks.write(mask_name(path), answer.value)
        return path, answer.model_version, ""

    pool = ThreadPoolExecutor(parallel)
    try:
        results = thread_map(pool, request_mask, pending, ahead=2 * parallel)
        for path, version, problem in track(results, total=len(pending), description="ask"):
            if problem:
                failed[path] = problem
            else:
                versions.add(version)
    except KeyboardInterrupt:
        raise StoppedError(
            f"stopped with masks in {masks.url}: the same command goes on with the rest"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return Folder(
        Path(masks.url),
        made=len(pending) - len(failed),
        there=len(paths) - len(pending),
        failed=failed,
        model_versions=sorted(versions),
    )
