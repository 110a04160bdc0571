"""A strip below a frame that names the categories' colours and their shares."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streetseg.data.labels import LabelSpace

PAPER, INK, FAINT = (24, 24, 27), (240, 240, 240), (160, 160, 165)
WIDEST_SHARE = "100 %"


class Legend:
    """Colours and names of the categories, with a line of text if there is one."""

    def __init__(self, labels: LabelSpace | None, width: int, text: str = "") -> None:
        """A strip for frames of ``width`` pixels; without ``labels`` it holds the text alone."""
        self.labels, self.width, self.text = labels, width, text
        self.size = max(10, min(20, width // 64))
        self.line = 2 * (self.size * 3 // 4)  # even, as the videos of most codecs must be
        self.font = ImageFont.truetype(_font(), self.size)

    def below(self, rgb: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """The image uint8[H, W, 3] with the strip: uint8[H + height, W, 3]."""
        if not (self.labels or self.text):
            return rgb
        strip = self._empty.copy()
        if self.labels:
            draw = ImageDraw.Draw(strip)
            counts = np.bincount(categories.ravel(), minlength=len(self.labels.names))
            for number, count in enumerate(counts[: len(self.labels.names)]):
                left, middle = self._place(number)
                share = f"{100 * count / categories.size:.0f} %"
                name = self.font.getlength(self.labels.names[number])
                right = left + name + 2 * self.size
                draw.text((right, middle), share, FAINT, self.font, anchor="lm")
        return np.concatenate([rgb, np.asarray(strip)])

    @cached_property
    def _cell(self) -> int:
        """Width in pixels of a category."""
        assert self.labels
        name = max(self.font.getlength(name) for name in self.labels.names)
        return int(name + self.font.getlength(WIDEST_SHARE)) + 3 * self.size

    @cached_property
    def _columns(self) -> int:
        return max(1, (self.width - self.size) // self._cell)

    @cached_property
    def _empty(self) -> Image.Image:
        """The strip without shares."""
        names = self.labels.names if self.labels else []
        rows = -(-len(names) // self._columns) if names else 0
        height = (rows + bool(self.text)) * self.line + 2 * (self.size // 2)
        strip = Image.new("RGB", (self.width, height), PAPER)
        draw = ImageDraw.Draw(strip)
        for number, name in enumerate(names):
            left, middle = self._place(number)
            assert self.labels
            color = self.labels.categories[number].color
            half = self.size * 2 // 5
            draw.rectangle((left, middle - half, left + 2 * half, middle + half), color, FAINT)
            draw.text((left + 1.4 * self.size, middle), name, INK, self.font, anchor="lm")
        if self.text:
            middle = self.size // 2 + rows * self.line + self.line // 2
            draw.text((self.size, middle), self.text, FAINT, self.font, anchor="lm")
        return strip

    def _place(self, number: int) -> tuple[int, int]:
        """Left edge and middle of a category's cell."""
        row, column = divmod(number, self._columns)
        return (
            self.size + column * self._cell,
            self.size // 2 + row * self.line + self.line // 2,
        )


def _font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
