"""Networks that smp does not have: RGB float32[N, 3, H, W] to logits float32[N, C, H, W]."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from streetseg.models.networks.fcn import FCN
from streetseg.models.networks.mini_unet import MiniUnet
from streetseg.models.networks.unet2015 import UNet2015

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "FCN8s": partial(FCN, stride=8),
    "FCN16s": partial(FCN, stride=16),
    "FCN32s": partial(FCN, stride=32),
    "MiniUnet": MiniUnet,
    "UNet2015": UNet2015,
}
"""By their name in ``model.architecture``; each is built for a number of categories C."""
