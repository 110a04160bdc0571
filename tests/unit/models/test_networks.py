"""The networks of ours, held against the layers that their papers list."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from streetseg.models.networks import NETWORKS, fcn
from streetseg.models.networks.fcn import FCN, VGG16, bilinear
from streetseg.models.networks.mini_unet import MiniUnet
from streetseg.models.networks.unet2015 import UNet2015

CATEGORIES = 8


def layer(inputs: int, outputs: int, side: int) -> int:
    """Weights and biases of a convolution with a square kernel, transposed or not."""
    return inputs * outputs * side**2 + outputs


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def unet_2015(channels: int, categories: int) -> int:
    """Figure 1 of the paper, from left to right."""
    widths = [64, 128, 256, 512, 1024]
    total = 0
    for width, before in zip(widths, [channels, *widths], strict=False):
        total += layer(before, width, 3) + layer(width, width, 3)
    for width in reversed(widths[:-1]):
        total += layer(2 * width, width, 2)  # up-convolution
        total += layer(2 * width, width, 3) + layer(width, width, 3)  # skip and enlarged, joined
    return total + layer(64, categories, 1)


def test_unet2015_has_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        of_the_paper, ours = UNet2015(2, channels=1), UNet2015(CATEGORIES)
    assert parameters(of_the_paper) == unet_2015(1, 2) == pytest.approx(31.03e6, rel=1e-3)
    assert parameters(ours) == unet_2015(3, CATEGORIES)


def test_unet2015_has_23_convolutional_layers() -> None:
    with torch.device("meta"):
        layers = UNet2015(2).modules()
    assert sum(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in layers) == 23


def test_mini_unet_has_three_blocks_down_and_two_up() -> None:
    blocks = {(3, 32), (32, 64), (64, 128), (128, 64), (64, 32)}
    expected = sum(layer(a, b, 3) + layer(b, b, 3) + 2 * 2 * b for a, b in blocks)  # scale, shift
    expected += layer(128, 64, 2) + layer(64, 32, 2) + layer(32, CATEGORIES, 1)
    with torch.device("meta"):
        assert parameters(MiniUnet(CATEGORIES)) == expected


@pytest.mark.parametrize(
    ("name", "skips"), [("FCN32s", []), ("FCN16s", [512]), ("FCN8s", [512, 256])]
)
def test_an_fcn_has_the_parameters_of_vgg16_and_its_scores(name: str, skips: list[int]) -> None:
    widths = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    vgg16 = sum(layer(a, b, 3) for a, b in zip([3, *widths], widths, strict=False))
    vgg16 += layer(512, 4096, 7) + layer(4096, 4096, 1)
    assert vgg16 == pytest.approx(134.26e6, rel=1e-4)
    scores = sum(layer(channels, CATEGORIES, 1) for channels in [4096, *skips])
    enlarging = len(skips) * CATEGORIES**2 * 4**2
    with torch.device("meta"):
        network = NETWORKS[name](CATEGORIES)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert learned == vgg16 + scores + enlarging


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(32, 32), (64, 160)])
def test_logits_have_the_size_of_the_picture(name: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        logits = NETWORKS[name](CATEGORIES)(torch.zeros(2, 3, *size))
    assert logits.shape == (2, CATEGORIES, *size)


@pytest.mark.parametrize("name", ["FCN8s", "MiniUnet", "UNet2015"])
def test_every_parameter_learns(name: str) -> None:
    network = NETWORKS[name](CATEGORIES)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # the scores of an FCN begin at zero, and hide what is below
                parameter.fill_(0.01)
    logits = network(torch.randn(2, 3, 64, 64))
    assert torch.isfinite(logits).all()
    F.cross_entropy(logits, torch.randint(CATEGORIES, (2, 64, 64))).backward()
    still = [
        key
        for key, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert still == []


@pytest.mark.slow
def test_fc6_and_fc7_compute_what_vgg16_computes() -> None:
    vgg16 = torchvision.models.vgg16(weights=None).eval()
    ours = VGG16().eval()
    ours.load_state_dict(vgg16.state_dict())
    picture = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        pool3, pool4, fc7 = ours(picture)
        pool5 = vgg16.features(picture)
        torch.testing.assert_close(pool3, vgg16.features[:17](picture))
        torch.testing.assert_close(pool4, vgg16.features[:24](picture))
        # the kernel of fc6 covers all of pool5 where it is centred, and nothing else
        torch.testing.assert_close(
            fc7[..., 3, 3], vgg16.classifier[:6](pool5.flatten(1)), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("factor", [2, 8, 32])
@pytest.mark.parametrize("fixed", [False, True])
def test_enlarging_begins_as_bilinear_interpolation(factor: int, fixed: bool) -> None:
    scores = torch.randn(2, 3, 5, 6)
    enlarged = bilinear(3, factor, fixed=fixed)(scores)
    expected = F.interpolate(scores, scale_factor=factor, mode="bilinear")
    assert enlarged.shape == expected.shape
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # zeros are around the scores
    torch.testing.assert_close(enlarged[inner], expected[inner])


class ConstantFeatures(nn.Module):
    """In place of VGG16: 1 in pool3, 10 in pool4, 100 in fc7."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = pixels.shape[2:]
        return (
            torch.full((1, 256, height // 8, width // 8), 1.0),
            torch.full((1, 512, height // 16, width // 16), 10.0),
            torch.full((1, 4096, height // 32, width // 32), 100.0),
        )


@pytest.mark.parametrize(
    ("stride", "scale", "expected"),
    [(32, 1, 100), (16, 1, 110), (8, 1, 111), (8, 0.01, 100.1001), (16, 0.01, 100.1)],
)
def test_the_scores_of_the_skips_are_scaled_and_added(
    monkeypatch: pytest.MonkeyPatch, stride: int, scale: float, expected: float
) -> None:
    monkeypatch.setattr(fcn, "VGG16", ConstantFeatures)
    network = FCN(CATEGORIES, stride, skip_scale=scale)  # type: ignore[arg-type]
    for score in (network.score, *network.skip_scores):
        nn.init.constant_(score.weight, 1 / score.in_channels)
    logits = network(torch.zeros(1, 3, 224, 224))[0, :, 96:128, 96:128]  # far from the border
    torch.testing.assert_close(logits, torch.full_like(logits, expected))
