"""Segmentation of images and folders into files::

<path of the image>_mask.png            category ids as a palette PNG, as of 'streetseg batch'
<path of the image>_overlay.png         the image with the colours of its categories
<path of the image>_probabilities.npz   ``probabilities`` float16[C, H, W] and ``categories``
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.core.progress import track
from streetseg.core.storage import Storage
from streetseg.evaluation.masks import OVERLAY
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.errors import BadImageError
from streetseg.images.paths import list_images, mask_name, printable, require_printable
from streetseg.images.resize import blend
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.windows import SlidingSegmenter
from streetseg.reports.drawing import colorize

PROBABILITIES = "_probabilities.npz"


def find_images(sources: Sequence[Path], out: Path) -> dict[str, Path]:
    """The images of files and folders, by the path below ``out`` that the names of results extend.

    It is the name of a file, and the path of an image below a folder, whose hidden files are
    ignored.

    Raises:
        StreetsegError: a source does not exist, a folder has no images or overlaps ``out``, or two
            images have one path.
    """
    images: dict[str, Path] = {}
    for source in sources:
        if source.is_dir():
            below = list_images(Storage(str(source)), Storage(str(out)))
            found = {path: source / path for path in below}
        elif source.exists():
            found = {source.name: source}
        else:
            hint = did_you_mean_path(source, "name an image or a folder of images")
            raise StreetsegError(f"there is no image or folder {source}: {hint}")
        for path, file in found.items():
            if images.setdefault(path, file).resolve() != file.resolve():
                raise StreetsegError(
                    f"{images[path]} and {file} would both be written to {mask_name(path)}: give "
                    "each its own --out, or name the folder that holds both"
                )
    return images


def predict_files(
    images: Mapping[str, Path],
    out: Path,
    segmenter: Segmenter | SlidingSegmenter,
    *,
    overlay: bool = True,
    probabilities: bool = False,
) -> dict[str, str]:
    """Segment images, one at a time, and write the results below ``out``.

    Of an image that cannot be used, results of an earlier call are removed.

    Args:
        images: as :func:`find_images` gives them.
        overlay: whether to write overlays.
        probabilities: whether to write probabilities.

    Returns:
        Why an image has no mask, by its path.

    Raises:
        StreetsegError: none of the images can be used, or ``out`` cannot be written.
    """
    failed: dict[str, str] = {}
    for path, file in track(images.items(), total=len(images), description="predict"):
        results = out / mask_name(path), out / f"{path}{OVERLAY}", out / f"{path}{PROBABILITIES}"
        mask_file, overlay_file, probabilities_file = results
        try:
            rgb = _read(file)
        except BadImageError as error:
            failed[path] = error.reason
            for result in results:
                result.unlink(missing_ok=True)
            continue
        categories = segmenter.predict(rgb)
        labels = segmenter.labels
        try:
            mask_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(mask_file, encode_palette_png(categories, labels.palette))
            if overlay:
                png = encode_png(blend(rgb, colorize(categories, labels)))
                write_atomic(overlay_file, png)
            if probabilities:
                npz = _encode(segmenter.probabilities(rgb), labels.names)
                write_atomic(probabilities_file, npz)
        except OSError as error:
            raise StreetsegError(f"cannot write to {out}: {error.strerror}") from None
    if len(failed) == len(images):
        path, reason = next(iter(failed.items()))
        first = printable(str(images[path]))
        raise StreetsegError(
            f"none of the {len(images)} images can be used; the first, {first}, {reason}"
            if len(images) > 1
            else f"{first} {reason}"
        )
    return failed


def _read(file: Path) -> np.ndarray:
    require_printable(str(file))
    try:
        return decode_image(file.read_bytes())
    except OSError as error:
        raise BadImageError(f"cannot be read: {error.strerror}") from None


def _encode(probabilities: np.ndarray, names: Sequence[str]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(
        file, probabilities=probabilities.astype(np.float16), categories=np.array(names)
    )
    return file.getvalue()
