"""How often each label of a draft occurs, and an example of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.drafting.draft import Draft
from streetseg.data.label_files import read_label
from streetseg.data.labels import IGNORE, Label, LabelSpace
from streetseg.data.sources import Frame
from streetseg.images.decode import read_image
from streetseg.images.resize import blend

MARGIN = 0.5
"""Of a crop around what it shows, as a fraction of that."""
MIN_CROP = 48
"""Pixels of the shorter side of a crop, where the image has them."""

HIGHLIGHT = (255, 0, 200)
"""The tint of a label in its crop: its own colour may be that of what it shows, as of a road."""


@dataclass
class Finding:
    """A label in the sample."""

    label: Label
    fraction: float = 0.0
    """Of the pixels of the sample."""
    frames: int = 0
    """In which it occurs."""
    example: str = ""
    """The frame of its crop."""
    crop: np.ndarray | None = field(default=None, repr=False)
    """uint8[H, W, 3]: the image, below or to the right of it with the label tinted."""
    _largest: int = 0


def measure(draft: Draft) -> tuple[list[Finding], list[str]]:
    """Each label that a label image can hold, and the frames that cannot be used, with the reason.

    Raises:
        StreetsegError: no frame of the sample can be used.
    """
    labels, ids = draft.contents.labels, "label" if draft.contents.ids else None
    findings = {label.id: Finding(label) for label in labels.drawn}
    unusable: list[str] = []
    pixels = 0
    for frame in track(draft.sample, total=len(draft.sample), description="labels"):
        try:
            if frame.picture and not frame.picture.size and not frame.image.exists():
                continue  # a picture without shapes, of an image that is elsewhere
            rgb = read_image(frame.image) if frame.image.exists() else None
            size = rgb.shape[:2] if rgb is not None else _size(frame)
            label = read_label(frame, labels, ids, draft.root, (size[0], size[1]))  # type: ignore[arg-type]
        except StreetsegError as error:
            unusable.append(str(error))
            continue
        values = cv2.LUT(label.values, label.numbering.label_ids)
        pixels += values.size
        counts = np.bincount(values.ravel(), minlength=256)
        for number in np.flatnonzero(counts).tolist():
            if number not in findings:
                continue
            finding, count = findings[number], int(counts[number])
            finding.fraction += count
            finding.frames += 1
            if count > 2 * finding._largest:
                finding._largest, finding.example = count, frame.name
                shown = _plain(values, labels) if rgb is None else rgb
                finding.crop = crop(shown, values == number)
    if not pixels:
        raise StreetsegError(f"no frame of {draft.root} can be used: {[*unusable, ''][0]}")
    for finding in findings.values():
        finding.fraction /= pixels
    return [*findings.values()], unusable


def crop(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The largest part of bool[H, W] in an image, beside the same with the part tinted."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height = stats[largest, :4].tolist()
    rows, columns = _around(top, height, len(rgb)), _around(left, width, rgb.shape[1])
    part, inside = rgb[rows, columns], (parts == largest)[rows, columns]
    tinted = part.copy()
    tinted[inside] = blend(part, np.full_like(part, HIGHLIGHT), 0.5)[inside]
    outline = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(tinted, outline, -1, (255, 255, 255), 1)
    return np.concatenate([part, tinted], axis=int(part.shape[1] >= part.shape[0]) ^ 1)


def _around(start: int, length: int, limit: int) -> slice:
    wanted = max(round(length * (1 + 2 * MARGIN)), MIN_CROP)
    first = max(0, min(start + length // 2 - wanted // 2, limit - wanted))
    return slice(first, min(limit, first + wanted))


def _plain(values: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Labels in their colours, where there is no image: uint8[H, W, 3]."""
    palette = np.full((256, 3), IGNORE, np.uint8)
    for label in labels.drawn:
        palette[label.id] = label.color
    return palette[values]


def _size(frame: Frame) -> tuple[int, int]:
    """(height, width) of a label file whose image is not there."""
    if frame.picture and frame.picture.size:
        return frame.picture.size
    try:
        with Image.open(frame.label) as image:
            return image.height, image.width
    except OSError:
        raise StreetsegError(f"{frame.label} tells no size, and its image is not there") from None
