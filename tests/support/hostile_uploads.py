"""Uploads that are broken, forbidden or made to hurt; the same each time.

Each has the statuses that it may be answered with. 200 is among them only where the pixels are
sound and something around them is odd, or where a change may have hit nothing that matters.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from tests.support.png_files import PNG, chunk, png
from tests.support.unusual_images import SCENE, encode

BOUNDARY = "hostile-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

BAD, LARGE, KIND = frozenset({400}), frozenset({413}), frozenset({415})
REFUSED = frozenset({400, 413, 415})
ANY = frozenset({200, 400, 413, 415})

PICTURE = Image.fromarray(SCENE)
GOOD = {
    "png": encode(PICTURE, "PNG"),
    "gray.png": encode(PICTURE.convert("L"), "PNG"),
    "palette.png": encode(PICTURE.quantize(16), "PNG"),
    "jpg": encode(PICTURE, "JPEG"),
    "progressive.jpg": encode(PICTURE, "JPEG", progressive=True),
    "webp": encode(PICTURE, "WEBP"),
    "lossless.webp": encode(PICTURE, "WEBP", lossless=True),
}


@dataclass(frozen=True)
class HostileUpload:
    """The body of a POST, and what may be answered."""

    name: str
    body: bytes
    content_type: str
    allowed: frozenset[int]


def hostile_uploads() -> list[HostileUpload]:
    """All of them: images in a proper form, then forms that are none."""
    pictures = (
        HostileUpload(name, form(data), MULTIPART, allowed) for name, data, allowed in _pictures()
    )
    return [*pictures, *_forms()]


def form(
    data: bytes,
    disposition: bytes = b'form-data; name="image"; filename="a.png"',
    headers: bytes = b"Content-Type: application/octet-stream\r\n",
) -> bytes:
    """A multipart body with one part."""
    line = BOUNDARY.encode()
    head = b"--%b\r\nContent-Disposition: %b\r\n%b\r\n" % (line, disposition, headers)
    return head + data + b"\r\n--%b--\r\n" % line


Case = tuple[str, bytes, frozenset[int]]


def _pictures() -> Iterator[Case]:
    yield from _truncated()
    yield from _flipped()
    yield from _png_bombs()
    yield from _png_headers()
    yield from _png_structure()
    yield from _jpegs()
    yield from _exif()
    yield from _webps()
    yield from _polyglots()
    yield from _other_files()


def _truncated() -> Iterator[Case]:
    for name, data in GOOD.items():
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            yield f"cut-at-{share}.{name}", data[: int(share * len(data))], BAD
        yield f"cut-by-one.{name}", data[:-1], BAD


def _flipped() -> Iterator[Case]:
    for seed, (name, data) in enumerate(GOOD.items()):
        rng = np.random.default_rng(seed)
        for flips in (1, 1, 1, 2, 4, 8, 16, 64):
            damaged = np.frombuffer(data, np.uint8).copy()
            where = rng.integers(0, len(data), flips)
            damaged[where] ^= (1 << rng.integers(0, 8, flips)).astype(np.uint8)
            mark = zlib.crc32(damaged.tobytes())
            yield f"{flips}-bits-flipped-{mark:08x}.{name}", damaged.tobytes(), ANY


def _png_bombs() -> Iterator[Case]:
    zeros = zlib.compressobj(9)
    rows = b"".join(zeros.compress(bytes(1_000_000)) for _ in range(300)) + zeros.flush()
    yield "bomb-30000x30000.png", png(30_000, 30_000, data=rows), LARGE
    for side in (2000, 65_535, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"header-{side}x{side}.png", png(side, side, data=b""), REFUSED
    yield "header-1x2147483647.png", png(1, 2**31 - 1, data=b""), REFUSED
    yield "pixels-beyond-the-size.png", png(data=rows), ANY
    text = zlib.compress(bytes(7_900_000), 9)
    for kind in (b"zTXt", b"iCCP"):
        many = b"".join(chunk(kind, b"%d\0\0" % at + text) for at in range(100))
        yield f"100-{kind.decode()}-bombs.png", png(before=many), ANY
    international = b"k\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 9)
    yield "iTXt-bomb.png", png(before=chunk(b"iTXt", international)), ANY
    huge_profile = chunk(b"iCCP", b"p\0\0" + rows)
    yield "iCCP-of-300-megabytes.png", png(before=huge_profile), ANY
    yield "text-of-800-kilobytes.png", png(before=chunk(b"tEXt", b"k\0" + b"a" * 800_000)), ANY
    yield "60000-chunks.png", png(before=chunk(b"tEXt", b"") * 60_000), ANY
    empty = chunk(b"IDAT", b"") * 60_000
    yield "60000-empty-idat.png", png(before=empty), ANY
    frames = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield "apng-of-2147483647-frames.png", png(before=frames), ANY
    control = struct.pack(">IIIIIHHBB", 0, 2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1, 0, 0, 9, 9)
    yield "apng-frame-outside.png", png(before=frames + chunk(b"fcTL", control)), ANY
    half = b"".join(zlib.compress(bytes(17 * 8)) for _ in range(1))
    yield "half-the-rows.png", png(data=half), BAD


def _png_headers() -> Iterator[Case]:
    sound = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for kind in (0, 1, 2, 3, 4, 5, 6, 7, 255):
        for depth in (0, 1, 3, 8, 16, 32):
            if depth not in sound.get(kind, ()):
                yield f"kind-{kind}-depth-{depth}.png", png(depth=depth, kind=kind), BAD
    for width, height in ((0, 16), (16, 0), (0, 0)):
        yield f"{width}x{height}.png", png(width, height), BAD
    header = struct.pack(">IIBB", 16, 16, 8, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(17 * 16))) + chunk(b"IEND", b"")
    for method in (b"\1\0\0", b"\0\1\0", b"\0\0\2", b"\xff\xff\xff"):
        head = PNG + chunk(b"IHDR", header + method)
        yield f"methods-{method.hex()}.png", head + rows, BAD
    yield "interlaced-short.png", png(interlace=1, data=zlib.compress(bytes(20))), BAD


def _png_structure() -> Iterator[Case]:
    good = GOOD["png"]
    yield "signature-alone.png", PNG, BAD
    yield "no-header.png", PNG + chunk(b"IDAT", b"") + chunk(b"IEND", b""), BAD
    yield "no-pixels.png", good[:33] + chunk(b"IEND", b""), BAD
    yield "no-end.png", good[:-12], BAD
    yield "palette-missing.png", png(kind=3), BAD
    yield "palette-of-257.png", png(kind=3, before=chunk(b"PLTE", bytes(771))), BAD
    yield "palette-of-no-triples.png", png(kind=3, before=chunk(b"PLTE", bytes(100))), BAD
    yield "index-beyond-the-palette.png", _index_beyond(), ANY
    yield "two-headers.png", good[:33] + chunk(b"IHDR", good[16:29]) + good[33:], ANY
    larger = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    yield "second-header-larger.png", good[:33] + chunk(b"IHDR", larger) + good[33:], ANY
    yield "unknown-critical-chunk.png", png(before=chunk(b"EVIL", b"x")), ANY
    yield "chunk-of-no-letters.png", png(before=chunk(b"\0\1\2\3", b"x")), ANY
    length = struct.pack(">I", 2**31 - 1)
    yield "chunk-longer-than-file.png", good[:33] + length + good[37:], BAD
    yield "chunk-of-negative-length.png", good[:33] + b"\xff\xff\xff\xff" + good[37:], BAD
    yield "crc-of-header.png", good[:29] + b"\0\0\0\0" + good[33:], BAD
    at = good.index(b"IDAT")
    size = struct.unpack(">I", good[at - 4 : at])[0]
    yield "crc-of-pixels.png", good[: at + 4 + size] + b"\0\0\0\0" + good[at + 8 + size :], BAD
    yield "pixels-are-no-zlib.png", png(data=b"nothing"), BAD
    checksum = zlib.compress(bytes(17 * 16))[:-4] + b"\0\0\0\0"
    yield "adler-wrong.png", png(data=checksum), ANY
    filters = zlib.compress((b"\x09" + bytes(16)) * 16)
    yield "filter-unknown.png", png(data=filters), BAD
    yield "line-ends-changed.png", good.replace(b"\r\n", b"\n"), BAD
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(b"no profile"))
    yield "profile-is-none.png", png(before=profile), ANY
    yield "profile-not-compressed.png", png(before=chunk(b"iCCP", b"p\0\0plain")), ANY
    yield "tRNS-too-long.png", png(before=chunk(b"tRNS", bytes(1000))), ANY
    yield "gamma-zero.png", png(before=chunk(b"gAMA", bytes(4))), ANY


def _index_beyond() -> bytes:
    rows = zlib.compress(b"".join(b"\0" + bytes(range(240, 256)) for _ in range(16)))
    return png(kind=3, before=chunk(b"PLTE", bytes(6)), data=rows)


def _jpegs() -> Iterator[Case]:
    good = GOOD["jpg"]
    frame = good.index(b"\xff\xc0")
    scan = good.index(b"\xff\xda")

    def framed(at: int, value: bytes) -> bytes:
        return good[: frame + at] + value + good[frame + at + len(value) :]

    yield "start-alone.jpg", b"\xff\xd8\xff", BAD
    yield "start-and-end.jpg", b"\xff\xd8\xff\xd9", BAD
    yield "no-frame.jpg", good[:frame] + good[frame + 19 :], BAD
    yield "no-scan.jpg", good[:scan] + b"\xff\xd9", BAD
    yield "no-tables.jpg", good[:2] + good[frame:], ANY
    yield "no-pixels.jpg", good[: scan + 14] + b"\xff\xd9", ANY
    yield "end-too-early.jpg", good[: len(good) // 2] + b"\xff\xd9", ANY
    yield "precision-12.jpg", framed(4, b"\x0c"), ANY
    yield "precision-0.jpg", framed(4, b"\0"), BAD
    yield "precision-16.jpg", framed(4, b"\x10"), ANY
    yield "height-0.jpg", framed(5, b"\0\0"), BAD
    yield "width-0.jpg", framed(7, b"\0\0"), BAD
    yield "65535x65535.jpg", framed(5, b"\xff\xff\xff\xff"), LARGE
    for count in (0, 2, 4, 255):
        yield f"components-{count}.jpg", framed(9, bytes([count])), ANY if count == 2 else BAD
    yield "sampling-0.jpg", framed(11, b"\0"), BAD
    yield "sampling-15.jpg", framed(11, b"\xff"), BAD
    yield "table-of-no-number.jpg", framed(12, b"\x09"), BAD
    names = {0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless", 0xC5: "differential"}
    names |= {0xC9: "arithmetic", 0xCA: "arithmetic-progressive", 0xCB: "arithmetic-lossless"}
    for marker, name in names.items():
        yield f"called-{name}.jpg", framed(1, bytes([marker])), ANY
    yield "second-frame-larger.jpg", _second_frame(good, frame), ANY
    yield "segment-of-length-0.jpg", good[:2] + b"\xff\xe1\0\0" + good[2:], ANY
    yield "segment-of-length-1.jpg", good[:2] + b"\xff\xe1\0\1" + good[2:], ANY
    yield "segment-beyond-the-end.jpg", good[:20] + b"\xff\xe1\xff\xff\xff\xd9", BAD
    yield "60000-comments.jpg", good[:2] + b"\xff\xfe\0\2" * 60_000 + good[2:], ANY
    yield "fill-bytes.jpg", good[:2] + b"\xff" * 500_000 + good[2:], ANY
    yield "zeros-between.jpg", good[:2] + bytes(500_000) + good[2:], ANY
    yield "bare-markers.jpg", good[:2] + b"\xff\xd0" * 60_000 + good[2:], ANY
    yield "markers-alone.jpg", b"\xff\xd8\xff" + b"\xd0\xff" * 60_000, BAD
    spectrum = b"\xff\xda\0\x08\1\1\0\0\x3f\x00\0"
    scans = GOOD["progressive.jpg"][:-2] + spectrum * 5000 + b"\xff\xd9"
    yield "5000-scans.jpg", scans, BAD
    yield "restart-interval.jpg", good[:frame] + b"\xff\xdd\0\4\0\1" + good[frame:], ANY
    inks = encode(PICTURE.convert("CMYK"), "JPEG")
    adobe = inks.index(b"Adobe")
    yield "cmyk-transform-9.jpg", inks[: adobe + 11] + b"\x09" + inks[adobe + 12 :], ANY
    yield "cmyk-adobe-misspelt.jpg", inks.replace(b"Adobe", b"Adoby"), ANY
    yield "cmyk-adobe-short.jpg", inks[: adobe - 2] + b"\0\4" + inks[adobe:], ANY
    profile = b"\xff\xe2\0\x12ICC_PROFILE\0\xff\xff\xff\xff"
    yield "profile-parts-missing.jpg", good[:2] + profile + good[2:], ANY


def _second_frame(good: bytes, frame: int) -> bytes:
    larger = good[frame : frame + 5] + b"\xff\xff\xff\xff" + good[frame + 9 : frame + 19]
    return good[: frame + 19] + larger + good[frame + 19 :]


def _exif() -> Iterator[Case]:
    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    def directory(*entries: bytes, after: int = 0) -> bytes:
        return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", after)

    begin = b"II*\0" + struct.pack("<I", 8)
    turned = entry(0x0112, 3, 1, 6)
    notes = {
        "directory-after-itself": begin + directory(turned, after=8),
        "sub-directory-is-itself": begin + directory(entry(0x8769, 4, 1, 8)),
        "directory-beyond-the-end": b"II*\0" + struct.pack("<I", 2**32 - 1),
        "65535-entries": begin + b"\xff\xff",
        "orientation-of-gigabytes": begin + directory(entry(0x0112, 2, 2**31, 0)),
        "orientation-is-text": begin + directory(entry(0x0112, 2, 4, 0x36)),
        "orientation-0": begin + directory(entry(0x0112, 3, 1, 0)),
        "orientation-77": begin + directory(entry(0x0112, 3, 1, 77)),
        "value-beyond-the-end": begin + directory(entry(0x010F, 2, 2**32 - 1, 2**32 - 1)),
        "kind-unknown": begin + directory(entry(0x0112, 99, 1, 6)),
        "cut": begin + directory(turned)[:7],
        "order-unknown": b"XX*\0" + struct.pack("<I", 8),
        "nothing": b"",
        "large": begin + directory(turned) + bytes(65_000),
    }
    for name, note in notes.items():
        body = b"Exif\0\0" + note
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        yield f"exif-{name}.jpg", GOOD["jpg"][:2] + segment + GOOD["jpg"][2:], ANY
        yield f"exif-{name}.png", png(before=chunk(b"eXIf", note)), ANY


def _webps() -> Iterator[Case]:
    def riff(*chunks: bytes, length: int | None = None) -> bytes:
        body = b"WEBP" + b"".join(chunks)
        return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body

    def part(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    def canvas(width: int, height: int, flags: int = 0) -> bytes:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return part(b"VP8X", bytes([flags, 0, 0, 0]) + sides)

    pixels = GOOD["webp"][12:]
    lossless = GOOD["lossless.webp"][12:]
    yield "head-alone.webp", riff(), BAD
    yield "length-0.webp", riff(pixels, length=0), BAD
    yield "length-too-long.webp", riff(pixels, length=2**32 - 1), BAD
    yield "canvas-alone.webp", riff(canvas(160, 96)), BAD
    yield "canvas-short.webp", riff(part(b"VP8X", b"\0")), BAD
    yield "canvas-16777216.webp", riff(canvas(2**24, 2**24), pixels), LARGE
    yield "canvas-larger.webp", riff(canvas(500, 500), pixels), ANY
    yield "canvas-smaller.webp", riff(canvas(1, 1), pixels), ANY
    yield "canvas-flags.webp", riff(canvas(160, 96, 0xFF), pixels), ANY
    yield "no-pixels.webp", riff(part(b"VP8 ", b"")), BAD
    yield "lossless-as-lossy.webp", riff(b"VP8 " + lossless[4:]), REFUSED
    yield "lossy-as-lossless.webp", riff(b"VP8L" + pixels[4:]), REFUSED
    yield "kind-unknown.webp", riff(part(b"EVIL", b"x" * 40)), REFUSED
    yield "pixels-too-long.webp", riff(pixels[:4] + b"\xff\xff\xff\x7f" + pixels[8:]), BAD
    yield "two-pictures.webp", riff(pixels, pixels), ANY
    place = bytes(6) + (159).to_bytes(3, "little") + (95).to_bytes(3, "little") + bytes(4)
    frame = part(b"ANMF", place + pixels)
    moving = canvas(160, 96, 2), part(b"ANIM", bytes(6))
    yield "500-frames.webp", riff(*moving, *[frame] * 200), ANY
    yield "no-frames.webp", riff(*moving), BAD
    outside = part(b"ANMF", b"\xff" * 6 + place[6:] + pixels)
    yield "frame-outside.webp", riff(*moving, outside), BAD
    yield "frame-broken.webp", riff(*moving, part(b"ANMF", place + b"junk" * 9)), BAD
    yield "60000-chunks.webp", riff(canvas(160, 96), part(b"JUNK", b"") * 60_000, pixels), ANY
    yield "profile-broken.webp", riff(canvas(160, 96, 32), part(b"ICCP", b"no"), pixels), ANY
    exif = part(b"EXIF", b"II*\0\xff\xff\xff\xff")
    yield "exif-broken.webp", riff(canvas(160, 96, 8), pixels, exif), ANY


def _polyglots() -> Iterator[Case]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil.txt", "x")
    for name in ("png", "jpg", "webp"):
        yield f"zip-behind.{name}", GOOD[name] + archive.getvalue(), ANY
        yield f"junk-before.{name}", b"junk" + GOOD[name], REFUSED
    html = b"c\0<script>alert(1)</script>"
    yield "html-inside.png", GOOD["png"][:33] + chunk(b"tEXt", html) + GOOD["png"][33:], ANY
    yield "gif-then-jpeg", b"GIF89a/*" + GOOD["jpg"], KIND
    yield "pdf-then-png", b"%PDF-1.4\n" + GOOD["png"], KIND
    yield "png-magic-then-jpeg", PNG + GOOD["jpg"], BAD
    yield "jpeg-magic-then-png", b"\xff\xd8\xff" + GOOD["png"], BAD
    yield "riff-wave.webp", b"RIFF" + struct.pack("<I", 40) + b"WAVE" + bytes(40), BAD


def _other_files() -> Iterator[Case]:
    for kind in ("GIF", "TIFF", "BMP", "ICO", "JPEG2000", "AVIF", "PDF"):
        yield f"picture.{kind.lower()}", encode(PICTURE, kind), KIND
    for kind in ("PPM", "TGA", "PCX", "DDS", "SGI"):
        yield f"picture.{kind.lower()}", encode(PICTURE, kind), REFUSED
    yield "big-endian.tiff", b"MM\0*" + bytes(100), KIND
    yield "empty", b"", BAD
    for byte in (b"\0", b"\x89", b"\xff", b"R"):
        yield f"one-byte-{byte.hex()}", byte, BAD
    yield "picture.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', KIND
    yield "bomb.svg", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><svg>&b;</svg>', REFUSED
    yield "page.html", b"<!DOCTYPE html><html></html>", BAD
    yield "picture.heic", b"\0\0\0\x18ftypheic" + bytes(100), KIND
    yield "video.mp4", b"\0\0\0\x18ftypisom" + bytes(100), BAD
    yield "video.mkv", b"\x1aE\xdf\xa3" + bytes(100), BAD
    yield "video.avi", b"RIFF\x64\0\0\0AVI LIST" + bytes(100), BAD
    yield "picture.psd", b"8BPS\0\1" + bytes(100), KIND
    yield "scan.dcm", bytes(128) + b"DICM" + bytes(100), BAD
    yield "object.pickle", pickle.dumps({"a": 1}), BAD
    yield "hostile.pickle", b"cos\nsystem\n(S'exit 1'\ntR.", BAD
    array = io.BytesIO()
    np.save(array, SCENE)
    yield "array.npy", array.getvalue(), BAD
    yield "picture.exr", b"v/1\1" + bytes(100), BAD
    yield "picture.hdr", b"#?RADIANCE\n\n-Y 9 +X 9\n" + bytes(100), BAD
    yield "picture.pgm", b"P5 99999 99999 255\n", BAD
    yield "text", b"This is no image.\n", BAD
    yield "archive.zip", b"PK\x03\x04" + bytes(100), BAD
    yield "archive.gz", b"\x1f\x8b\x08" + bytes(100), BAD
    yield "program", b"\x7fELF" + bytes(100), BAD
    yield "script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", BAD
    noise = np.random.default_rng(9).bytes(50_000)
    yield "noise", noise, REFUSED
    yield "sunset.raster", cv2.imencode(".ras", SCENE)[1].tobytes(), BAD
    yield "three-megabytes", bytes(3_000_000), LARGE


def _forms() -> Iterator[HostileUpload]:
    good, line = GOOD["png"], BOUNDARY.encode()

    def case(
        name: str, body: bytes, allowed: frozenset[int], content_type: str = MULTIPART
    ) -> HostileUpload:
        return HostileUpload(f"form: {name}", body, content_type, allowed)

    whole = form(good)
    for content_type in (
        "",
        "image/png",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/mixed; boundary=hostile-boundary",
        "application/octet-stream",
        "\xff\xfe",
    ):
        yield case(f"called {content_type!r}", whole, KIND, content_type)
    yield case("raw image", good, BAD)
    yield case("no boundary", whole, BAD, "multipart/form-data")
    yield case("empty boundary", whole, BAD, "multipart/form-data; boundary=")
    yield case("other boundary", whole, BAD, "multipart/form-data; boundary=other")
    yield case("boundary of 5000", whole, BAD, f"multipart/form-data; boundary={'b' * 5000}")
    yield case("charset unknown", whole, ANY, f"{MULTIPART}; charset=klingon")
    yield case("two boundaries", whole, ANY, f"{MULTIPART}; boundary=other")
    yield case("spelled oddly", whole, ANY, MULTIPART.replace("form-data", "FORM-data"))
    yield case("empty", b"", BAD)
    yield case("line ends alone", b"\r\n" * 1000, BAD)
    yield case("end alone", b"--%b--\r\n" % line, BAD)
    yield case("no end", whole[: -len(line) - 8], BAD)
    yield case("cut in the image", whole[:200], BAD)
    yield case("cut in the headers", whole[:50], BAD)
    yield case("text before", b"preamble\r\n" + whole, ANY)
    yield case("text behind", whole + b"epilogue", ANY)
    yield case("bare line feeds", whole.replace(b"\r\n", b"\n"), BAD)
    yield case("other field", form(good, b'form-data; name="photo"; filename="a.png"'), BAD)
    yield case("field in capitals", form(good, b'form-data; name="IMAGE"; filename="a.png"'), BAD)
    yield case("field without name", form(good, b'form-data; filename="a.png"'), BAD)
    yield case("field of empty name", form(good, b'form-data; name=""; filename="a.png"'), BAD)
    yield case("text, no file", form(b"hello", b'form-data; name="image"'), BAD)
    yield case("picture as text", form(good, b'form-data; name="image"'), BAD)
    yield case("attachment", form(good, b'attachment; name="image"; filename="a.png"'), ANY)
    yield case("no disposition", b"--%b\r\n\r\nx\r\n--%b--\r\n" % (line, line), BAD)
    yield case("two dispositions", form(good, headers=b"Content-Disposition: x\r\n"), ANY)
    part = whole[: -len(line) - 6]
    yield case("two images", part + whole, ANY)
    text = form(b"text", b'form-data; name="image"')[: -len(line) - 6]
    yield case("text, then image", text + whole, ANY)
    yield case("picture, then text", part + form(b"text", b'form-data; name="image"'), ANY)
    bad = form(b"junk")[: -len(line) - 6]
    yield case("junk, then image", bad + whole, ANY)
    more = form(b"x", b'form-data; name="other"')[: -len(line) - 6]
    yield case("3000 more fields", more * 3000 + whole, ANY)
    yield case("header of 100000", form(good, headers=b"X-Long: %b\r\n" % (b"a" * 100_000)), ANY)
    yield case("10000 headers", form(good, headers=b"X-Many: 1\r\n" * 10_000), ANY)
    yield case("header without colon", form(good, headers=b"nonsense\r\n"), BAD)
    yield case("header with NUL", form(good, headers=b"X-\0: 1\r\n"), BAD)
    yield case("header not ASCII", form(good, headers="X-Ü: ü\r\n".encode()), ANY)
    encoded = b"Content-Transfer-Encoding: base64\r\n"
    yield case("says base64", form(good, headers=encoded), ANY)
    yield case("nested", form(whole, headers=f"Content-Type: {MULTIPART}\r\n".encode()), BAD)
    inner = whole.replace(line, b"inner")
    yield case("nested with its own boundary", form(inner), BAD)
    names = {
        "up": b"../../../../etc/passwd",
        "absolute": b"/etc/passwd",
        "backslashes": rb"..\\..\\windows",
        "NUL": b"a\0.png",
        "long": b"a" * 5000 + b".png",
        "right to left": "gnp.\u202eevil".encode(),
        "not UTF-8": b"\xff\xfe.png",
        "empty": b"",
        "dot": b".",
        "newline": b"a\nb.png",
        "CRLF": b"a.png\r\nX-Evil: 1",
        "quotes": b'a"b.png',
        "shell": b"$(reboot).png",
        "device": b"/dev/zero",
    }
    for name, file_name in names.items():
        disposition = b'form-data; name="image"; filename="%b"' % file_name
        yield case(f"file name {name}", form(good, disposition), ANY)
    extended = b"form-data; name=\"image\"; filename*=utf-8''%2e%2e%2fetc%2fpasswd"
    yield case("file name extended", form(good, extended), ANY)
    for kind in (b"text/html", b"application/x-python-pickle", b"\xff", b"image/gif"):
        headers = b"Content-Type: %b\r\n" % kind
        yield case(f"part called {kind!r}", form(good, headers=headers), ANY)
