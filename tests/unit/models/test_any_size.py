"""Networks take images of any size, and pad what they need themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streetseg.config.params import Model
from streetseg.inference.self_check import TOLERANCE
from streetseg.models.build import SegmentationModel, build_model, check_size
from streetseg.models.onnx_export import export_onnx
from streetseg.models.quantization import quantize_onnx

SIZES = [(45, 60), (65, 64), (33, 95), (64, 96)]
"""(height, width): the last needs no padding."""


def random_model(architecture: str) -> SegmentationModel:
    torch.manual_seed(0)
    params = Model(architecture=architecture, encoder="resnet18", encoder_weights="none")
    return build_model(params, 3).eval()


def images(size: tuple[int, int]) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("architecture", ["MiniUnet", "Unet"])
def test_the_logits_are_those_of_the_padded_image(architecture: str, size: tuple[int, int]) -> None:
    model = random_model(architecture)
    height, width = size
    taller, wider = (-(-side // model.stride) * model.stride for side in size)
    pixels = (images(size).permute(0, 3, 1, 2).float() - model.mean) / model.std
    padded = F.pad(pixels, (0, wider - width, 0, taller - height))
    with torch.inference_mode():
        expected = model.network(padded)[:, :, :height, :width]
        torch.testing.assert_close(model(images(size)), expected)


def test_nothing_is_padded_where_the_network_needs_it_not() -> None:
    given = []
    network = nn.Sequential(nn.Conv2d(3, 2, 1))
    network.register_forward_hook(lambda module, inputs, output: given.append(inputs[0].shape[2:]))
    model = SegmentationModel(network, (0.5,) * 3, (0.5,) * 3)
    for size in ((64, 96), (63, 96)):
        model(images(size))
    assert given == [(64, 96), (64, 96)]


@pytest.mark.parametrize(("architecture", "stride"), [("MiniUnet", 4), ("UNet2015", 16)])
def test_our_networks_pad_to_their_own_stride(architecture: str, stride: int) -> None:
    assert random_model(architecture).padded((33, 64)) == (-(-33 // stride) * stride, 64)


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("MiniUnet", (45, 61)),
        ("MiniUnet", (90, 120)),
        ("Unet", (45, 61)),
        pytest.param("PSPNet", (45, 90), marks=pytest.mark.slow),
        pytest.param("UPerNet", (45, 90), marks=pytest.mark.slow),
    ],
)
def test_onnx_runtime_pads_as_pytorch_does(
    architecture: str, size: tuple[int, int], tmp_path: Path
) -> None:
    model = random_model(architecture)
    check_size(model, size)
    export_onnx(model, size, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (served,) = session.run(None, {"images": images(size).numpy()})
    with torch.inference_mode():
        trained = model(images(size)).numpy()
    assert served.shape == (2, 3, *size)
    assert np.abs(served - trained).max() <= TOLERANCE * np.ptp(trained)


def test_an_int8_graph_pads_too(tmp_path: Path) -> None:
    model, size = random_model("MiniUnet"), (45, 61)
    export_onnx(model, size, tmp_path / "model.onnx")
    frames = SimpleNamespace(image=lambda row: images(size)[row].numpy())
    quantize_onnx(tmp_path / "model.onnx", frames, range(2), tmp_path / "int8.onnx")
    exact, rounded = (
        onnxruntime.InferenceSession(tmp_path / name).run(None, {"images": images(size).numpy()})[0]
        for name in ("model.onnx", "int8.onnx")
    )
    assert rounded.shape == (2, 3, *size)
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.95
