"""Masks as label files store them: run lengths of several kinds, and PNGs.

Each decodes to bool[height, width], to be placed with its upper left corner at (x, y). No sum of
runs is trusted: one that does not fill its mask exactly is refused.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streetseg.images.decode import decode_mask
from streetseg.images.errors import BadImageError

ALPHA = 128
"""The smallest opacity of a pixel that belongs to a brush region: half, as its edge is smoothed."""

MAX_PARTS = 11
"""Characters of a number in COCO's text, which hold 55 bits."""

MAX_INFLATED = 64 << 20
"""Bytes of a PNG after decompression."""


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Lengths of runs, the first of background: int64[n]."""

    counts: np.ndarray
    x: int
    y: int
    width: int
    height: int
    by_columns: bool = False
    """Whether pixels are counted column by column, as in COCO, or row by row, as in CVAT."""

    @property
    def checked_counts(self) -> np.ndarray:
        """The lengths; BadImageError if they are not those of ``width`` x ``height`` pixels."""
        pixels, covered = self.width * self.height, int(self.counts.sum())
        if covered != pixels or (self.counts < 0).any():
            raise BadImageError(
                f"holds a mask of {self.width}x{self.height} whose runs cover {covered} pixels, "
                f"not {pixels}"
            )
        return self.counts

    def decode(self) -> np.ndarray:
        """bool[height, width]; BadImageError as ``checked_counts``."""
        counts = self.checked_counts
        pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        if self.by_columns:
            return pixels.reshape(self.width, self.height).T
        return pixels.reshape(self.height, self.width)


@dataclass(frozen=True)
class CocoString:
    """COCO's compressed run lengths of a picture."""

    counts: bytes
    width: int
    height: int

    def runs(self) -> RunLengths:
        """The run lengths; BadImageError if the text is damaged."""
        try:
            (counts,) = decode_coco_counts([self.counts])
        except ValueError:
            raise BadImageError("holds a damaged RLE mask") from None
        return RunLengths(counts, 0, 0, self.width, self.height, by_columns=True)


@dataclass(frozen=True)
class BrushRle:
    """The run lengths of Label Studio's brush: RGBA values of a picture, packed in bits."""

    data: bytes
    width: int
    height: int
    x: int = 0
    y: int = 0

    def decode(self) -> np.ndarray:
        """bool[height, width], where alpha is at least ``ALPHA``; BadImageError if damaged."""
        try:
            values = decode_brush(self.data, 4 * self.width * self.height)
        except (ValueError, IndexError):
            raise BadImageError(
                f"holds a brush region that is damaged, or not of {self.width}x{self.height}"
            ) from None
        return values.reshape(self.height, self.width, 4)[..., 3] >= ALPHA


@dataclass(frozen=True)
class PngMask:
    """A PNG in base64, cropped to the mask; ``compressed`` ones are packed by zlib too."""

    data: str
    x: int
    y: int
    size: tuple[int, int] | None = None
    """(height, width) that the label file tells."""
    compressed: bool = False

    def decode(self) -> np.ndarray:
        """bool[height, width], as :func:`decode_mask` reads it; BadImageError if damaged."""
        try:
            data = b64decode(self.data, validate=True)
            if self.compressed:
                inflater = zlib.decompressobj()
                data = inflater.decompress(data, MAX_INFLATED)
                if inflater.unconsumed_tail:
                    raise ValueError
            pixels = decode_mask(data)
        except (binascii.Error, zlib.error, ValueError):
            raise BadImageError("holds a mask whose PNG is damaged") from None
        if self.size and pixels.shape != self.size:
            raise BadImageError(
                f"holds a mask of {pixels.shape[1]}x{pixels.shape[0]} in a box of "
                f"{self.size[1]}x{self.size[0]}"
            )
        return pixels


Mask = RunLengths | CocoString | BrushRle | PngMask


def decode_coco_counts(texts: Sequence[bytes]) -> list[np.ndarray]:
    """The run lengths in texts of COCO, int64[n] each; ValueError if one is damaged.

    Characters from 48 on hold 5 bits each, the lowest first; 32 marks that more follow, and the
    last one's 16 the sign. From the fourth on, a number is the difference to that two before.
    Source: pycocotools 2.0, maskApi.c, rleToString.
    """
    bits = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - 48
    lengths = np.array([len(text) for text in texts])
    ends = lengths.cumsum()
    if not lengths.all() or bits.min() < 0 or bits.max() > 63 or (bits[ends - 1] & 32).any():
        raise ValueError
    last = np.flatnonzero(bits & 32 == 0)
    first = np.append(0, last[:-1] + 1)
    parts = last - first + 1
    if parts.max() > MAX_PARTS:
        raise ValueError
    shift = 5 * (np.arange(bits.size) - np.repeat(first, parts))
    numbers = np.add.reduceat((bits & 31) << shift, first)
    numbers -= np.where(bits[last] & 16, 1 << 5 * parts, 0)
    counts = np.split(numbers, np.searchsorted(last, ends[:-1]))
    for each in counts:
        each[1::2].cumsum(out=each[1::2])
        each[2::2].cumsum(out=each[2::2])
    if numbers.min() < 0:
        raise ValueError
    return counts


def decode_brush(data: bytes, expected: int) -> np.ndarray:
    """The values in run lengths of Label Studio: uint8[expected]; ValueError if damaged.

    A header of 32 bits (the number of values), 5 (bits of a value - 1) and 4 x 4 (bits of a length
    - 1), then runs: a bit that tells whether one value is repeated, 2 that choose the length's
    bits, the length - 1, and the value or values. Source: thi.ng/umbrella, rle-pack.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    end = len(data) * 8

    def read(start: int, length: int) -> int:
        if start + length > end:
            raise ValueError
        first, last = start // 8, (start + length + 7) // 8
        part = int.from_bytes(data[first:last], "big")
        return part >> (last * 8 - start - length) & ((1 << length) - 1)

    if read(0, 32) != expected or read(32, 5) != 7:
        raise ValueError
    lengths = [read(37 + 4 * index, 4) + 1 for index in range(4)]
    values, at, position = np.zeros(expected, np.uint8), 53, 0
    while position < expected:
        kind = read(at, 3)
        size = lengths[kind & 3]
        count = read(at + 3, size) + 1
        at += 3 + size
        if position + count > expected:
            raise ValueError
        if kind & 4:
            values[position : position + count] = read(at, 8)
            at += 8
        else:
            if at + 8 * count > end:
                raise ValueError
            values[position : position + count] = np.packbits(bits[at : at + 8 * count])
            at += 8 * count
        position += count
    return values
