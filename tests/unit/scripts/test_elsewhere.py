"""The program of docs/elsewhere.md gives the masks of ``predict``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from scripts.elsewhere import python_program
from streetseg.inference.segmenter import Segmenter
from tests.conftest import SIZE, Trained


@pytest.mark.parametrize(
    "size",
    [
        SIZE,
        (4 * SIZE[0], 4 * SIZE[1]),  # halved twice
        (75, 210),  # shrinks
        (50, 300),  # one side grows
        (40, 60),
    ],
)
def test_the_python_program_gives_the_masks_of_predict(
    trained: Trained, cityscapes: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    street = cv2.imread(str(next(cityscapes.rglob("*leftImg8bit.png"))))
    rgb = cv2.resize(street, size[::-1], interpolation=cv2.INTER_CUBIC)[..., ::-1].copy()
    session = onnxruntime.InferenceSession(trained.artifact / "model.onnx")
    mask = python_program(tmp_path)["predict"](session, rgb)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, Segmenter(trained.artifact).predict(rgb))
