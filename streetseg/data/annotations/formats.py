"""The formats of label files that are no images, by the name that a source gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from streetseg.data.annotations.rasterize import Rasterizer
    from streetseg.data.annotations.shapes import Export

FormatName = Literal[
    "cityscapes", "coco", "cvat", "label-studio", "labelme", "nuimages", "supervisely"
]


@dataclass(frozen=True)
class Format:
    """How the label files of a tool are read and drawn."""

    reader: str
    """The module of this package that reads them."""
    rasterizer: Rasterizer
    many: bool
    """Whether one file holds many pictures, so that images are matched by the names in it."""
    groups: bool = False
    """Whether ``cargroup`` means ``car`` where no label is called so."""
    ordered: bool = True
    """Whether the order of shapes is that in which they were drawn."""
    unlisted: str = ""
    """Why an image may be missing in a file, as the end of a sentence."""
    partial: bool = False
    """Whether images that no file lists are of other splits, and left out."""

    def read(self, data: bytes, path: Path) -> Export:
        """The content of a label file; StreetsegError if it cannot be read.

        Readers are imported when they are needed, so that workers start fast.
        """
        export: Export = import_module(f"{__package__}.{self.reader}").read(data, path)
        return export


FORMATS: dict[FormatName, Format] = {
    "cityscapes": Format("cityscapes", "pillow", many=False, groups=True),
    "coco": Format("coco", "pycocotools", many=True, ordered=False),
    "cvat": Format("cvat", "pycocotools", many=True),
    "label-studio": Format(
        "label_studio",
        "pycocotools",
        many=True,
        unlisted=", which leaves out tasks that nobody annotated",
    ),
    "labelme": Format("labelme", "labelme", many=False),
    "nuimages": Format("nuimages", "pycocotools", many=True, partial=True),
    "supervisely": Format("supervisely", "opencv", many=False),
}

UNREADABLE = {
    ".json": f"which may be of several formats: state it by 'format:', one of {', '.join(FORMATS)}",
    ".xml": "which needs 'format: cvat' if it is 'CVAT for images 1.1'; the XML of the old LabelMe "
    "is not read: export CVAT or COCO",
    ".txt": "as YOLO's, whose exports leave out brush regions, masks or even polygons: export "
    "'CVAT for images 1.1', COCO or Label Studio's JSON, and state its 'format:'",
    ".npy": "as Label Studio's brush regions, one file a region without the picture's name or the "
    "drawing order: export JSON, with 'format: label-studio'",
}
"""Endings of files that are no label images, and what to do about them."""

BRUSH_IMAGE = re.compile(r"(task-\d+-annotation-\d+-by-.*|project-\d+-at-[\d-]+-[0-9a-f]{8})\.png")
"""Label Studio's names: of a region, and of an export that has one region alone."""

IMAGES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jpg", ".jpeg", ".webp")


def unreadable(labels: str, format: FormatName | None) -> str:
    """Why label files of a pattern cannot be read in a format; empty if they can."""
    ending = Path(labels).suffix.lower()
    if format is None and ending in UNREADABLE:
        return f"labels end in {ending}, {UNREADABLE[ending]}"
    if format and ending in IMAGES:
        return f"labels end in {ending}, but 'format: {format}' has no images: leave it out"
    return ""


def regions_export(folder: Path) -> str:
    """What to do about a folder of Label Studio's brush images; empty if it is none."""
    if not any(BRUSH_IMAGE.fullmatch(path.name) for path in folder.glob("*.png")):
        return ""
    return (
        "its PNGs are brush regions of Label Studio, one a file, which tell neither the picture's "
        "name nor which is on top: export JSON, with 'format: label-studio'"
    )
