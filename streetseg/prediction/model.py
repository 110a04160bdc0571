"""A model as :func:`streetseg.load` opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.images.inputs import as_rgb
from streetseg.images.resize import blend
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.local_copies import read_version_info
from streetseg.registry.versions import download_version, find_uri
from streetseg.tracking.store import connect, is_reference

if TYPE_CHECKING:
    from streetseg.config.params import Registry
    from streetseg.images.inputs import ImageLike

SCORES = ("miou", "miou_official")


class Model(Segmenter):
    """A model that takes images as a caller has them.

    An image is RGB uint8[H, W, 3] (not OpenCV's BGR), a PIL image, the path of a PNG, JPEG or WebP,
    or the bytes of such a file. A StreetsegError says what is taken if an image is anything else,
    or cannot be read.

    Attributes:
        name: of the registered model; of a path, that of its folder.
        version: its number, such as "3"; empty if it was never registered.
        aliases: of the version when it was opened, such as "champion"; empty for a path.
        scores: ``miou`` and ``miou_official``, 0 to 1, with which the version was registered; those
            that are not known are missing.
        labels: the label space. ``labels.names[i]`` and ``labels.palette[i]`` are name and RGB
            colour of category ``i``.
        size: (height, width) of the network's input.
        fit: how a frame of another aspect ratio meets that size: stretch, pad or crop.
        precision: of the graph in use, "float32" or "int8".
        info: the ``config.json`` of the artifact.
    """

    def __init__(
        self,
        artifact: Path,
        name: str,
        version: str = "",
        aliases: Sequence[str] = (),
        scores: Mapping[str, float | str] = MappingProxyType({}),
    ) -> None:
        """Open an artifact; raises StreetsegError as :class:`Segmenter` does."""
        super().__init__(artifact)
        self.name, self.version, self.aliases = name, version, tuple(aliases)
        self.scores: dict[str, float] = {}
        for key in SCORES:
            with suppress(KeyError, ValueError):  # somebody edited the tag
                self.scores[key] = float(scores[key])

    @property
    def title(self) -> str:
        """Name, version and aliases, such as "street-segmenter, version 3 (champion)"."""
        if not self.version:
            return f"{self.name}, not registered"
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.name}, version {self.version}{aliases}"

    @overload
    def predict(self, images: ImageLike) -> np.ndarray: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Sequence[ImageLike]) -> list[np.ndarray]: ...

    def predict(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray | list[np.ndarray]:
        """Category ids uint8[H, W] of an image at its own size, or those of each in a list.

        With the fit ``crop``, pixels outside the part that the network sees are 255. Images of a
        list may differ in size.
        """
        return _each(super().predict, images)

    @overload
    def probabilities(self, images: ImageLike) -> np.ndarray: ...  # type: ignore[overload-overlap]

    @overload
    def probabilities(self, images: Sequence[ImageLike]) -> list[np.ndarray]: ...

    def probabilities(
        self, images: ImageLike | Sequence[ImageLike]
    ) -> np.ndarray | list[np.ndarray]:
        """Probabilities float32[C, H, W] of an image at its own size, or those of each in a list.

        They are 0 to 1, with a sum of 1 at each pixel; the largest is that of the category which
        :meth:`predict` gives, but for ties of rounding. With the fit ``crop`` they are 0 outside
        the part that the network sees. They take 4 * C * H * W bytes.
        """
        return _each(super().probabilities, images)

    def overlay(
        self, image: ImageLike, mask: np.ndarray | None = None, *, opacity: float = 0.5
    ) -> np.ndarray:
        """The image with the colours of its categories blended in: RGB uint8[H, W, 3].

        Args:
            image: a single one.
            mask: category ids uint8[H, W], if :meth:`predict` has been called already.
            opacity: of the colours, 0 to 1.

        Raises:
            StreetsegError: the image cannot be used, the mask is not of its size, or the opacity is
                out of range.
        """
        from streetseg.reports.drawing import colorize

        if not 0 <= opacity <= 1:
            raise StreetsegError(f"opacity={opacity}: give 0 to 1")
        rgb = as_rgb(image)
        mask = super().predict(rgb) if mask is None else _checked_mask(mask, rgb.shape[:2])
        return blend(rgb, colorize(mask, self.labels), opacity)

    def legend(self, width: int = 640, mask: np.ndarray | None = None) -> np.ndarray:
        """A strip with colour and name of each category: RGB uint8[h, width, 3].

        Below an overlay of that width it says what the colours mean.

        Args:
            width: in pixels.
            mask: category ids uint8[H, W]; the strip then says what percentage of them each
                category has.

        Raises:
            StreetsegError: the strip is too narrow for the names, or the mask is no such array.
        """
        from streetseg.prediction.legend import Legend

        legend = Legend(self.labels, width)
        if width < legend.min_width:
            raise StreetsegError(
                f"width={width}: the names of the categories need {legend.min_width} pixels"
            )
        return legend.strip(None if mask is None else _checked_mask(mask))

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"<Model {self.title}: {len(self.labels.names)} categories, input {height}x{width}, "
            f"{self.precision} on {self.device}>"
        )

    def _repr_html_(self) -> str:
        """What the model is, for a notebook; inherits its colours, and holds no script."""
        from streetseg.reports.html import render_page

        return render_page("model.html.j2", model=self)


def open_model(model: str | Path, registry: Registry | None = None) -> Model:
    """Open a model; see :func:`streetseg.load`."""
    if not is_reference(str(model)):
        artifact = Path(model)
        info = read_version_info(artifact)
        version = "" if info.version == "unregistered" else info.version
        return Model(artifact, info.name, version, scores=info.metrics)
    from streetseg.config.params import Registry

    client = connect(registry or Registry())
    found = find_uri(client, str(model))
    artifact = download_version(client, found)
    return Model(artifact, found.name, found.version, found.aliases, found.tags)


def _each(
    act: Callable[[np.ndarray], np.ndarray], images: ImageLike | Sequence[ImageLike]
) -> np.ndarray | list[np.ndarray]:
    """``act`` on the pixels of an image, or of each in a list or tuple."""
    if not isinstance(images, list | tuple):
        return act(as_rgb(images))  # type: ignore[arg-type]
    results = []
    for number, image in enumerate(images):
        try:
            results.append(act(as_rgb(image)))
        except StreetsegError as error:
            raise StreetsegError(f"images[{number}]: {error}") from None
    return results


def _checked_mask(mask: np.ndarray, size: tuple[int, ...] | None = None) -> np.ndarray:
    """The mask; StreetsegError unless it is uint8[H, W], of ``size`` if there is one."""
    mask = np.asarray(mask)
    if mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size or size not in (None, mask.shape):
        wanted = f"[{size[0]}, {size[1]}]" if size else "[H, W]"
        found = f"{mask.dtype}[{', '.join(map(str, mask.shape))}]"
        raise StreetsegError(f"a mask {found} cannot be used: give category ids uint8{wanted}")
    return mask
