"""Fully convolutional networks on VGG16.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation (CVPR 2015), and
Shelhamer, Long, Darrell, of the same title (PAMI 2017). The encoder is configuration D of
Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and 3x3 convolutions of each stage of VGG16; a stage ends with a 2x2 max pooling."""
HIDDEN = 4096
"""Channels of fc6 and fc7."""


class VGG16(nn.Module):
    """VGG16 with fc6 and fc7 as convolutions; layers are numbered as in torchvision's VGG16."""

    def __init__(self) -> None:
        """Build with random weights (He et al., 2015, eq. 10)."""
        super().__init__()
        layers: list[nn.Module] = []
        self.stage_ends = [0]
        channels = 3
        for width, convolutions in STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
            self.stage_ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Conv2d(512, HIDDEN, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Conv2d(HIDDEN, HIDDEN, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(),
        )
        for layer in (*self.features, *self.classifier):
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pool3, pool4, fc7: float32[N, C, H/s, W/s], C 256, 512, 4096 and stride s 8, 16, 32."""
        pools = [pixels]
        for begin, end in pairwise(self.stage_ends):
            pools.append(self.features[begin:end](pools[-1]))
        return pools[3], pools[4], self.classifier(pools[5])

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights, also those of torchvision's VGG16, whose fc6 and fc7 are matrices."""
        state = {key: value for key, value in state_dict.items() if "classifier.6." not in key}
        for name, side in {"classifier.0.weight": 7, "classifier.3.weight": 1}.items():
            if name in state and state[name].ndim == 2:
                state[name] = state[name].unflatten(1, (-1, side, side))
        return super().load_state_dict(state, *args, **kwargs)


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s: figure 3 of both papers.

    The scores of fc7 are upsampled and added to those of pool4 (FCN-16s), then to those of pool3
    (FCN-8s), and the sum is upsampled to the image. As in the papers, scores are initialised to
    zero and upsampling to bilinear interpolation: learnable between the skips, fixed at the end.

    The authors pad the image by 100 pixels and crop the scores. Here fc6 is padded instead, so the
    logits have the size of the image. H and W must be multiples of 32.
    """

    def __init__(
        self, categories: int, stride: Literal[8, 16, 32], skip_scale: float = 1.0
    ) -> None:
        """Build with random weights.

        Args:
            stride: pixels of the image between neighbours of the finest scores.
            skip_scale: factor s of the features in the skips: s for pool4, s squared for pool3. The
                variant trained "all at once" (2017) has s = 1e-2, hence 1, 1e-2, 1e-4. These
                constants suit the authors' weights and pixels, 0..255 minus their mean.
        """
        super().__init__()
        skips = {32: [], 16: [512], 8: [512, 256]}[stride]
        self.encoder = VGG16()
        self.score = _scores(HIDDEN, categories)
        self.skip_scores = nn.ModuleList(_scores(channels, categories) for channels in skips)
        self.skip_scales = [skip_scale, skip_scale**2][: len(skips)]
        self.enlarge = nn.ModuleList(bilinear(categories, 2) for _ in skips)
        self.to_picture = bilinear(categories, stride, fixed=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits float32[N, categories, H, W] of RGB float32[N, 3, H, W]."""
        pool3, pool4, fc7 = self.encoder(pixels)
        scores = self.score(fc7)
        for features, scale, score, enlarge in zip(
            (pool4, pool3), self.skip_scales, self.skip_scores, self.enlarge, strict=False
        ):
            scores = enlarge(scores) + score(features * scale)
        return self.to_picture(scores)


def bilinear(categories: int, factor: int, fixed: bool = False) -> nn.ConvTranspose2d:
    """A transposed convolution that upsamples by an even ``factor``, initially bilinearly.

    The kernel is a triangle 2 * factor wide in each direction and does not mix categories. A
    ``fixed`` layer is not trained, and is grouped by category.
    """
    layer = nn.ConvTranspose2d(
        categories,
        categories,
        2 * factor,
        stride=factor,
        padding=factor // 2,
        groups=categories if fixed else 1,
        bias=False,
    )
    triangle = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    category = torch.arange(categories)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[category, 0 if fixed else category] = torch.outer(triangle, triangle)
    return layer.requires_grad_(not fixed)


def _scores(channels: int, categories: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, categories, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
