"""Drawings of frames, labels and predictions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from streetseg.core.atomic_files import write_atomic
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.resize import blend, resize_rgb
from streetseg.metrics.confusion import row_normalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from streetseg.data.dataset import PreparedDataset


LEGEND_WIDTH = 130
"""Letters in a line of a sheet's legend."""
ERROR_COLORS = (
    *((255, 0, 255), (255, 255, 0), (0, 255, 255), (255, 120, 0), (0, 255, 0), (255, 0, 0)),
    *((255, 80, 160), (180, 80, 255), (190, 255, 60), (0, 110, 255), (255, 190, 90)),
)
"""Bright colors, to choose the one for errors from."""
HATCH = 6
"""Pixels between the stripes of ignored pixels."""
MAX_WRITTEN = 24
"""Categories up to which a confusion matrix has its numbers written in."""


class SheetRow(NamedTuple):
    """A frame on a sheet of predictions; truth and prediction are category ids uint8[H, W]."""

    caption: str
    rgb: np.ndarray
    """uint8[H, W, 3]."""
    truth: np.ndarray
    predicted: np.ndarray


def colorize(categories: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """RGB uint8[H, W, 3] of category ids uint8[H, W]; ignored pixels are white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(labels.palette)] = labels.palette
    return palette[categories]


def error_color(labels: LabelSpace) -> tuple[int, int, int]:
    """A bright color for errors that is no category's: the one farthest from all of theirs."""
    palette = np.array(labels.palette, int).reshape(-1, 3)
    distances = [np.abs(palette - color).sum(axis=1).min() for color in ERROR_COLORS]
    return ERROR_COLORS[int(np.argmax(distances))]


def mark_errors(
    rgb: np.ndarray, truth: np.ndarray, predicted: np.ndarray, labels: LabelSpace
) -> np.ndarray:
    """The image in grey, with misclassified pixels in :func:`error_color`: uint8[H, W, 3]."""
    gray = np.repeat(rgb.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    wrong = (truth != predicted) & (truth != IGNORE)
    gray[wrong] = blend(gray, np.full_like(gray, error_color(labels)), 0.75)[wrong]
    return gray


def thumbnail(dataset: PreparedDataset, row: int, width: int = 320) -> str:
    """A frame beside its labels, as a ``data:`` URL of a JPEG."""
    return jpeg_address(shrink(_beside_labels(dataset, row), 2 * width))


def write_preview(dataset: PreparedDataset, path: Path, frames: int = 12) -> None:
    """Write a JPEG of frames from the whole dataset, each beside its labels, with a legend."""
    strips = []
    for row in dataset.evenly_spaced_rows(frames):
        strip = shrink(_beside_labels(dataset, row), 960)
        _caption(strip, f"{dataset.index['split'][row]} {dataset.index['frame'][row]}")
        strips.append(strip)
    if len(strips) % 2:
        strips.append(np.full_like(strips[0], 255))
    lines = [np.concatenate(pair, axis=1) for pair in zip(strips[::2], strips[1::2], strict=True)]
    legend = _legend_lines(dataset.labels, lines[0].shape[1])
    sheet = cv2.cvtColor(np.concatenate([*lines, legend]), cv2.COLOR_RGB2BGR)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, cv2.imencode(".jpg", sheet)[1].tobytes())


def _legend_lines(labels: LabelSpace, width: int) -> np.ndarray:
    widest = max(_text_width(name) for name in labels.names) + 48
    columns = min(len(labels.names), max(1, width // widest))
    lines = np.full((36 * -(-len(labels.names) // columns), width, 3), 255, np.uint8)
    for number, category in enumerate(labels.categories):
        row, column = divmod(number, columns)
        left, top = column * (width // columns) + 8, 36 * row
        cv2.rectangle(lines, (left, top + 8), (left + 20, top + 28), category.color, -1)
        write_text(lines, category.name, (left + 28, top + 24), (0, 0, 0))
    return lines


def _beside_labels(dataset: PreparedDataset, row: int) -> np.ndarray:
    """A frame, and to its right the frame with its labels: uint8[height, 2 * width, 3]."""
    rgb = dataset.image(row)
    return np.concatenate([rgb, overlay(rgb, dataset.categories(row), dataset.labels)], axis=1)


def _caption(rgb: np.ndarray, text: str) -> None:
    width, height = _text_width(text), rgb.shape[0]
    cv2.rectangle(rgb, (0, height - 22), (width + 12, height), (0, 0, 0), -1)
    write_text(rgb, text, (6, height - 7), (255, 255, 255))


def _text_width(text: str) -> int:
    """The width in pixels of a text by :func:`write_text`."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    return width


def write_text(
    rgb: np.ndarray, text: str, position: tuple[int, int], color: tuple[int, int, int]
) -> None:
    """Write a line of text on uint8[H, W, 3]; ``position`` is (x, y) of its baseline."""
    cv2.putText(rgb, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)


def shrink(rgb: np.ndarray, width: int) -> np.ndarray:
    """The image scaled down to at most ``width`` pixels, aspect kept: uint8[h, w, 3]."""
    if rgb.shape[1] <= width:
        return rgb
    return resize_rgb(rgb, (max(1, round(rgb.shape[0] * width / rgb.shape[1])), width))


def overlay(rgb: np.ndarray, categories: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """The image with the colours of its categories blended in, ignored pixels hatched.

    uint8[H, W, 3].
    """
    blended = blend(rgb, colorize(categories, labels), 0.6)
    rows, columns = np.nonzero(categories == IGNORE)
    stripe = ((rows + columns) // (HATCH // 2)) % 2
    blended[rows, columns] = np.array([[255, 255, 255], [110, 110, 110]], np.uint8)[stripe]
    return blended


def jpeg_address(rgb: np.ndarray) -> str:
    """A ``data:`` URL with uint8[H, W, 3] as a JPEG, for self-contained pages."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def palette_address(
    ids: np.ndarray, colors: Sequence[tuple[int, int, int]], clear: int | None = None
) -> str:
    """A ``data:`` URL of a PNG with a palette, a tenth of the size of one in RGB.

    ``ids`` are uint8[H, W], numbers in ``colors``; ``clear`` is the one that is transparent.
    """
    image = Image.fromarray(ids)
    image.putpalette([part for color in colors for part in color])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **({} if clear is None else {"transparency": clear}))
    return png_address(buffer.getvalue())


def png_address(png: bytes) -> str:
    """A ``data:`` URL with a PNG."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def draw_predictions(rows: Sequence[SheetRow], labels: LabelSpace, title: str, path: Path) -> None:
    """Write a PNG of frame, truth, prediction and errors; all rows (at least one) have one size."""
    height, width = rows[0].rgb.shape[:2]
    columns = legend_columns(labels.names)
    legend_height = 0.22 * -(-len(labels.names) // columns)
    figure = _figure(12, 0.7 + legend_height + len(rows) * (12 / 4 * height / width + 0.22))
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for axis, heading in zip(axes[0], ("frame", "truth", "prediction", "errors"), strict=True):
        axis.set_title(heading, fontsize=10)
    for row_axes, row in zip(axes, rows, strict=True):
        images = (
            row.rgb,
            overlay(row.rgb, row.truth, labels),
            overlay(row.rgb, row.predicted, labels),
            mark_errors(row.rgb, row.truth, row.predicted, labels),
        )
        for axis, image in zip(row_axes, images, strict=True):
            axis.imshow(image, interpolation="antialiased")
            axis.set_axis_off()
        row_axes[0].text(
            0.01, 0.02, row.caption, fontsize=6, color="white", transform=row_axes[0].transAxes,
            bbox={"facecolor": "black", "alpha": 0.5, "pad": 1.5, "linewidth": 0},
        )  # fmt: skip
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    _legend(figure, labels, columns)
    figure.savefig(path, dpi=130)


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Write a PNG of int64[C, C] (truth, prediction): row-normalised fractions and pixel counts.

    Above ``MAX_WRITTEN`` categories it has the colours alone.
    """
    fractions, size = row_normalized(confusion), len(confusion)
    written = size <= MAX_WRITTEN
    width, height = (1.05, 0.62) if written else (0.24, 0.2)
    margin = 0.09 * max(map(len, names))
    figure = _figure(1.3 + margin + width * size, 0.8 + margin + height * size)
    axis = figure.subplots()
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(size, size) if written else ():
        count, fraction = confusion[row, column], fractions[row, column]
        color = "white" if fraction > 0.55 else "black" if count else "#999999"
        style: dict[str, Any] = {"ha": "center", "color": color}
        axis.text(column, row - 0.02, f"{fraction * 100:.1f} %", va="bottom", fontsize=12, **style)
        axis.text(column, row + 0.1, f"{count:,}", va="top", fontsize=9, **style)
    crowded = not written or max(map(len, names)) > 11
    axis.set_xticks(range(size), names, fontsize=11 if written else 8, rotation=90 * crowded)
    axis.set_yticks(range(size), names, fontsize=11 if written else 8)
    axis.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#dddddd", linewidth=0.6)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("predicted", fontsize=11)
    axis.set_ylabel("true", fontsize=11)
    figure.savefig(path, dpi=110)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed")


def legend_columns(names: Sequence[str]) -> int:
    """Columns of a sheet's legend in which the longest name has room."""
    return min(len(names), max(1, LEGEND_WIDTH // (max(map(len, names)) + 6)))


def _legend(figure: Figure, labels: LabelSpace, columns: int) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*category.color), label=category.name)
        for category in labels.categories
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
    )
