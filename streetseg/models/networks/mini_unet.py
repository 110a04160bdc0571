"""A U-Net small enough to train from scratch on a CPU."""

from __future__ import annotations

from torch import nn

from streetseg.models.networks.unet2015 import UNet2015


def two_normalised_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two padded 3x3 convolutions with batch normalisation (Ioffe, Szegedy, 2015) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class MiniUnet(UNet2015):
    """Three encoder blocks (32, 64, 128 channels) and two decoder blocks (64, 32).

    It is `UNet2015` with three levels of half the width and batch normalisation, the size of small
    published Cityscapes systems. H and W must be multiples of 4.
    """

    def __init__(self, categories: int) -> None:
        """Build with random weights."""
        super().__init__(categories, widths=(32, 64, 128), block=two_normalised_convolutions)
