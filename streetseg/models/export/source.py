"""What an export is made from: the network of an artifact, and how it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from streetseg.data.dataset import PreparedDataset
from streetseg.models.build import SegmentationModel

Layout = Literal["nhwc", "nchw"]
"""Input RGB uint8[N, height, width, 3], or RGB float32[N, 3, height, width] on 0..1."""
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Options:
    """How an export is wanted."""

    argmax: bool = False
    """Whether the output is ``categories``, ids uint8[N, height, width], instead of ``logits``."""
    size: tuple[int, int] | None = None
    """(height, width) of the input; None for that of the artifact."""
    precision: Precision = "float32"
    layout: Layout | None = None
    """None for the layout that the format prefers."""


@dataclass(frozen=True)
class Source:
    """A network that is exported.

    Attributes:
        image: the example of the artifact at ``size``, uint8[height, width, 3].
        description: what becomes the metadata of the exported file.
        calibration: frames to measure the ranges of int8 on; None to use the artifact's own graph.
    """

    artifact: Path
    model: SegmentationModel
    image: np.ndarray
    description: Mapping[str, Any]
    argmax: bool
    precision: Precision
    layout: Layout
    calibration: PreparedDataset | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def categories(self) -> list[str]:
        """The names of the categories, by id."""
        return self.description["categories"]

    def images(self) -> np.ndarray:
        """The example as a batch of one in the layout of the export."""
        batch = self.image[None]
        if self.layout == "nhwc":
            return batch
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).astype(np.float32) / 255

    def input_shape(self, batch: int) -> list[int]:
        """The shape of a batch in the layout of the export."""
        return [batch, *self.images().shape[1:]]

    def in_float32(self) -> Source:
        """The same, for formats that lower the precision themselves."""
        return replace(self, precision="float32")

    def changed(self, output: np.ndarray) -> float:
        """The fraction of the example's pixels that get another category than in PyTorch.

        ``output`` is what the exported model makes of :meth:`images`.
        """
        with torch.inference_mode():
            expected = self.model(torch.from_numpy(self.image[None])).argmax(1).numpy()
        return float(np.mean((output if self.argmax else output.argmax(1)) != expected))

    def network(self, argmax: bool) -> nn.Module:
        """The network from the input in its layout to logits, or to category ids."""
        return ExportedNetwork(self.model, self.layout, argmax).eval()


class ExportedNetwork(nn.Module):
    """A network with the input and the output of an export."""

    def __init__(self, model: SegmentationModel, layout: Layout, argmax: bool) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model, self.planes, self.argmax = model, layout == "nchw", argmax

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32[N, C, H, W], or category ids uint8[N, H, W]."""
        # Of x / 255 in float32, * 255 gives back exactly x.
        logits = self.model.from_planes(images * 255) if self.planes else self.model(images)
        return logits.argmax(1).to(torch.uint8) if self.argmax else logits
