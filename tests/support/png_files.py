"""PNG files put together chunk by chunk, right or wrong."""

from __future__ import annotations

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png(
    width: int = 16,
    height: int = 16,
    depth: int = 8,
    kind: int = 0,
    data: bytes | None = None,
    before: bytes = b"",
    interlace: int = 0,
) -> bytes:
    """A PNG of zeros, right or wrong."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    data = zlib.compress(bytes((width + 1) * height)) if data is None else data
    return PNG + b"".join(
        [chunk(b"IHDR", header), before, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )
