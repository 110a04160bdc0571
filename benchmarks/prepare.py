"""Preparing 2048x1024 frames: beside the way of the notebooks, and beside decoding alone.

python benchmarks/prepare.py [--frames 512] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from harness import OUT, Claim, report, seconds, source_frames
from PIL import Image

from streetseg.config.params import Params, load_params
from streetseg.core.parallel import cores, parallel_map
from streetseg.data.label_files import decode_labels
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data.sources import Frame, load_source
from streetseg.images.decode import decode_image

SOURCE = load_source("cityscapes")


def settings(root: Path, name: str) -> Params:
    """The default recipe on a folder of frames."""
    return load_params(
        overrides={"data.root": str(root), "data.prepared": str(OUT / "prepared" / name)}
    )


def notebook(frame: Frame, out: Path, size: tuple[int, int]) -> None:
    """PIL decodes, pandas remaps, OpenCV resizes, PNGs are written."""
    image = np.array(Image.open(frame.image).convert("RGB"))
    ids = np.array(Image.open(frame.label))
    categories = {
        label.id: int(SOURCE.labels.category_of[label.id]) for label in SOURCE.labels.drawn
    }
    mask: np.ndarray = pd.DataFrame(ids).replace(categories).to_numpy().astype(np.uint8)
    height, width = size
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    Image.fromarray(image).save(out / f"{frame.name}.png")
    Image.fromarray(mask).save(out / f"{frame.name}_mask.png")


def decode(frame: Frame, labels: LabelSpace) -> None:
    """The two images, with our decoder."""
    decode_image(frame.image.read_bytes())
    decode_labels(frame.label.read_bytes(), labels)


def decode_with_opencv(frame: Frame) -> None:
    """The two images, with OpenCV."""
    cv2.imdecode(np.frombuffer(frame.image.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    cv2.imdecode(np.frombuffer(frame.label.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


def every(task: partial[None], frames: list[Frame]) -> None:
    """Run a task on all frames with all cores, as prepare does."""
    for _ in parallel_map(task, frames, workers=0, description=task.func.__name__):
        pass


def peak_megabytes(frames: int) -> float:
    """The largest process of a prepare of so many frames, run as a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure-memory", str(source_frames(frames))],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def measure_memory(root: Path) -> None:
    """Prepare and print the peak resident set of this process and of its largest worker, in MB."""
    params = settings(root, "memory")
    shutil.rmtree(params.data.prepared, ignore_errors=True)
    prepare(params)
    peaks = [
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(json.dumps(max(peaks)))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure-memory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_memory:
        measure_memory(arguments.measure_memory)
        return

    root = source_frames(arguments.frames)
    frames = SOURCE.find(root)
    few = frames[: max(16, len(frames) // 8)]
    params = settings(root, "speed")
    out = OUT / "notebook"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tasks = {
        "ours": lambda: prepare(params),
        "bound": lambda: every(partial(decode, labels=SOURCE.labels), frames),
        "opencv": lambda: every(partial(decode_with_opencv), frames),
        "notebook": lambda: every(partial(notebook, out=out, size=params.prepare.size), few),
    }
    took = seconds(tasks, arguments.rounds)
    each = {
        name: 1000 * value / (len(few) if name == "notebook" else len(frames))
        for name, value in took.items()
    }
    height, width = params.prepare.size
    what = f"prepare 2048x1024 -> {width}x{height}, {cores()} cores"
    megabytes = {n: peak_megabytes(n) for n in (32, 512)}
    report(
        "prepare",
        [
            Claim(
                f"{what}, against the notebooks' way",
                each["ours"],
                each["notebook"],
                None,
                "ours / peer <= 0.167",
                "ms/frame",
                why="decoding alone takes nine tenths of it, and no other decoder that was tried "
                "(OpenCV, libpng with zlib-ng, libspng) is faster; runs gave 5.6 to 6.5 times",
            ),
            Claim(
                f"{what}, against decoding alone",
                each["ours"],
                None,
                each["bound"],
                "ours / bound <= 1.15",
                "ms/frame",
                why="what is beside decoding is resizing and hashing; "
                "a decoder that gives the image at a fraction of its size would help both",
            ),
            Claim(
                f"{what}, against decoding alone with OpenCV",
                each["ours"],
                None,
                each["opencv"],
                "ours / bound < 1",
                "ms/frame",
            ),
            Claim(
                "peak memory of the largest process, 512 frames against 32",
                megabytes[512],
                megabytes[32],
                None,
                "ours / peer <= 1.1",
                "MB",
            ),
        ],
    )


if __name__ == "__main__":
    main()
