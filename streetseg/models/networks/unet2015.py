"""The original U-Net.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two padded 3x3 convolutions, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet2015(nn.Module):
    """The U-Net of figure 1 of the paper: 23 convolutional layers, 64 to 1024 channels.

    The paper's 3x3 convolutions are not padded and its skips are cropped (572x572 gives 388x388).
    Here they are zero-padded, so the logits have the size of the image. H and W must be multiples
    of 16 (2 to the number of levels below the first). The paper gives no rate for the dropout at
    the end of the contracting path; here it is 0.5.
    """

    def __init__(
        self,
        categories: int,
        channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        block: Callable[[int, int], nn.Module] = two_convolutions,
    ) -> None:
        """Build with random weights.

        Args:
            widths: channels of each level, from full resolution to the coarsest.
            block: builds the layers of a level from its input and output channels.
        """
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)
        rising = widths[::-1]
        self.down = nn.ModuleList(block(*pair) for pair in pairwise((channels, *widths)))
        self.dropout = nn.Dropout(0.5)
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in pairwise(rising)
        )
        self.up = nn.ModuleList(block(2 * fine, fine) for fine in rising[1:])
        self.head = nn.Conv2d(widths[0], categories, 1)
        self.apply(_initialise)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits float32[N, categories, H, W] of float32[N, channels, H, W]."""
        features, skips = self.down[0](pixels), []
        for down in self.down[1:]:
            skips.append(features)
            features = down(F.max_pool2d(features, 2))
        features = self.dropout(features)
        for enlarge, up in zip(self.enlarge, self.up, strict=True):
            features = up(torch.cat([skips.pop(), enlarge(features)], dim=1))
        return self.head(features)


def _initialise(layer: nn.Module) -> None:
    """Gaussian weights of variance 2 / fan-in: section 3 of the paper."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif isinstance(layer, nn.ConvTranspose2d):  # at stride 2 an output sums one tap per channel
        nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
    else:
        return
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
