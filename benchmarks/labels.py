"""What is left of masks after the way to an annotation tool's format and back, unchanged.

python benchmarks/labels.py [--data FOLDER] [--frames 16] [--tolerance 0.75]

FOLDER is in the layout of Cityscapes; by default drawn frames of 1024x512. Its labels stand for
what a model predicts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import Claim, report, source_frames

from streetseg.core.sampling import evenly_spaced
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import TOLERANCE, export_masks
from streetseg.labelling.imports import import_labels
from streetseg.labelling.prelabels import ExportFormat
from streetseg.labelling.writers import WRITERS

LABELS = LabelSpace.load("cityscapes")
MODEL = dict.fromkeys(("name", "version", "run_id", "data_version", "weights_sha256"), "labels")
IMAGE, LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


def round_trip(
    frames: Path, masks: dict[str, np.ndarray], scratch: Path, format: ExportFormat, pixels: float
) -> tuple[float, float]:
    """The mean fraction of pixels that come back, and the seconds of a frame's way."""
    out, new = scratch / f"{format}-{pixels:g}", scratch / f"{format}-{pixels:g}-new"
    began = time.perf_counter()
    export_masks(
        str(frames),
        out,
        lambda path, _: masks[path],
        LABELS,
        MODEL,
        format=format,
        tolerance=pixels,
    )
    if (tasks := out / "tasks.json").exists():  # as in Label Studio, when predictions are accepted
        content = json.loads(tasks.read_text())
        for task in content:
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
        tasks.write_text(json.dumps(content))
    import_labels(out, out, new)
    took = (time.perf_counter() - began) / len(masks)
    same = [
        np.mean(
            LABELS.category_of[read_image(new / "labels" / f"{Path(name).stem}.png", decode_ids)]
            == mask
        )
        for name, mask in masks.items()
    ]
    return float(np.mean(same)), took


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    arguments = parser.parse_args()
    root = arguments.data or source_frames(arguments.frames, (512, 1024))
    images = sorted(root.glob(f"leftImg8bit/*/*/*{IMAGE}"))
    images = [images[row] for row in evenly_spaced(len(images), arguments.frames)]
    claims = []
    with tempfile.TemporaryDirectory() as folder:
        frames, masks = Path(folder) / "frames", dict[str, np.ndarray]()
        frames.mkdir()
        for image in images:
            shutil.copy(image, frames)
            label = str(image).replace("leftImg8bit/", "gtFine/").replace(IMAGE, LABEL)
            masks[image.name] = LABELS.category_of[read_image(Path(label), decode_ids)]
        height, width = next(iter(masks.values())).shape
        for format in WRITERS:
            same, took = round_trip(frames, masks, Path(folder), format, arguments.tolerance)
            claims.append(
                Claim(
                    f"{format}: {width}x{height}, {len(masks)} frames, {arguments.tolerance:g} "
                    f"pixels; {took:.2f} s a frame out and in",
                    same,
                    None,
                    None,
                    "ours >= 0.995",
                    "pixels the same",
                )
            )
    report("labels", claims)


if __name__ == "__main__":
    main()
