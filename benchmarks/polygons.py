"""Preparing 2048x1024 frames from polygons, beside preparing the same frames from label images.

python benchmarks/polygons.py [--frames 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from harness import OUT, Claim, report, seconds, source_frames

from streetseg.config.params import Params, load_params
from streetseg.core.parallel import cores
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.images.decode import decode_ids

CITYSCAPES = load_source("cityscapes")
IMAGES = "leftImg8bit/{split}/{city}/{name}_leftImg8bit.png"
LABELS = {
    "cityscapes": "gtFine/{split}/{city}/{name}_gtFine_polygons.json",
    "coco": "{split}.json",
}


def outlines(ids: np.ndarray) -> Iterator[tuple[str, list[list[int]]]]:
    """The name and corners of each area of a label image; areas inside come later."""
    found = []
    for label in CITYSCAPES.labels.drawn:
        mask = np.equal(ids, label.id).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        found += [(cv2.contourArea(ring), label.name, ring[:, 0].tolist()) for ring in contours]
    for _, name, ring in sorted(found, key=lambda outline: -outline[0]):
        if len(ring) > 2:
            yield name, ring


def write_labels(root: Path) -> float:
    """Write the outlines of each label image as polygons and as COCO; returns the mean number."""
    written: dict[int, list[tuple[str, list[list[int]]]]] = {}
    numbers = {label.name: label.id for label in CITYSCAPES.labels.drawn}
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    frames = CITYSCAPES.find(root)
    coco = {
        split: {"images": [], "annotations": [], "categories": categories}
        for split in ("train", "val")
    }
    count = 0
    for number, frame in enumerate(frames):
        inode = frame.label.stat().st_ino
        if inode not in written:
            written[inode] = [*outlines(decode_ids(frame.label.read_bytes()))]
        shapes = written[inode]
        count += len(shapes)
        objects = [{"label": name, "polygon": ring, "deleted": 0} for name, ring in shapes]
        content = {"imgHeight": 1024, "imgWidth": 2048, "objects": objects}
        path = frame.label.with_name(frame.label.name.replace("labelIds.png", "polygons.json"))
        path.write_text(json.dumps(content))
        image = {"id": number, "file_name": frame.image.name, "height": 1024, "width": 2048}
        coco[frame.split]["images"].append(image)
        coco[frame.split]["annotations"] += [
            {
                "image_id": number,
                "category_id": numbers[name],
                "segmentation": [np.ravel(ring).tolist()],
            }
            for name, ring in shapes
        ]
    for split, tree in coco.items():
        (root / f"{split}.json").write_text(json.dumps(tree))
    return count / len(frames)


def settings(root: Path, name: str, source: str) -> Params:
    """The default recipe on a folder of frames."""
    prepared = str(OUT / "prepared" / name)
    return load_params(
        overrides={"data.root": str(root), "data.prepared": prepared, "data.source": source}
    )


def own_source(format: str) -> str:
    """The file of a source with labels of a format."""
    pair = {"images": IMAGES, "labels": LABELS[format], "format": format}
    path = OUT / f"{format}-polygons.yaml"
    path.write_text(json.dumps({"label_space": "cityscapes", "pairs": [pair]}))
    return str(path)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    root = source_frames(arguments.frames)
    shapes = write_labels(root)
    recipes = {
        "images": settings(root, "images", "cityscapes"),
        **{format: settings(root, format, own_source(format)) for format in LABELS},
    }
    took = seconds(
        {name: partial(prepare, recipe) for name, recipe in recipes.items()},
        arguments.rounds,
    )
    each = {name: 1000 * value / arguments.frames for name, value in took.items()}
    height, width = recipes["images"].prepare.size
    report(
        "polygons",
        [
            Claim(
                f"prepare 2048x1024 -> {width}x{height} from {shapes:.0f} {what} a frame, "
                f"{cores()} cores, against label images",
                each[format],
                each["images"],
                None,
                "ours / peer <= 2",
                "ms/frame",
            )
            for format, what in (("cityscapes", "polygons"), ("coco", "annotations of COCO"))
        ],
    )


if __name__ == "__main__":
    main()
