"""Augmentation: weather, geometry, camera faults in the loader; flips, colours on the device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import albumentations as A
import cv2
import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.resize import resize_ids
from streetseg.training.weather import WeatherOverlay, dirt, fog, rain, shadow, sun_flare

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from streetseg.config.params import Augment
    from streetseg.training.batch import Batch

GRAY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
YIQ = np.array([GRAY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luma and the two axes of chroma (NTSC); rotating the chroma changes only the hue."""
RGB_OF_YIQ = np.linalg.inv(YIQ)


class RandomZoom(A.DualTransform):
    """A random window of the frame, resized to the output size.

    Outside the frame the output is black, and ``IGNORE`` in the mask. Resizing only the visible
    part takes a third of the time of warping the frame.
    """

    def __init__(
        self,
        scale: tuple[float, float],
        size: tuple[int, int] | None = None,
        rare: float = 0.0,
        categories: tuple[int, ...] = (),
    ) -> None:
        """Draw the zoom, output length over frame length, uniformly from ``scale`` (low, high).

        Args:
            size: (height, width) of the output; None for the frame's.
            rare: probability that the window contains a pixel of a category drawn evenly from those
                of ``categories`` (ids) in the frame: the class-uniform sampling of Zhu et al.,
                "Improving Semantic Segmentation via Video Propagation and Label Relaxation", CVPR
                2019, in one frame.
        """
        super().__init__(p=0.0 if scale == (1, 1) and size is None else 1.0)
        self.scale = scale
        self.size = size
        self.rare = rare
        self.categories = categories

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """The output size, the visible area of the frame, and its area in the output."""
        frame = params["shape"][:2]
        size = self.size or frame
        zoom = self.py_random.uniform(*self.scale)
        position = self.py_random.random(), self.py_random.random()
        rare = self.py_random.random() < self.rare
        pixel = (self._rare_pixel(data["mask"]) if rare else None) or (None, None)
        rows, columns = (
            _window(*axis, zoom) for axis in zip(frame, size, position, pixel, strict=True)
        )
        source, target = zip(rows, columns, strict=True)
        return {"size": size, "source": source, "target": target}

    def _rare_pixel(self, mask: np.ndarray) -> tuple[int, int] | None:
        """Row and column of a pixel of a random category; None if the mask has none of them."""
        pixels = cv2.calcHist([mask], [0], None, [256], [0, 256])
        present = [category for category in self.categories if pixels[category]]
        if not present:
            return None
        candidates = np.flatnonzero(mask == self.py_random.choice(present))
        return divmod(int(self.py_random.choice(candidates)), mask.shape[1])

    def apply(
        self,
        img: np.ndarray,
        size: tuple[int, int],
        source: tuple[slice, slice],
        target: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed image: uint8[height, width, 3]."""
        output = np.zeros((*size, 3), np.uint8)
        visible = output[target]
        cv2.resize(img[source], visible.shape[1::-1], dst=visible)
        return output

    def apply_to_mask(
        self,
        mask: np.ndarray,
        size: tuple[int, int],
        source: tuple[slice, slice],
        target: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed mask: uint8[height, width], by nearest neighbour."""
        output = np.full(size, IGNORE, np.uint8)
        output[target] = resize_ids(mask[source], output[target].shape)
        return output


def _window(
    frame: int, size: int, position: float, pixel: int | None, zoom: float
) -> tuple[slice, slice]:
    """Visible slice of the frame and its slice of the output; ``position`` is from 0 to 1."""
    window = max(round(size / zoom), 1)
    visible = min(window, frame)
    shown = size if window <= frame else max(round(frame * zoom), 1)
    first, last = 0, frame - visible
    if pixel is not None:
        first, last = max(first, pixel - visible + 1), min(last, pixel)
    start, corner = first + round(position * (last - first)), round(position * (size - shown))
    return slice(start, start + visible), slice(corner, corner + shown)


def build_augmentation(params: Augment, size: tuple[int, int], labels: LabelSpace) -> A.Compose:
    """The loader's transforms: ``image`` uint8[H, W, 3] and ``mask`` uint8[H, W] to the same types.

    The output has the crop's size, if there is one; ``size`` is (height, width) of the frames.
    Weather comes before geometry, because fog depends on the horizon. Rare crops ignore the
    category void.

    Seed the result with ``set_random_state``, so that all transforms draw from one stream. With
    ``set_random_seed`` each would draw the same numbers, and transforms of the same probability
    would always occur together.

    Raises:
        StreetsegError: the crop is larger than the frames.
    """
    if params.crop and (params.crop[0] > size[0] or params.crop[1] > size[1]):
        raise StreetsegError(
            f"train.augment.crop = {list(params.crop)} is larger than the prepared frames, "
            f"{list(size)}: set it to {list(map(min, params.crop, size))} or less, or choose a "
            "larger prepare.size"
        )
    categories = tuple(number for number, name in enumerate(labels.names) if name != "void")
    return A.Compose(
        [
            WeatherOverlay(fog, p=params.fog),
            WeatherOverlay(rain, p=params.rain),
            WeatherOverlay(shadow, p=params.shadow),
            WeatherOverlay(sun_flare, p=params.sun_flare),
            WeatherOverlay(dirt, p=params.dirt),
            A.Affine(
                rotate=(-params.rotate, params.rotate),
                shear={"x": (-params.shear, params.shear), "y": (0, 0)},
                fill_mask=IGNORE,
                p=1.0 if params.rotate or params.shear else 0.0,
            ),
            A.Perspective(scale=(0.02, 0.06), fill_mask=IGNORE, p=params.perspective),
            RandomZoom(params.scale, params.crop, params.rare_crop, categories),
            A.GaussianBlur(sigma_limit=(0.3, 1.2), blur_limit=0, p=params.blur),
            A.Sharpen(alpha=(0.1, 0.4), lightness=(1, 1), p=params.sharpen),
            A.GaussNoise(std_range=(0.01, 0.04), p=params.noise),
        ]
    )


def draw_color(params: Augment, random: np.random.Generator) -> np.ndarray:
    """A random change of colours: float32[3, 4], a matrix on RGB 0..255 and an offset.

    Brightness scales, contrast scales about mid-grey, saturation blends with the luma of the pixel
    (ITU-R BT.601), hue rotates the chroma plane of YIQ.
    """
    brightness, contrast, saturation = (
        1 + random.uniform(-limit, limit)
        for limit in (params.brightness, params.contrast, params.saturation)
    )
    angle = 2 * math.pi * random.uniform(-params.hue, params.hue)
    cos, sin = math.cos(angle), math.sin(angle)
    rotate = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    saturate = saturation * np.eye(3) + (1 - saturation) * GRAY
    color = np.empty((3, 4), np.float32)
    color[:, :3] = contrast * brightness * RGB_OF_YIQ @ rotate @ YIQ @ saturate
    color[:, 3] = 127.5 * (1 - contrast)
    return color


def recolor(images: Tensor, colors: Tensor) -> Tensor:
    """Apply the colour changes float32[N, 3, 4] to uint8[N, H, W, 3]: float32 on 0..255."""
    pixels = images.flatten(1, 2).float()
    recolored = pixels @ colors[:, :, :3].mT + colors[:, None, :, 3]
    return recolored.clamp_(0, 255).view(images.shape)


def augment_on_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flip and recolour a batch on ``device``: float32[N, H, W, 3] on 0..255, int64[N, H, W]."""
    images, categories, colors, flips = (part.to(device, non_blocking=True) for part in batch)
    images = images.flip(2).where(flips[:, None, None, None], images)
    categories = categories.flip(2).where(flips[:, None, None], categories)
    return recolor(images, colors), categories.long()
