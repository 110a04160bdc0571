"""What came back of a frame, drawn to the label ids of the model's label space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.draw import draw, undefined_names
from streetseg.data.annotations.formats import Format
from streetseg.data.annotations.shapes import Ellipse, Geometry, Picture, Polygon, Rectangle
from streetseg.data.label_names import BACKGROUND, LabelNames, name_key, unlabelled_id
from streetseg.data.labels import IGNORE, Label, LabelSpace
from streetseg.images.errors import BadImageError
from streetseg.labelling.prelabels import PrelabelledFrame

MAX_UNLABELLED = 0.5
"""Fraction of pixels without a label above which a frame counts as half labelled."""


class FrameDrawer:
    """Draws pictures to the label ids of a model's label space."""

    def __init__(self, space: LabelSpace, format: Format) -> None:
        """``format`` is that in which the pictures came back."""
        self.names, self._format = ShapeNames(space), format
        self._blank, self._known = unlabelled_id(space), space.known
        self._has_background = any(name_key(each.name) == BACKGROUND[0] for each in space.drawn)

    def undefined(self, picture: Picture) -> list[str]:
        """The labels of a picture that are neither a category nor a label."""
        return undefined_names(picture, self.names, self._format)

    def draw(
        self, picture: Picture, frame: PrelabelledFrame, export: Path
    ) -> tuple[np.ndarray, dict[str, int], float]:
        """Label ids uint8[H, W], counts of shapes, and the fraction that nobody labelled.

        What is not drawn has been labelled if there is a label ``background``.
        """
        _refuse_other_size(picture, frame, export)
        for shape in picture.shapes:
            if _outside(shape.geometry, frame.size):
                raise StreetsegError(
                    f"{export}: a shape '{shape.label}' of {frame.name} lies outside the picture "
                    f"of {frame.size[1]}x{frame.size[0]}: delete it there, and export again"
                )
        try:
            ids, counts = draw(picture, self.names, self._format, frame.size)
        except BadImageError as error:
            raise StreetsegError(
                f"{export}: the annotation of {frame.name} {error.reason}"
            ) from None
        nobody = ids == IGNORE
        ids[nobody] = self._blank
        unlabelled = 0.0 if self._has_background else float(nobody.mean())
        if nobody.any() and not self._known[self._blank] and unlabelled <= MAX_UNLABELLED:
            raise StreetsegError(
                f"{export}: {np.count_nonzero(nobody)} pixels of {frame.name} have no label, and "
                "none of the model's labels is for such pixels: label them"
            )
        return ids, counts, unlabelled


class ShapeNames(LabelNames):
    """The names of shapes: categories, as they were exported, and labels of the label space."""

    def __init__(self, space: LabelSpace) -> None:
        """Index the names of ``space``; a category comes before a label of its name."""
        self.categories = space.names
        categories = {name_key(name) for name in space.names}
        representatives = zip(space.representative_ids.tolist(), space.names, strict=True)
        labels = [Label(label_id, name) for label_id, name in representatives]
        labels += [label for label in space.labels if name_key(label.name) not in categories]
        super().__init__(replace(space, labels=tuple(labels)))

    @property
    def blank(self) -> int:
        """What is told from every label until it is known how much nobody labelled."""
        return IGNORE


def _outside(geometry: Geometry, size: tuple[int, int]) -> bool:
    """Whether a shape with an outline has no part inside a picture of (height, width)."""
    match geometry:
        case Polygon(rings):
            points = np.concatenate(rings)
        case Rectangle():
            points = geometry.ring
        case Ellipse(x, y, across, down):
            reach = max(across, down)
            points = np.array([(x - reach, y - reach), (x + reach, y + reach)])
        case _:
            return False
    return bool((points.max(axis=0) < 0).any() or (points.min(axis=0) > size[::-1]).any())


def _refuse_other_size(picture: Picture, frame: PrelabelledFrame, export: Path) -> None:
    if picture.size in (None, frame.size):
        return
    assert picture.size
    turned = picture.size == frame.size[::-1]
    hint = (
        "the tool did not turn it by its Exif orientation: turn the image itself, and export again"
        if turned
        else "it is another image, or the tool resized it"
    )
    raise StreetsegError(
        f"{export}: {frame.name} is {picture.size[1]}x{picture.size[0]} there, but was exported as "
        f"{frame.size[1]}x{frame.size[0]}: {hint}"
    )
