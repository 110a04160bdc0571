"""Random changes of training frames.

Where frames are loaded, weather, geometry and the faults of cameras change the pixels
(albumentations, uint8). Flips and colours are only *drawn* there; :func:`finish` changes the pixels
on the device that trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import albumentations as A
import cv2
import numpy as np

from streetseg.errors import StreetsegError
from streetseg.imaging import resize_ids
from streetseg.labels import IGNORE, LabelSpace
from streetseg.weather import Veil, dirt, fog, rain, shadow, sun_flare

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from streetseg.config import Augment
    from streetseg.loading import Batch

GRAY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
YIQ = np.array([GRAY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luma and the two axes of chroma (NTSC), in which a turn changes the hue alone."""


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
            scale: lengths in the result, as a share of those in the frame.
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
        frame = np.array(params["shape"][:2])
        size = np.array(self.size or frame)
        zoom = self.py_random.uniform(*self.scale)
        place = np.array([self.py_random.random(), self.py_random.random()])
        window = np.maximum(np.round(size / zoom), 1)
        seen = np.minimum(window, frame)
        shown = np.where(window <= frame, size, np.maximum(np.round(frame * zoom), 1))
        first, last = np.zeros(2), frame - seen
        if self.py_random.random() < self.rare:
            pixel = self._rare_pixel(data["mask"])
            if pixel is not None:
                first, last = np.maximum(first, pixel - seen + 1), np.minimum(last, pixel)
        return {
            "size": size,
            "seen": _slices(first + np.round(place * (last - first)), seen),
            "shown": _slices(np.round(place * (size - shown)), shown),
        }

    def _rare_pixel(self, mask: np.ndarray) -> np.ndarray | None:
        """Row and column of a pixel of a category of the mask; None if it shows none of them."""
        pixels = cv2.calcHist([mask], [0], None, [256], [0, 256])
        present = [category for category in self.categories if pixels[category]]
        if not present:
            return None
        where = np.flatnonzero(mask == self.py_random.choice(present))
        return np.array(divmod(self.py_random.choice(where), mask.shape[1]))

    def apply(
        self,
        img: np.ndarray,
        size: np.ndarray,
        seen: tuple[slice, slice],
        shown: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed picture: uint8[height, width, 3]."""
        whole = np.zeros((*size, 3), np.uint8)
        area = whole[shown]
        cv2.resize(img[seen], area.shape[1::-1], dst=area)
        return whole

    def apply_to_mask(
        self,
        mask: np.ndarray,
        size: np.ndarray,
        seen: tuple[slice, slice],
        shown: tuple[slice, slice],
        **_: Any,
    ) -> np.ndarray:
        """The zoomed mask: uint8[height, width]; ids are never mixed."""
        whole = np.full(size, IGNORE, np.uint8)
        whole[shown] = resize_ids(mask[seen], whole[shown].shape)
        return whole


def _slices(start: np.ndarray, length: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(at), int(at + long)) for at, long in zip(start, length, strict=True))


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
            Veil(fog, p=params.fog),
            Veil(rain, p=params.rain),
            Veil(shadow, p=params.shadow),
            Veil(sun_flare, p=params.sun_flare),
            Veil(dirt, p=params.dirt),
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
    angle = 2 * np.pi * random.uniform(-params.hue, params.hue)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    mixed = saturation * np.eye(3) + (1 - saturation) * np.tile(GRAY, (3, 1))
    matrix = contrast * brightness * np.linalg.inv(YIQ) @ turn @ YIQ @ mixed
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return np.hstack([matrix, offset]).astype(np.float32)


def recolor(images: Tensor, colors: Tensor) -> Tensor:
    """Change the colours of uint8[N, H, W, 3] as float32[N, 3, 4] says: float32 on 0..255."""
    pixels = images.flatten(1, 2).float()
    changed = pixels @ colors[:, :, :3].mT + colors[:, None, :, 3]
    return changed.clamp_(0, 255).view(images.shape)


def finish(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move a batch to ``device``; flip and recolour it there.

    Returns:
        Pixels float32[N, H, W, 3] on 0..255 and categories int64[N, H, W].
    """
    images, categories, colors, flips = (part.to(device, non_blocking=True) for part in batch)
    images = images.flip(2).where(flips[:, None, None, None], images)
    categories = categories.flip(2).where(flips[:, None, None], categories)
    return recolor(images, colors), categories.long()
