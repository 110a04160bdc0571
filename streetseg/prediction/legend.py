"""A strip below a frame with the categories' colours, names and fractions of the frame."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streetseg.data.labels import LabelSpace

BACKGROUND, NAME_COLOR, FAINT = (24, 24, 27), (240, 240, 240), (160, 160, 165)
WIDEST_PERCENTAGE = "100 %"


class Legend:
    """Colours and names of the categories, and a line of text if there is one."""

    def __init__(self, labels: LabelSpace | None, width: int, text: str = "") -> None:
        """Lay out a strip for frames of ``width`` pixels; without ``labels``, only the text."""
        self.labels, self.width, self.text = labels, width, text
        self.size = max(10, min(20, width // 64))
        self.line = 2 * (self.size * 3 // 4)  # even, as most video codecs require
        self.font = ImageFont.truetype(_font_path(), self.size)

    def below(self, rgb: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """The image uint8[H, W, 3] with the strip below it: uint8[H + strip height, W, 3]."""
        if not (self.labels or self.text):
            return rgb
        return np.concatenate([rgb, self.strip(categories)])

    def strip(self, categories: np.ndarray | None = None) -> np.ndarray:
        """The strip alone, uint8[h, width, 3], with the fractions of category ids uint8[H, W]."""
        strip = self._empty.copy()
        if self.labels and categories is not None:
            draw = ImageDraw.Draw(strip)
            names = self.labels.names
            counts = np.bincount(categories.ravel(), minlength=len(names))
            for number, name in enumerate(names):
                left, middle = self._cell_position(number)
                percentage = f"{100 * counts[number] / categories.size:.0f} %"
                right = left + self.font.getlength(name) + 2 * self.size
                draw.text((right, middle), percentage, FAINT, self.font, anchor="lm")
        return np.array(strip)

    @property
    def min_width(self) -> int:
        """The width in pixels below which names are cut."""
        return self._cell_width + self.size

    @cached_property
    def _cell_width(self) -> int:
        assert self.labels
        name = max(self.font.getlength(name) for name in self.labels.names)
        return int(name + self.font.getlength(WIDEST_PERCENTAGE)) + 3 * self.size

    @cached_property
    def _columns(self) -> int:
        return max(1, (self.width - self.size) // self._cell_width)

    @cached_property
    def _empty(self) -> Image.Image:
        """The strip without percentages."""
        categories = self.labels.categories if self.labels else ()
        rows = -(-len(categories) // self._columns) if categories else 0
        height = (rows + bool(self.text)) * self.line + 2 * (self.size // 2)
        strip = Image.new("RGB", (self.width, height), BACKGROUND)
        draw = ImageDraw.Draw(strip)
        half = self.size * 2 // 5
        for number, category in enumerate(categories):
            left, middle = self._cell_position(number)
            swatch = left, middle - half, left + 2 * half, middle + half
            draw.rectangle(swatch, category.color, FAINT)
            position = left + 1.4 * self.size, middle
            draw.text(position, category.name, NAME_COLOR, self.font, anchor="lm")
        if self.text:
            middle = self.size // 2 + rows * self.line + self.line // 2
            draw.text((self.size, middle), self.text, FAINT, self.font, anchor="lm")
        return strip

    def _cell_position(self, number: int) -> tuple[int, int]:
        """Left edge and vertical middle in pixels."""
        row, column = divmod(number, self._columns)
        return (
            self.size + column * self._cell_width,
            self.size // 2 + row * self.line + self.line // 2,
        )


def _font_path() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
