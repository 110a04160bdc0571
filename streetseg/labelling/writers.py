"""Label files that annotation tools read, made of the regions of masks.

Outlines are filled, and the regions in their holes drawn later: a person who moves an edge finds
something below it. COCO keeps no order, so there a region with holes is a mask in run lengths.

===============  ================================  ============  ===================================
format           label files                       order         model and time
===============  ================================  ============  ===================================
``cvat``         ``annotations.xml``               ``z_order``   name of the task
``coco``         ``annotations/instances_*.json``  not needed    ``info``
``label-studio`` ``tasks.json``                    of regions    ``model_version`` and ``meta``
``labelme``      beside each image                 of shapes     ``description`` of each shape
``cityscapes``   ``*_gtFine_polygons.json``        of objects    ``user`` and ``date`` of objects
===============  ================================  ============  ===================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from streetseg.data.annotations.rasterize import Rasterizer, rasterize
from streetseg.data.annotations.shapes import Polygon
from streetseg.data.label_names import unlabelled_id
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.encode import encode_png
from streetseg.labelling.outlines import Region
from streetseg.labelling.prelabels import ExportFormat


@dataclass(frozen=True, eq=False)
class Drawing:
    """A frame and its regions."""

    name: str
    image: str
    """Path below the export."""
    size: tuple[int, int]
    """(height, width)."""
    regions: Sequence[Region]
    """In the order in which they are drawn."""


@dataclass(frozen=True)
class Header:
    """What label files say of their origin."""

    labels: LabelSpace
    author: str
    """The model's name and version, or the person."""
    created: datetime
    """In UTC."""
    by_person: bool = False
    """Whether a person has looked at the regions."""

    @property
    def names(self) -> list[str]:
        """What shapes are called: the categories."""
        return self.labels.names

    @property
    def colors(self) -> list[str]:
        """Of the categories, such as ``#804080``."""
        return ["#{:02x}{:02x}{:02x}".format(*each.color) for each in self.labels.categories]


@dataclass(frozen=True)
class Writer:
    """How a format is written."""

    images: str
    """Path of an image below the export, by its ``{name}`` or ``{plain}`` name and ``{suffix}``."""
    rasterizer: Rasterizer
    write: Callable[[Path, Sequence[Drawing], Header], None]
    """Write the label files to a folder that holds the images."""

    def image(self, name: str, suffix: str) -> str:
        """The path of an image below the export."""
        return self.images.format(name=name, plain=plain_name(name), suffix=suffix)

    def shown(self, regions: Sequence[Region], size: tuple[int, int]) -> np.ndarray:
        """Category ids uint8[height, width] of regions as the tool draws them."""
        outside = self.rasterizer != "pycocotools"
        drawn = [
            (Polygon(((each.outline_pixels if outside else each.outline).astype(float),)), each)
            for each in regions
        ]
        return rasterize(
            [(polygon, each.category) for polygon, each in drawn], size, IGNORE, self.rasterizer
        )


def _write_cvat(folder: Path, drawings: Sequence[Drawing], header: Header) -> None:
    """CVAT for images 1.1. Source: docs.cvat.ai, "CVAT for images export"."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = f"pre-labelled by {header.author} at {_iso(header)}"
    SubElement(task, "size").text = str(len(drawings))
    SubElement(task, "mode").text = "annotation"
    SubElement(task, "created").text = _iso(header)
    labels = SubElement(task, "labels")
    for name, color in zip(header.names, header.colors, strict=True):
        label = SubElement(labels, "label")
        SubElement(label, "name").text, SubElement(label, "color").text = name, color
        SubElement(label, "attributes")
    for number, drawing in enumerate(drawings):
        height, width = drawing.size
        image = SubElement(
            root,
            "image",
            id=str(number),
            name=PurePosixPath(drawing.image).name,
            width=str(width),
            height=str(height),
        )
        for order, region in enumerate(drawing.regions):
            SubElement(
                image,
                "polygon",
                label=header.names[region.category],
                source="manual" if header.by_person else "auto",
                occluded="0",
                points=";".join(f"{x:.2f},{y:.2f}" for x, y in region.outline.tolist()),
                z_order=str(order),
            )
    ElementTree.indent(root)
    data = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    (folder / "annotations.xml").write_bytes(data + b"\n")
    constructor = [
        {"name": name, "color": color, "attributes": []}
        for name, color in zip(header.names, header.colors, strict=True)
    ]
    _write_json(folder / "labels.json", constructor)


def _write_coco(folder: Path, drawings: Sequence[Drawing], header: Header) -> None:
    """COCO instances. Source: cocodataset.org, "Data format"."""
    images, annotations = [], list[dict[str, Any]]()
    for image_id, drawing in enumerate(drawings, 1):
        height, width = drawing.size
        name = PurePosixPath(drawing.image).name
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for region in drawing.regions:
            x, y = region.outline.min(axis=0).tolist()
            right, bottom = region.outline.max(axis=0).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": region.category + 1,
                    "bbox": [x, y, right - x, bottom - y],
                    **_coco_segmentation(region, drawing.size),
                }
            )
    info = {
        "description": f"{'labelled' if header.by_person else 'pre-labelled'} by {header.author}",
        "date_created": _iso(header),
        "contributor": header.author,
    }
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(header.names, 1)
    ]
    (folder / "annotations").mkdir(exist_ok=True)
    tree = {"info": info, "images": images, "categories": categories, "annotations": annotations}
    _write_json(folder / "annotations" / "instances_default.json", tree)


def _coco_segmentation(region: Region, size: tuple[int, int]) -> dict[str, Any]:
    rings = [region.outline, *region.holes]
    if not region.holes:
        points = region.outline.ravel().tolist()
        area = float(np.count_nonzero(_coco_mask(rings, size)))
        return {"segmentation": [points], "area": area, "iscrowd": 0}
    pixels = np.append(_coco_mask(rings, size).T.ravel(), 2)  # the end of the last run
    ends = np.flatnonzero(np.diff(pixels, prepend=0))
    counts = np.diff(ends, prepend=0).tolist()
    area = float(sum(counts[1::2]))
    return {"segmentation": {"counts": counts, "size": [*size]}, "area": area, "iscrowd": 1}


def _coco_mask(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """uint8[height, width], 1 inside the first ring and outside the others."""
    drawn = [
        (Polygon((ring.astype(float),)), int(number == 0)) for number, ring in enumerate(rings)
    ]
    return rasterize(drawn, size, 0, "pycocotools")


def _write_label_studio(folder: Path, drawings: Sequence[Drawing], header: Header) -> None:
    """Label Studio's tasks, with predictions. Source: labelstud.io, "Import pre-annotations"."""
    tasks = []
    for number, drawing in enumerate(drawings, 1):
        height, width = drawing.size
        result = [
            {
                "id": f"{number}-{order}",
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "points": (region.outline * (100 / width, 100 / height)).tolist(),
                    "closed": True,
                    "polygonlabels": [header.names[region.category]],
                },
            }
            for order, region in enumerate(drawing.regions)
        ]
        prediction = {"model_version": header.author, "result": result}
        finished = {
            "completed_by": {"email": header.author},
            "was_cancelled": False,
            "result": result,
        }
        tasks.append(
            {
                "id": number,
                "data": {"image": f"/data/local-files/?d={quote(drawing.image)}"},
                "meta": {"model": header.author, "created": _iso(header)},
                "annotations": [finished] if header.by_person else [],
                "predictions": [] if header.by_person else [prediction],
            }
        )
    _write_json(folder / "tasks.json", tasks)
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image", zoom="true")
    tool = SubElement(view, "PolygonLabels", name="label", toName="image")
    for name, color in zip(header.names, header.colors, strict=True):
        SubElement(tool, "Label", value=name, background=color)
    ElementTree.indent(view)
    (folder / "label_config.xml").write_bytes(ElementTree.tostring(view, "utf-8") + b"\n")


def _write_labelme(folder: Path, drawings: Sequence[Drawing], header: Header) -> None:
    """labelme's JSON beside each image. Source: labelme 5, label_file.py."""
    for drawing in drawings:
        height, width = drawing.size
        image = folder / drawing.image
        shapes: list[dict[str, Any]] = [
            {
                "label": header.names[region.category],
                "points": [[float(x), float(y)] for x, y in region.outline_pixels.tolist()],
                "group_id": None,
                "description": f"{header.author}, {_iso(header)}",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for region in drawing.regions
        ]
        tree: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": image.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        _write_json(image.with_suffix(".json"), tree)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in header.names))


def _write_cityscapes(folder: Path, drawings: Sequence[Drawing], header: Header) -> None:
    """Polygons of Cityscapes, and the images that its scripts draw of them.

    Instance ids are label ids, as of objects that are not told apart.

    Its tools know the names of labels, not of categories: a region has the name of the label that
    stands for its category. Source: cityscapesScripts, helpers/annotation.py.
    """
    ids = header.labels.representative_ids
    by_id = {label.id: label for label in header.labels.drawn}
    names = [by_id[label_id].name for label_id in ids.tolist()]
    table = np.full(256, unlabelled_id(header.labels), np.uint8)
    table[: len(ids)] = ids
    target = folder / "gtFine" / "default"
    target.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        objects = [
            {
                "id": number,
                "label": names[region.category],
                "polygon": region.outline_pixels.tolist(),
                "draw": True,
                "deleted": 0,
                "verified": int(header.by_person),
                "user": header.author,
                "date": header.created.strftime("%d-%b-%Y %H:%M:%S"),
            }
            for number, region in enumerate(drawing.regions)
        ]
        height, width = drawing.size
        tree = {"imgHeight": height, "imgWidth": width, "objects": objects}
        name = plain_name(drawing.name)
        _write_json(target / f"{name}_gtFine_polygons.json", tree)
        shown = table[WRITERS["cityscapes"].shown(drawing.regions, drawing.size)]
        (target / f"{name}_gtFine_labelIds.png").write_bytes(encode_png(shown))
        instances = encode_png(shown.astype(np.uint16))
        (target / f"{name}_gtFine_instanceIds.png").write_bytes(instances)


def plain_name(name: str) -> str:
    """The name of a frame without what Cityscapes writes after the names of images."""
    return name.removesuffix("_leftImg8bit")


def _iso(header: Header) -> str:
    return header.created.isoformat(timespec="seconds")


def _write_json(path: Path, tree: Any) -> None:
    path.write_text(json.dumps(tree, indent=1) + "\n")


WRITERS: dict[ExportFormat, Writer] = {
    "cvat": Writer("images/{name}{suffix}", "pycocotools", _write_cvat),
    "coco": Writer("images/{name}{suffix}", "pycocotools", _write_coco),
    "labelme": Writer("images/{name}{suffix}", "labelme", _write_labelme),
    "label-studio": Writer("images/{name}{suffix}", "pycocotools", _write_label_studio),
    "cityscapes": Writer(
        "leftImg8bit/default/{plain}_leftImg8bit{suffix}", "pillow", _write_cityscapes
    ),
}
