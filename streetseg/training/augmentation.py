"""Random changes of training frames.

Where frames are loaded, weather, geometry and the faults of cameras change the pixels
(albumentations, uint8). Flips and colours are only *drawn* there; :func:`augment_on_device` changes
the pixels on the device that trains.
"""

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
    from streetseg.training.loader import Batch

GRAY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
YIQ = np.array([GRAY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luma and the two axes of chroma (NTSC), in which a turn changes the hue alone."""
RGB_OF_YIQ = np.linalg.inv(YIQ)


class RandomZoom(A.DualTransform):
    """Zoom at a random place: a window of the frame is resized to the size that is asked for.

    Where the window is larger than the frame, the rest is black, and ``IGNORE`` in the mask. Only
    the part that is seen is resized, which takes a third of the time of warping the frame.
    """

    def __init__(
        self,
        scale: tuple[float, float],
        size: tuple[int, int] | None = None,
        rare: float = 0.0,
        categories: tuple[int, ...] = (),
    ) -> None:
        """Draw the zoom from ``scale`` (smallest, largest), as often above 1 as its range is.

        Args:
            scale: lengths in the result, as a fraction of those in the frame.
            size: (height, width) of the result; None for those of the frame.
            rare: probability that the window is laid over a pixel of a category drawn evenly from
                those in the frame: the class-uniform sampling of Zhu et al., "Improving Semantic
                Segmentation via Video Propagation and Label Relaxation", CVPR 2019, in one frame.
            categories: ids of those that may be drawn.
        """
        super().__init__(p=0.0 if scale == (1, 1) and size is None else 1.0)
        self.scale = scale
        self.size = size
        self.rare = rare
        self.categories = categories

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Size of the result, and rows and columns of what is seen, in the frame and there."""
        frame = params["shape"][:2]
        size = self.size or frame
        zoom = self.py_random.uniform(*self.scale)
        place = self.py_random.random(), self.py_random.random()
        rare = self.py_random.random() < self.rare
        pixel = (self._rare_pixel(data["mask"]) if rare else None) or (None, None)
        rows, columns = (
            _along(*axis, zoom) for axis in zip(frame, size, place, pixel, strict=True)
        )
        seen, shown = zip(rows, columns, strict=True)
        return {"size": size, "seen": seen, "shown": shown}

    def _rare_pixel(self, mask: np.ndarray) -> tuple[int, int] | None:
        """Row and column of a pixel of a category of the mask; None if it shows none of them."""
        pixels = cv2.calcHist([mask], [0], None, [256], [0, 256])
        present = [category for category in self.categories if pixels[category]]
        if not present:
            return None
        where = np.flatnonzero(mask == self.py_random.choice(present))
        return divmod(int(self.py_random.choice(where)), mask.shape[1])

    def apply(
        self,
        img: np.ndarray,
        size: tuple[int, int],
        seen: tuple[slice, slice],
        shown: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed image: uint8[height, width, 3]."""
        whole = np.zeros((*size, 3), np.uint8)
        area = whole[shown]
        cv2.resize(img[seen], area.shape[1::-1], dst=area)
        return whole

    def apply_to_mask(
        self,
        mask: np.ndarray,
        size: tuple[int, int],
        seen: tuple[slice, slice],
        shown: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed mask: uint8[height, width]; ids are never mixed."""
        whole = np.full(size, IGNORE, np.uint8)
        whole[shown] = resize_ids(mask[seen], whole[shown].shape)
        return whole


def _along(
    frame: int, size: int, place: float, pixel: int | None, zoom: float
) -> tuple[slice, slice]:
    """What is seen of one axis of the frame, with ``pixel`` in it, and where it is shown."""
    window = max(round(size / zoom), 1)
    seen = min(window, frame)
    shown = size if window <= frame else max(round(frame * zoom), 1)
    first, last = 0, frame - seen
    if pixel is not None:
        first, last = max(first, pixel - seen + 1), min(last, pixel)
    start, corner = first + round(place * (last - first)), round(place * (size - shown))
    return slice(start, start + seen), slice(corner, corner + shown)


def build_augmentation(params: Augment, size: tuple[int, int], labels: LabelSpace) -> A.Compose:
    """The changes made where frames are loaded.

    Weather comes first: it belongs to the scene, whose horizon geometry moves. It maps ``image``
    uint8[H, W, 3] and ``mask`` uint8[H, W] to these types, of the crop's size if there is one. Let
    all transforms draw from one stream (``set_random_state``): ``set_random_seed`` gives the same
    numbers to each, so that what has the same probability would come together or not at all.

    Args:
        params: what is changed how much.
        size: (height, width) of the frames.
        labels: of the mask's categories; the one named void is not sought by rare crops.

    Raises:
        StreetsegError: the crop is larger than the frames.
    """
    if params.crop and (params.crop[0] > size[0] or params.crop[1] > size[1]):
        raise StreetsegError(
            f"train.augment.crop = {list(params.crop)} is larger than the prepared frames, "
            f"{list(size)}: choose a smaller crop or a larger prepare.size"
        )
    sought = tuple(number for number, name in enumerate(labels.names) if name != "void")
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
            RandomZoom(params.scale, params.crop, params.rare_crop, sought),
            A.GaussianBlur(sigma_limit=(0.3, 1.2), blur_limit=0, p=params.blur),
            A.Sharpen(alpha=(0.1, 0.4), lightness=(1, 1), p=params.sharpen),
            A.GaussNoise(std_range=(0.01, 0.04), p=params.noise),
        ]
    )


def draw_color(params: Augment, random: np.random.Generator) -> np.ndarray:
    """A random change of colours: float32[3, 4], a matrix on RGB 0..255 and an offset.

    Brightness scales, contrast stretches about mid-grey, saturation mixes with the grey of the
    pixel (ITU-R BT.601), hue turns the chroma plane of YIQ.
    """
    brightness, contrast, saturation = (
        1 + random.uniform(-most, most)
        for most in (params.brightness, params.contrast, params.saturation)
    )
    angle = 2 * math.pi * random.uniform(-params.hue, params.hue)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    mixed = saturation * np.eye(3) + (1 - saturation) * GRAY
    change = np.empty((3, 4), np.float32)
    change[:, :3] = contrast * brightness * RGB_OF_YIQ @ turn @ YIQ @ mixed
    change[:, 3] = 127.5 * (1 - contrast)
    return change


def recolor(images: Tensor, colors: Tensor) -> Tensor:
    """Change the colours of uint8[N, H, W, 3] as float32[N, 3, 4] says: float32 on 0..255."""
    pixels = images.flatten(1, 2).float()
    changed = pixels @ colors[:, :, :3].mT + colors[:, None, :, 3]
    return changed.clamp_(0, 255).view(images.shape)


def augment_on_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move a batch to ``device``; flip and recolour it there.

    Returns:
        Pixels float32[N, H, W, 3] on 0..255 and categories int64[N, H, W].
    """
    images, categories, colors, flips = (part.to(device, non_blocking=True) for part in batch)
    images = images.flip(2).where(flips[:, None, None, None], images)
    categories = categories.flip(2).where(flips[:, None, None], categories)
    return recolor(images, colors), categories.long()
