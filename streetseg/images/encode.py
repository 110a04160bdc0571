"""Pixels to PNG."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from streetseg.images.headers import PNG_PALETTE, PNG_SIGNATURE

UP = 2
"""PNG specification, section 9.2: the filter that stores a pixel's difference to the one above."""


def encode_png(pixels: np.ndarray, compression: int | None = 3) -> bytes:
    """Encode uint8 or uint16 [H, W], or RGB uint8[H, W, 3], as PNG.

    Without ``compression`` OpenCV chooses all, which takes a quarter of the time for ids.
    """
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    settings = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    return cv2.imencode(".png", pixels, settings)[1].tobytes()


def encode_palette_png(ids: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode ids uint8[H, W] as a PNG with up to 256 colours, RGB uint8[n, 3]; other ids are white.

    Rows are filtered by "Up" and deflated as run lengths (PNG specification, sections 9 and 10):
    most pixels of a mask equal the one above. Pillow's files are larger and take twice the time.
    """
    height, width = ids.shape
    if ids.max(initial=0) >= len(palette):
        white = np.full((256 - len(palette), 3), 255, np.uint8)
        palette = np.concatenate([palette, white])
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = UP
    rows[0, 1:] = ids[0]
    np.subtract(ids[1:], ids[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(level=3, memLevel=9, strategy=zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_PALETTE, 0, 0, 0)
    pixels = deflate.compress(rows.data) + deflate.flush()
    chunks = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", pixels), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
