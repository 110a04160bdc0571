"""From source frames to a prepared dataset: remapped, resized, indexed, ready to memory-map.

A prepared dataset is a folder::

    dataset.json                       format, source, size, label space, counts
    index.parquet                      one row per frame
    <split>/<city>/images.npy          uint8[frames, height, width, 3], RGB
    <split>/<city>/categories.npy      uint8[frames, height, width], category ids
    val/<city>/label_ids/<frame>.png   the label ids at native size, for the official score
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from streetseg.atomic import new_folder
from streetseg.config import Params
from streetseg.errors import StreetsegError
from streetseg.imaging import (
    BadImageError,
    decode_ids,
    decode_rgb,
    encode_png,
    resize_ids,
    resize_rgb,
)
from streetseg.labels import IGNORE, LabelSpace
from streetseg.parallel import parallel_map
from streetseg.sources import Frame, find_cityscapes

FORMAT = 1
EVALUATION_SPLITS = ("val",)


@dataclass(frozen=True)
class _Job:
    """A frame and the place in a shard where it goes."""

    frame: Frame
    shard: Path
    row: int
    size: tuple[int, int]
    root: Path
    labels: LabelSpace


def prepare(params: Params) -> Path:
    """Write the prepared dataset of ``params.data.root`` to ``params.data.prepared``.

    The folder appears whole or not at all.

    Returns:
        The folder written.

    Raises:
        StreetsegError: a frame is missing its label, cannot be read, or holds an unknown id; or
            the destination cannot be written.
    """
    root, destination = params.data.root, params.data.prepared
    labels = LabelSpace.load(params.data.source)
    frames = find_cityscapes(root)
    with new_folder(destination, "set data.prepared to a folder you may write to") as folder:
        jobs = _lay_out_shards(frames, folder, params.prepare.size, root, labels)
        rows = parallel_map(
            _prepare_frame, jobs, workers=params.prepare.workers, description="prepare"
        )
        index = pd.DataFrame(list(rows))
        index.to_parquet(folder / "index.parquet", index=False)
        description = _describe(index, params, labels)
        (folder / "dataset.json").write_text(json.dumps(description, indent=1) + "\n")
    return destination


def _lay_out_shards(
    frames: Sequence[Frame], folder: Path, size: tuple[int, int], root: Path, labels: LabelSpace
) -> list[_Job]:
    """Make the empty arrays of every shard and say which frame goes where."""
    jobs = []
    for (split, city), group in groupby(frames, key=lambda frame: (frame.split, frame.city)):
        members = list(group)
        shard = folder / split / city
        (shard / "label_ids" if split in EVALUATION_SPLITS else shard).mkdir(parents=True)
        for name, shape in (("images", (*size, 3)), ("categories", size)):
            np.lib.format.open_memmap(
                shard / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(len(members), *shape)
            )
        jobs += [_Job(frame, shard, row, size, root, labels) for row, frame in enumerate(members)]
    return jobs


def _prepare_frame(job: _Job) -> dict[str, Any]:
    """Write one frame into its shard and return its row of the index."""
    frame = job.frame
    image_bytes, label_bytes = _read(frame.image), _read(frame.label)
    try:
        at_fault = frame.image
        rgb = decode_rgb(image_bytes)
        at_fault = frame.label
        ids = decode_ids(label_bytes)
    except BadImageError as error:
        raise StreetsegError(f"{at_fault} {error}: replace the file or remove the frame") from None
    if rgb.shape[:2] != ids.shape:
        raise StreetsegError(
            f"{frame.image} is {_by(rgb)} but its label is {_by(ids)}: they must be of one size"
        )
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
    unknown = present[job.labels.category_of[present] == IGNORE]
    if unknown.size:
        raise StreetsegError(
            f"{frame.label} holds label id {unknown[0]}, which the label space "
            f"'{job.labels.name}' does not define"
        )

    small = resize_rgb(rgb, job.size)
    categories = resize_ids(cv2.LUT(ids, job.labels.category_of), job.size)
    for name, pixels in (("images", small), ("categories", categories)):
        array = np.load(job.shard / f"{name}.npy", mmap_mode="r+")
        array[job.row] = pixels
        array.flush()
    if frame.split in EVALUATION_SPLITS:
        (job.shard / "label_ids" / f"{frame.name}.png").write_bytes(encode_png(ids))

    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    pixels_of = np.bincount(categories.ravel(), minlength=len(job.labels.categories))
    return {
        "frame": frame.name,
        "split": frame.split,
        "city": frame.city,
        "row": job.row,
        "image": str(frame.image.relative_to(job.root)),
        "label": str(frame.label.relative_to(job.root)),
        "image_md5": hashlib.md5(image_bytes).hexdigest(),
        "label_md5": hashlib.md5(label_bytes).hexdigest(),
        "height": rgb.shape[0],
        "width": rgb.shape[1],
        "brightness": float(gray.mean()),
        "sharpness": float(cv2.Laplacian(gray, cv2.CV_64F).var()),
        "label_ids": present.tolist(),
        **{
            f"pixels_{c.name}": int(n)
            for c, n in zip(job.labels.categories, pixels_of, strict=True)
        },
    }


def _describe(index: pd.DataFrame, params: Params, labels: LabelSpace) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source": params.data.source,
        "size": list(params.prepare.size),
        "frames": {
            split: {city: int(n) for city, n in cities.value_counts(sort=False).items()}
            for split, cities in index.groupby("split")["city"]
        },
        "label_space": labels.to_dict(),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StreetsegError(f"cannot read {path}: {error.strerror}") from None


def _by(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
