"""The attention weights of a SegFormer.

E. Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers,
NeurIPS 2021, section 3.1. The four stages have a token every 4, 8, 16 and 32 pixels, each a query
(equation 1). Keys stand for 8x8, 4x4, 2x2 and 1x1 tokens (equation 2): 32x32 pixels in every stage.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.images.resize import Fit, fit_rgb, place, size_of
from streetseg.inference.artifact import read_config
from streetseg.models.build import SegmentationModel
from streetseg.models.load import load_torch

STAGES = (1, 2, 3, 4)
COLUMNS, CELL = 4, 2.6
"""Panels per row, and the width of each in inches."""


@dataclass(frozen=True)
class StageAttention:
    """The attention of one token in the last block of a stage."""

    stage: int
    """1 to 4."""
    weights: np.ndarray
    """float32[heads, rows, columns] over the grid of keys; each head sums to 1."""
    extent: tuple[float, float, float, float] | None = None
    """Left, right, bottom and top of the grid, in pixels of the image; None: the image's edges."""


@dataclass(frozen=True)
class _Axis:
    """Rows or columns of an image, and where the network sees them."""

    first: int
    seen: int
    """Pixels of the image that the network sees, from ``first`` on."""
    offset: int
    shown: int
    """Pixels of its input that show them, from ``offset`` on."""
    padded: int
    """Pixels of its input in all."""

    def token(self, pixel: int, tokens: int) -> int:
        """The token, of so many, that a pixel of the image belongs to."""
        scaled = self.offset * self.seen + (pixel - self.first) * self.shown
        return scaled * tokens // (self.seen * self.padded)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the input, in pixels of the image."""
        scale = self.seen / self.shown
        start = self.first - self.offset * scale
        return start, start + self.padded * scale


def attend(artifact: Path, rgb: np.ndarray, pixel: tuple[int, int]) -> list[StageAttention]:
    """The attention of the token at ``pixel`` (x, y) of an image uint8[H, W, 3], in every stage.

    Raises:
        StreetsegError: the network has no such attention, or the pixel is outside the image, or
            outside the part of it that the network sees.
    """
    (x, y), (height, width) = pixel, rgb.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise StreetsegError(f"the pixel {x},{y} is outside the image of {width}x{height}")
    model, config = load_torch(artifact), read_config(artifact)
    size, fit = tuple(config["size"]), config.get("fit", "stretch")
    vertical, horizontal = _axes((height, width), size, model.padded(size), fit)
    for axis, position in ((vertical, y), (horizontal, x)):
        if not axis.first <= position < axis.first + axis.seen:
            raise StreetsegError(
                f"the network does not see the pixel {x},{y}, because it was trained with "
                "prepare.fit=crop: choose one nearer the centre"
            )
    extent = (*horizontal.ends, *vertical.ends[::-1])
    found = []

    def look(stage: int, module: Any, given: tuple[Tensor, int, int]) -> None:
        tokens, rows, columns = given
        at = vertical.token(y, rows) * columns + horizontal.token(x, columns)
        weights = attention_weights(module, tokens, rows, columns, slice(at, at + 1))[0, :, 0]
        grid = weights.unflatten(1, (rows // module.sr_ratio, columns // module.sr_ratio))
        found.append(StageAttention(stage, grid.numpy(), extent))

    for stage, module in enumerate(last_attentions(model, artifact), 1):
        module.register_forward_hook(
            lambda module, given, _, stage=stage: look(stage, module, given)
        )
    images = fit_rgb(rgb, size, fit)[None]
    with torch.inference_mode():
        model(torch.from_numpy(images))
    return found


def _axes(
    frame: tuple[int, int], size: tuple[int, int], padded: tuple[int, int], fit: Fit
) -> tuple[_Axis, _Axis]:
    """The rows and the columns of a frame in an input of ``size``, which the model pads."""
    placement = place(frame, size, fit)
    source, target = placement.source, placement.target
    rows, columns = (
        _Axis(of_frame.start or 0, seen, of_input.start or 0, shown, length)
        for of_frame, seen, of_input, shown, length in zip(
            source, size_of(source, frame), target, size_of(target, size), padded, strict=True
        )
    )
    return rows, columns


def last_attentions(model: SegmentationModel, name: object = "the model") -> list[Any]:
    """The attention module of the last block of each stage; ``name`` is for the error.

    Raises:
        StreetsegError: the network's encoder is no Mix Vision Transformer.
    """
    from segmentation_models_pytorch.encoders.mix_transformer import MixVisionTransformer

    if not isinstance(model.encoder, MixVisionTransformer):
        raise StreetsegError(
            f"{name} has no attention that can be shown: it is a {type(model.network).__name__} on "
            "another encoder than mit_b0 to mit_b5; train model.architecture=Segformer, or any "
            "other on model.encoder=mit_b0"
        )
    return [model.encoder.get_submodule(f"block{stage}")[-1].attn for stage in STAGES]


def attention_weights(
    module: Any, tokens: Tensor, rows: int, columns: int, queries: slice = slice(None)
) -> Tensor:
    """softmax(Q K^T / sqrt(d)), equation 1: float32[N, heads, queries, keys].

    ``tokens``, float32[N, rows * columns, channels], are the input of ``module``, a self-attention
    of the Mix Vision Transformer.
    """
    keys, _ = keys_and_values(module, tokens, rows, columns)
    asking = _split(module.q(tokens[:, queries]), module.num_heads)
    return torch.softmax(module.scale * asking @ keys.mT, dim=-1)


def keys_and_values(module: Any, tokens: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Keys and values of the reduced tokens (equation 2), each float32[N, heads, keys, d]."""
    if module.sr_ratio > 1:
        grid = tokens.mT.unflatten(2, (rows, columns))
        tokens = module.norm(module.sr(grid).flatten(2).mT)
    keys, values = module.kv(tokens).chunk(2, dim=-1)
    return _split(keys, module.num_heads), _split(values, module.num_heads)


def write_attention(
    rgb: np.ndarray, pixel: tuple[int, int], stages: list[StageAttention], path: Path
) -> None:
    """Draw every head over the image uint8[H, W, 3], and write the figure as PNG.

    Colours range from 0 to the head's largest weight; the title gives it as a multiple of the mean.
    ``pixel`` is (x, y) of the query.

    Raises:
        StreetsegError: the file does not end with ``.png``.
    """
    from matplotlib.figure import Figure

    if path.suffix.lower() != ".png":
        raise StreetsegError(f"cannot write {path}: name a .png")
    height, width = rgb.shape[:2]
    edges = (0, width, height, 0)
    heads = [
        (f"stage {stage.stage}, head {head}", weights, stage.extent or edges)
        for stage in stages
        for head, weights in enumerate(stage.weights, 1)
    ]
    columns = min(COLUMNS, len(heads))
    rows = -(-len(heads) // columns)
    figure = Figure(
        figsize=(CELL * columns, rows * (CELL * height / width + 0.24) + 0.35), layout="compressed"
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, weights, extent) in zip(axes, heads, strict=False):
        peak = weights.max()
        heat = cv2.resize(weights / peak, (width, height), interpolation=cv2.INTER_LINEAR)
        axis.imshow(gray, cmap="gray", vmin=0, vmax=255, extent=edges)
        axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.8 * heat**0.5, extent=extent)
        axis.plot(*pixel, "o", color="none", markeredgecolor="#4cf3ff", markersize=7)
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.set_title(f"{name}: {peak * weights.size:.1f}x", fontsize=8)
    x, y = pixel
    figure.suptitle(
        f"What the pixel {x},{y} attends to; the brightest place has so many times the mean weight",
        fontsize=10, x=0.01, ha="left",
    )  # fmt: skip
    png = io.BytesIO()
    figure.savefig(png, dpi=110, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, png.getvalue())


def _split(tokens: Tensor, heads: int) -> Tensor:
    """float32[N, tokens, heads * d] as float32[N, heads, tokens, d]."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
