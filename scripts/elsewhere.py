"""Compare the masks of an exported model in other runtimes with streetseg's.

``python -m scripts.elsewhere MODEL IMAGES --packages FOLDER`` prints a table: pixels with another
category. The programs are those of docs/elsewhere.md. Runtimes that are missing are left out:
OpenVINO (``pip install openvino``), and in FOLDER ``npm install onnxruntime-web onnxruntime-node
@techstark/opencv-js@5.0.0-release.1``.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from streetseg.images.decode import read_image
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import categories_at
from streetseg.models.export.source import Layout, Options
from streetseg.models.export.writer import export_model

PAGE = Path(__file__).parent.parent / "docs" / "elsewhere.md"
DRIVER = Path(__file__).parent / "elsewhere.mjs"
Predict = Callable[[np.ndarray], np.ndarray]


def program(language: str) -> str:
    """The program in a language (python, js, cpp) in docs/elsewhere.md."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return text


def python_program(folder: Path) -> dict[str, Any]:
    """The functions of the page's program in Python."""
    path = folder / "predict.py"
    path.write_text(program("python"))
    return runpy.run_path(str(path))


def predictors(segmenter: Segmenter, folder: Path) -> dict[str, Predict]:
    """Runtimes of this Python, by name."""

    def export(layout: Layout) -> Path:
        out = folder / layout
        export_model("", segmenter.artifact, "onnx", out, Options(layout=layout), _no_data)
        return out / "model.onnx"

    def around(run: Callable[[np.ndarray], np.ndarray]) -> Predict:
        def predict(rgb: np.ndarray) -> np.ndarray:
            logits = run(segmenter.network_input(rgb)[None])
            return categories_at(logits[0], (rgb.shape[0], rgb.shape[1]))

        return predict

    nhwc, nchw = export("nhwc"), export("nchw")
    page, session = python_program(folder), onnxruntime.InferenceSession(nhwc)
    network = cv2.dnn.readNetFromONNX(str(nchw), engine=cv2.dnn.ENGINE_NEW)

    def run_opencv(images: np.ndarray) -> np.ndarray:
        planes = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        network.setInput(np.ascontiguousarray(planes))
        return network.forward()

    runtimes: dict[str, Predict] = {
        "the page's Python": lambda rgb: page["predict"](session, rgb),
        f"OpenCV {cv2.__version__}, new engine": around(run_opencv),
    }
    try:
        import openvino
    except ImportError:
        return runtimes
    compiled = openvino.compile_model(nhwc, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    name = f"OpenVINO {openvino.__version__.partition('-')[0]}, float32"
    return runtimes | {name: around(lambda images: compiled(images)[0])}


def javascript(
    package: str, packages: Path, segmenter: Segmenter, images: list[np.ndarray], folder: Path
) -> list[np.ndarray]:
    """Masks of the page's program in JavaScript, run by node."""
    (folder / "predict.mjs").write_text(program("js"))
    for number, rgb in enumerate(images):
        height, width = rgb.shape[:2]
        rgba = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
        (folder / f"{number}-{width}-{height}.rgba").write_bytes(rgba.tobytes())
    size = json.dumps(segmenter.size)
    model = folder / "nhwc" / "model.onnx"
    subprocess.run(
        ["node", DRIVER, packages.resolve(), package, folder / "predict.mjs", model, size, folder],
        check=True,
    )
    return [
        np.fromfile(folder / f"{number}.ids", np.uint8).reshape(rgb.shape[:2])
        for number, rgb in enumerate(images)
    ]


def _no_data() -> Any:
    raise AssertionError("only int8 needs data")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m scripts.elsewhere outputs/model street.jpg",
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--packages", type=Path, help="folder with node_modules")
    options = parser.parse_args()
    segmenter = Segmenter(options.model, "float32")
    images = [read_image(path) for path in options.images]
    expected = [segmenter.predict(rgb) for rgb in images]
    total = sum(mask.size for mask in expected)

    def show(name: str, masks: list[np.ndarray]) -> None:
        pairs = zip(masks, expected, strict=True)
        other = sum(int((mask != ours).sum()) for mask, ours in pairs)
        print(f"| {name} | {other} | {other / total:.4%} |", flush=True)

    print(f"| {len(images)} images, {total} pixels | other pixels | fraction |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, predict in predictors(segmenter, folder).items():
            show(name, [predict(rgb) for rgb in images])
        if options.packages:
            for package in ("onnxruntime-web", "onnxruntime-node"):
                masks = javascript(package, options.packages, segmenter, images, folder)
                show(f"the page's JavaScript, {package}", masks)


if __name__ == "__main__":
    main()
