"""The evaluation script of the Cityscapes benchmark, as the reference for scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813

from streetseg.images.encode import encode_png

Masks = tuple[np.ndarray, np.ndarray | None, np.ndarray]
"""True label ids uint8[H, W], instance ids uint16[H, W] if they are known, predicted label ids."""


def official_scores(predictions: Path, truth: Path, instances: bool = True) -> dict[str, Any]:
    """What the script says of the masks in two folders that are named alike."""
    arguments = official.args
    arguments.evalInstLevelScore, arguments.evalPixelAccuracy = instances, False
    arguments.quiet, arguments.JSONOutput = True, False
    masks = sorted(map(str, predictions.glob("*.png")))
    truths = sorted(map(str, truth.rglob("*labelIds.png")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "in1d", np.isin, raising=False)  # its name until NumPy 2.4
        return official.evaluateImgLists(masks, truths, arguments)


def write_masks(root: Path, frames: list[Masks]) -> tuple[Path, Path]:
    """Write frames in the layout of Cityscapes; returns the folders of predictions and truth."""
    predictions, truth = root / "predictions", root / "gtFine" / "val"
    city = truth / "aachen"
    predictions.mkdir(parents=True)
    city.mkdir(parents=True)
    for number, (ids, instances, predicted) in enumerate(frames):
        name = f"aachen_000000_{number:06d}"
        (predictions / f"{name}_pred.png").write_bytes(encode_png(predicted))
        (city / f"{name}_gtFine_labelIds.png").write_bytes(encode_png(ids))
        if instances is not None:
            (city / f"{name}_gtFine_instanceIds.png").write_bytes(encode_png(instances))
    return predictions, truth
