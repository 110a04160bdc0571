"""The learning curves of the run that trained a model, as lines of an SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 120
"""Of the plot area, in SVG units."""


@dataclass(frozen=True)
class Line:
    """A curve in SVG units, and its axes."""

    title: str
    points: str
    """Of a polyline."""
    epochs: tuple[int, int]
    """First and last."""
    low: float
    high: float
    last: tuple[float, float]
    """Where the last point is, in SVG units."""
    final: float


@dataclass(frozen=True)
class Curves:
    """By epoch, counted from 1."""

    loss: Mapping[int, float]
    held_out_miou: Mapping[int, float]

    @property
    def lines(self) -> list[Line]:
        """A line for each curve of at least two epochs."""
        titled = {"training loss": self.loss, "mIoU of held-out frames": self.held_out_miou}
        return [_line(title, values) for title, values in titled.items() if len(values) > 1]


def _line(title: str, values: Mapping[int, float]) -> Line:
    epochs = sorted(values)
    low, high = min(values.values()), max(values.values())
    points = [
        (
            round(WIDTH * (epoch - epochs[0]) / (epochs[-1] - epochs[0]), 1),
            round(HEIGHT * (1 - (values[epoch] - low) / ((high - low) or 1)), 1),
        )
        for epoch in epochs
    ]
    drawn = " ".join(f"{x},{y}" for x, y in points)
    ends = epochs[0], epochs[-1]
    return Line(title, drawn, ends, low, high, points[-1], values[epochs[-1]])
