"""Labels out: frames with the polygons that a model proposes, as an annotation tool reads them.

The folder then holds the images, the label files of the format (:mod:`.writers`), and::

    prelabels.json      the model, and every frame with the hash of its image
    prelabels/NAME.png  what the model predicted: category ids, not simplified
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from streetseg.config.params import Evaluate
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.core.storage import Storage
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.windows import sliding
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_palette_png
from streetseg.images.errors import BadImageError
from streetseg.images.paths import list_images, printable, require_printable
from streetseg.inference.segmenter import Segmenter
from streetseg.labelling.outlines import outlines
from streetseg.labelling.prelabels import (
    MANIFEST,
    MASKS,
    ExportFormat,
    PrelabelledFrame,
    Prelabels,
    read_prelabels,
    refuse_edited,
)
from streetseg.labelling.writers import WRITERS, Drawing, Header
from streetseg.registry.versions import describe

TOLERANCE = 0.75
"""Pixels: just more than half a diagonal, so that a staircase of pixels becomes a line."""
SELECTION = "selection.json"
"""Of ``streetseg select``, which tells where its frames come from."""

Predict = Callable[[str, np.ndarray], np.ndarray]


def export_labels(
    images: str,
    destination: Path,
    artifact: Path,
    name: str = "",
    *,
    format: ExportFormat = "cvat",
    tolerance: float = TOLERANCE,
    windows: Evaluate | None = None,
    max_megapixels: float = 50.0,
) -> Prelabels:
    """Pre-label all PNG, JPEG and WebP images below a folder or prefix, for an annotation tool.

    Images are copied as they are. One that cannot be used is left out, and told in ``left_out``.

    Args:
        images: folder, or URL such as ``s3://bucket/prefix``.
        destination: a folder that does not exist, or holds an earlier export, which is replaced
            unless somebody has edited it.
        name: the model's URI, as :func:`streetseg.registry.versions.locate` returns it.
        tolerance: see :func:`streetseg.labelling.outlines.outlines`.
        windows: settings whose ``window`` and ``overlap`` apply to larger images.
        max_megapixels: limit per image, checked before decoding.

    Raises:
        StreetsegError: no usable image, or the destination cannot be written.
    """
    segmenter = sliding(Segmenter(artifact), windows or Evaluate())
    return export_masks(
        images,
        destination,
        lambda _, rgb: segmenter.predict(rgb),
        segmenter.labels,
        describe(artifact, name),
        format=format,
        tolerance=tolerance,
        max_megapixels=max_megapixels,
    )


def export_masks(
    images: str,
    destination: Path,
    predict: Predict,
    labels: LabelSpace,
    model: dict[str, Any],
    *,
    format: ExportFormat = "cvat",
    tolerance: float = TOLERANCE,
    max_megapixels: float = 50.0,
) -> Prelabels:
    """Like :func:`export_labels`, with masks of another origin.

    Args:
        predict: gives the category ids uint8[H, W] of an image, by its path and RGB.
        labels: with the categories of these ids.
        model: as :func:`streetseg.registry.versions.describe` returns it.
    """
    origin, created = Storage(images), datetime.now(UTC).replace(microsecond=0)
    paths = [*list_images(origin, Storage(str(destination)))]
    refuse_edited(destination)
    origins, writer, names = _origins(origin), WRITERS[format], unique_names(paths)
    frames, drawings, left_out = list[PrelabelledFrame](), list[Drawing](), dict[str, str]()
    with atomic_folder(destination, MANIFEST) as folder:
        (folder / MASKS).mkdir()
        for path in track(paths, total=len(paths), description="pre-label"):
            data = origin.read(path)
            try:
                require_printable(path)
                rgb = decode_image(data, max_pixels=int(max_megapixels * 1e6))
            except BadImageError as error:
                left_out[printable(path)] = error.reason
                continue
            image = writer.image(names[path], PurePosixPath(path).suffix.lower())
            frame = PrelabelledFrame(
                names[path],
                image,
                hashlib.sha256(data).hexdigest(),
                (rgb.shape[0], rgb.shape[1]),
                origins.get(path, path),
            )
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            if (folder / image).exists():
                raise StreetsegError(f"{path} and another image would both be {image}: rename one")
            (folder / image).write_bytes(data)
            categories = predict(path, rgb)
            (folder / frame.mask).write_bytes(encode_palette_png(categories, labels.palette))
            regions = outlines(categories, tolerance)
            drawings.append(Drawing(frame.name, image, frame.size, regions))
            frames.append(frame)
        if not frames:
            first, reason = next(iter(left_out.items()))
            raise StreetsegError(
                f"none of the {len(paths)} images in {origin.url} can be used; the first, {first}, "
                f"{reason}"
            )
        known = {frame.image for frame in frames}
        prelabels = Prelabels(
            model, created, format, tolerance, labels, tuple(frames), {}, left_out
        )
        writer.write(folder, drawings, Header(labels, prelabels.title, created))
        prelabels = replace(prelabels, files=_hashes(folder, known))
        (folder / MANIFEST).write_text(prelabels.to_json())
    return prelabels


def correct(
    export: Path, masks: Mapping[str, np.ndarray], destination: Path, person: str = "person"
) -> None:
    """Write what a tool gives back of an export once somebody has labelled it exactly so.

    Args:
        export: the folder of an export; the images stay there.
        masks: category ids uint8[height, width] of each labelled frame, by its name.
        destination: a folder that does not exist yet.
    """
    known = read_prelabels(export)
    drawings = [
        Drawing(frame.name, frame.image, frame.size, outlines(masks[frame.name], 0))
        for frame in known.prelabels.frames
        if frame.name in masks
    ]
    header = Header(known.prelabels.labels, person, datetime.now(UTC), by_person=True)
    with atomic_folder(destination, MANIFEST) as folder:
        for drawing in drawings:
            (folder / drawing.image).parent.mkdir(parents=True, exist_ok=True)
        WRITERS[known.prelabels.export_format].write(folder, drawings, header)


def unique_names(paths: Iterable[str]) -> dict[str, str]:
    """A name for each image: that of its file, with folders or suffix where two are alike."""
    plain = {path: PurePosixPath(path).stem for path in paths}
    folders = {path: path.rpartition(".")[0].replace("/", "_") for path in plain}
    suffixed = {path: path.replace("/", "_").replace(".", "_") for path in plain}
    names = {}
    for path in plain:
        for choice in (plain, folders, suffixed):
            if Counter(choice.values())[choice[path]] == 1:
                break
        names[path] = choice[path]
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise StreetsegError(f"several images would be called '{twice[0]}': rename them")
    return names


def _hashes(folder: Path, images: Set[str]) -> dict[str, str]:
    """SHA-256 of the files of an export but for images and masks, by their path."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if path.is_file() and name not in images and not name.startswith(f"{MASKS}/")
    }


def _origins(origin: Storage) -> dict[str, str]:
    """Where the frames of a selection come from, by their file; empty for another folder."""
    if not origin.exists(SELECTION):
        return {}
    with suppress(ValueError, KeyError, TypeError):
        frames = json.loads(origin.read(SELECTION))["frames"]
        return {str(each["name"]): str(each["source"]) for each in frames}
    return {}
