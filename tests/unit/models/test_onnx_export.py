"""Every network can be served."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from streetseg.config.params import Model
from streetseg.inference.self_check import TOLERANCE
from streetseg.models.build import architectures, build_model
from streetseg.models.networks import fcn
from streetseg.models.onnx_export import export_onnx


@pytest.mark.slow
@pytest.mark.parametrize("architecture", architectures())
def test_every_architecture_can_be_served(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcn, "HIDDEN", 64)  # 4096 channels take seconds
    encoder = "tu-vit_tiny_patch16_224" if architecture == "DPT" else "resnet18"
    torch.manual_seed(0)
    params = Model(architecture=architecture, encoder=encoder, encoder_weights="none")
    model = build_model(params, 3)
    for parameter in model.parameters():  # some begin at zero
        torch.nn.init.normal_(parameter, std=0.05)
    size = (120, 150)
    images = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        trained = model.eval()(images).numpy()
    export_onnx(model, size, tmp_path / "model.onnx")
    (served,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(
        None, {"images": images.numpy()}
    )
    assert np.abs(served - trained).max() <= TOLERANCE * np.ptp(trained)
