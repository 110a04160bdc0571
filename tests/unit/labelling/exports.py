"""Drawn frames with masks like those of a model, exported as pre-labels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.inference.upsampling import categories_at
from streetseg.labelling.export import export_masks
from streetseg.labelling.prelabels import ExportFormat, Prelabels

LABELS = LabelSpace.load("cityscapes")
MODEL = {
    "name": "street-segmenter",
    "version": "3",
    "run_id": "r1",
    "data_version": "d1.dir",
    "weights_sha256": "00ff",
}
STRIDE = 4
"""Of the logits of a network."""


def model_like(categories: np.ndarray) -> np.ndarray:
    """A mask as a network predicts it: logits at a fraction of the size, upsampled."""
    height, width = categories.shape
    size = width // STRIDE, height // STRIDE
    one_hot = [(categories == number).astype(np.float32) for number in range(len(LABELS.names))]
    logits = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in one_hot]
    smooth = [cv2.GaussianBlur(plane, (0, 0), 1) for plane in logits]
    return categories_at(np.stack(smooth), (height, width))


def masks_of(cityscapes: Path, images: list[Path]) -> dict[str, np.ndarray]:
    """Such a mask of each image, by its name."""
    masks = {}
    for image in images:
        name = image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        (label,) = cityscapes.glob(f"gtFine/*/*/{name}")
        masks[image.stem] = model_like(LABELS.category_of[read_image(label, decode_ids)])
    return masks


def export(
    frames: Path,
    masks: dict[str, np.ndarray],
    out: Path,
    format: ExportFormat = "cvat",
    tolerance: float = 0.75,
) -> Prelabels:
    """Export a folder of frames whose masks are known."""
    return export_masks(
        str(frames),
        out,
        lambda path, _: masks[Path(path).stem],
        LABELS,
        MODEL,
        format=format,
        tolerance=tolerance,
    )


def accepted(out: Path, destination: Path) -> Path:
    """What a tool gives back if nobody changes anything: Label Studio turns predictions over."""
    if not (out / "tasks.json").exists():
        return out
    tasks = json.loads((out / "tasks.json").read_text())
    for task in tasks:
        (prediction,) = task.pop("predictions")
        task["annotations"] = [{"completed_by": 1, "result": prediction["result"]}]
    destination.mkdir()
    (destination / "tasks.json").write_text(json.dumps(tasks))
    return destination
