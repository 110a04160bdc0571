"""Uploads that are damaged, of another format, or in a wrong form; the same each time.

All are small and harmless: none is made to crash, delay or deceive a decoder, a parser or a
browser. Limits are tested elsewhere, each set low, with files just above it.

Each upload has the statuses that it may be answered with. 200 is among them only where the pixels
are sound and something around them is odd, or where a change may have hit nothing that matters.
"""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from tests.support.png_files import PNG, chunk, png
from tests.support.unusual_images import SCENE, encode

BOUNDARY = "the-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

BAD, KIND = frozenset({400}), frozenset({415})
REFUSED = frozenset({400, 415})
ANY = frozenset({200, 400, 415})

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
class BadUpload:
    """The body of a POST, and what may be answered."""

    name: str
    body: bytes
    content_type: str
    allowed: frozenset[int]


def bad_uploads() -> list[BadUpload]:
    """All of them: images in a proper form, then forms that are none."""
    pictures = (
        BadUpload(name, form(data), MULTIPART, allowed) for name, data, allowed in _pictures()
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
    yield from _png_headers()
    yield from _png_structure()
    yield from _jpegs()
    yield from _exif()
    yield from _webps()
    yield from _mixed_up()
    yield from _other_files()


def _truncated() -> Iterator[Case]:
    for name, data in GOOD.items():
        for share in (0.02, 0.1, 0.5, 0.9, 0.99):
            yield f"cut-at-{share}.{name}", data[: int(share * len(data))], BAD
        yield f"cut-by-one.{name}", data[:-1], BAD


def _flipped() -> Iterator[Case]:
    """Damage by chance, as of a bad disk or line."""
    for seed, (name, data) in enumerate(GOOD.items()):
        rng = np.random.default_rng(seed)
        for flips in (1, 1, 4, 16):
            damaged = np.frombuffer(data, np.uint8).copy()
            where = rng.integers(len(data) // 4, len(data), flips)  # behind sizes and tables
            damaged[where] ^= (1 << rng.integers(0, 8, flips)).astype(np.uint8)
            mark = zlib.crc32(damaged.tobytes())
            yield f"{flips}-bits-flipped-{mark:08x}.{name}", damaged.tobytes(), ANY


def _png_headers() -> Iterator[Case]:
    sound = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for kind in (0, 1, 2, 3, 4, 5, 6, 7):
        for depth in (0, 3, 8, 16):
            if depth not in sound.get(kind, ()):
                yield f"kind-{kind}-depth-{depth}.png", png(depth=depth, kind=kind), BAD
    for width, height in ((0, 16), (16, 0), (0, 0)):
        yield f"{width}x{height}.png", png(width, height), BAD
    header = struct.pack(">IIBB", 16, 16, 8, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(17 * 16))) + chunk(b"IEND", b"")
    for method in (b"\1\0\0", b"\0\1\0", b"\0\0\2"):
        head = PNG + chunk(b"IHDR", header + method)
        yield f"methods-{method.hex()}.png", head + rows, BAD
    yield "interlaced-short.png", png(interlace=1, data=zlib.compress(bytes(20))), BAD
    yield "half-the-rows.png", png(data=zlib.compress(bytes(17 * 8))), BAD


def _png_structure() -> Iterator[Case]:
    good = GOOD["png"]
    yield "signature-alone.png", PNG, BAD
    yield "no-header.png", PNG + chunk(b"IDAT", b"") + chunk(b"IEND", b""), BAD
    yield "no-pixels.png", good[:33] + chunk(b"IEND", b""), BAD
    yield "no-end.png", good[:-12], BAD
    yield "palette-missing.png", png(kind=3), BAD
    yield "palette-of-no-triples.png", png(kind=3, before=chunk(b"PLTE", bytes(10))), BAD
    rows = zlib.compress((b"\0" + bytes(range(16))) * 16)
    few_colors = png(kind=3, before=chunk(b"PLTE", bytes(6)), data=rows)
    yield "index-beyond-the-palette.png", few_colors, ANY
    yield "two-headers.png", good[:33] + chunk(b"IHDR", good[16:29]) + good[33:], ANY
    yield "chunk-of-no-letters.png", png(before=chunk(b"\0\1\2\3", b"x")), ANY
    yield "chunk-longer-than-file.png", good[:33] + struct.pack(">I", len(good)) + good[37:], BAD
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
    text = chunk(b"tEXt", b"c\0<b>x</b>")
    yield "markup-inside.png", good[:33] + text + good[33:], frozenset({200})


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
    yield "height-0.jpg", framed(5, b"\0\0"), BAD
    yield "width-0.jpg", framed(7, b"\0\0"), BAD
    yield "components-2.jpg", framed(9, b"\2"), ANY
    names = {0xC3: "lossless", 0xC9: "arithmetic"}
    for marker, name in names.items():
        yield f"called-{name}.jpg", framed(1, bytes([marker])), ANY
    beyond = b"\xff\xe1" + struct.pack(">H", len(good)) + b"\xff\xd9"
    yield "segment-beyond-the-end.jpg", good[:20] + beyond, BAD
    yield "comments.jpg", good[:2] + b"\xff\xfe\0\3x" * 9 + good[2:], frozenset({200})
    yield "fill-bytes.jpg", good[:2] + b"\xff" * 9 + good[2:], ANY
    yield "zeros-between.jpg", good[:2] + bytes(9) + good[2:], ANY
    yield "restart-interval.jpg", good[:frame] + b"\xff\xdd\0\4\0\1" + good[frame:], ANY
    inks = encode(PICTURE.convert("CMYK"), "JPEG")
    adobe = inks.index(b"Adobe")
    yield "cmyk-transform-9.jpg", inks[: adobe + 11] + b"\x09" + inks[adobe + 12 :], ANY
    yield "cmyk-adobe-misspelt.jpg", inks.replace(b"Adobe", b"Adoby"), ANY
    profile = b"\xff\xe2\0\x12ICC_PROFILE\0\1\2no"
    yield "profile-parts-missing.jpg", good[:2] + profile + good[2:], ANY


def _exif() -> Iterator[Case]:
    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    def directory(*entries: bytes) -> bytes:
        return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)

    begin = b"II*\0" + struct.pack("<I", 8)
    turned = entry(0x0112, 3, 1, 6)
    notes = {
        "directory-beyond-the-end": b"II*\0" + struct.pack("<I", 1000),
        "more-entries-than-there-are": begin + struct.pack("<H", 9) + turned,
        "orientation-is-text": begin + directory(entry(0x0112, 2, 4, 0x36)),
        "orientation-0": begin + directory(entry(0x0112, 3, 1, 0)),
        "orientation-77": begin + directory(entry(0x0112, 3, 1, 77)),
        "value-beyond-the-end": begin + directory(entry(0x010F, 2, 9, 1000)),
        "kind-unknown": begin + directory(entry(0x0112, 99, 1, 6)),
        "cut": begin + directory(turned)[:7],
        "order-unknown": b"XX*\0" + struct.pack("<I", 8),
        "nothing": b"",
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
    yield "length-too-long.webp", riff(pixels, length=len(pixels) + 100), BAD
    yield "canvas-alone.webp", riff(canvas(160, 96)), BAD
    yield "canvas-short.webp", riff(part(b"VP8X", b"\0")), BAD
    yield "canvas-of-another-size.webp", riff(canvas(100, 100), pixels), ANY
    yield "no-pixels.webp", riff(part(b"VP8 ", b"")), BAD
    yield "lossless-as-lossy.webp", riff(b"VP8 " + lossless[4:]), REFUSED | {413}
    yield "lossy-as-lossless.webp", riff(b"VP8L" + pixels[4:]), REFUSED | {413}
    yield "kind-unknown.webp", riff(part(b"NONE", b"x" * 40)), REFUSED | {413}
    yield "two-pictures.webp", riff(pixels, pixels), ANY
    place = bytes(6) + (159).to_bytes(3, "little") + (95).to_bytes(3, "little") + bytes(4)
    frame = part(b"ANMF", place + pixels)
    moving = canvas(160, 96, 2), part(b"ANIM", bytes(6))
    yield "two-frames.webp", riff(*moving, frame, frame), frozenset({200})
    yield "no-frames.webp", riff(*moving), BAD
    yield "frame-broken.webp", riff(*moving, part(b"ANMF", place + b"junk" * 9)), BAD
    yield "profile-broken.webp", riff(canvas(160, 96, 32), part(b"ICCP", b"no"), pixels), ANY
    exif = part(b"EXIF", b"II*\0" + struct.pack("<I", 1000))
    yield "exif-broken.webp", riff(canvas(160, 96, 8), pixels, exif), ANY


def _mixed_up() -> Iterator[Case]:
    for name in ("png", "jpg", "webp"):
        yield f"text-behind.{name}", GOOD[name] + b"and more", frozenset({200})
        yield f"junk-before.{name}", b"junk" + GOOD[name], REFUSED
    yield "gif-then-jpeg", b"GIF89a" + GOOD["jpg"], KIND
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
    yield "page.html", b"<!DOCTYPE html><html></html>", BAD
    yield "picture.heic", b"\0\0\0\x18ftypheic" + bytes(100), KIND
    yield "video.mp4", b"\0\0\0\x18ftypisom" + bytes(100), BAD
    yield "video.mkv", b"\x1aE\xdf\xa3" + bytes(100), BAD
    yield "video.avi", b"RIFF\x64\0\0\0AVI LIST" + bytes(100), BAD
    yield "picture.psd", b"8BPS\0\1" + bytes(100), KIND
    yield "scan.dcm", bytes(128) + b"DICM" + bytes(100), BAD
    yield "object.pickle", pickle.dumps({"a": 1}), BAD
    array = io.BytesIO()
    np.save(array, SCENE)
    yield "array.npy", array.getvalue(), BAD
    yield "picture.exr", b"v/1\1" + bytes(100), BAD
    yield "picture.pgm", b"P5 16 16 255\n" + bytes(256), BAD
    yield "text", b"This is no image.\n", BAD
    yield "archive.zip", b"PK\x03\x04" + bytes(100), BAD
    yield "archive.gz", b"\x1f\x8b\x08" + bytes(100), BAD
    noise = np.random.default_rng(9).bytes(5000)
    yield "noise", noise, REFUSED
    yield "sunset.raster", cv2.imencode(".ras", SCENE)[1].tobytes(), BAD


def _forms() -> Iterator[BadUpload]:
    good, line = GOOD["png"], BOUNDARY.encode()

    def case(
        name: str, body: bytes, allowed: frozenset[int], content_type: str = MULTIPART
    ) -> BadUpload:
        return BadUpload(f"form: {name}", body, content_type, allowed)

    whole = form(good)
    for content_type in (
        "",
        "image/png",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        f"multipart/mixed; boundary={BOUNDARY}",
        "application/octet-stream",
        "\xff\xfe",
    ):
        yield case(f"called {content_type!r}", whole, KIND, content_type)
    yield case("raw image", good, BAD)
    yield case("no boundary", whole, BAD, "multipart/form-data")
    yield case("empty boundary", whole, BAD, "multipart/form-data; boundary=")
    yield case("other boundary", whole, BAD, "multipart/form-data; boundary=other")
    yield case("charset unknown", whole, ANY, f"{MULTIPART}; charset=klingon")
    yield case("two boundaries", whole, ANY, f"{MULTIPART}; boundary=other")
    yield case("spelled oddly", whole, ANY, MULTIPART.replace("form-data", "FORM-data"))
    yield case("empty", b"", BAD)
    yield case("line ends alone", b"\r\n" * 3, BAD)
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
    yield case("field with markup", form(good, b'form-data; name="<b>x</b>"; filename="a"'), BAD)
    yield case("text, no file", form(b"hello", b'form-data; name="image"'), BAD)
    yield case("picture as text", form(good, b'form-data; name="image"'), BAD)
    yield case("attachment", form(good, b'attachment; name="image"; filename="a.png"'), ANY)
    yield case("no disposition", b"--%b\r\n\r\nx\r\n--%b--\r\n" % (line, line), BAD)
    yield case("two dispositions", form(good, headers=b"Content-Disposition: x\r\n"), ANY)
    part = whole[: -len(line) - 6]
    yield case("two images", part + whole, ANY | {413})
    text = form(b"text", b'form-data; name="image"')[: -len(line) - 6]
    yield case("text, then image", text + whole, ANY)
    yield case("picture, then text", part + form(b"text", b'form-data; name="image"'), ANY)
    bad = form(b"junk")[: -len(line) - 6]
    yield case("junk, then image", bad + whole, ANY | {413})
    more = form(b"x", b'form-data; name="other"')[: -len(line) - 6]
    yield case("another field too", more + whole, BAD)
    yield case("header of its own", form(good, headers=b"X-Own: 1\r\n"), frozenset({200}))
    yield case("header without colon", form(good, headers=b"nonsense\r\n"), BAD)
    yield case("header not ASCII", form(good, headers="X-Ü: ü\r\n".encode()), ANY)
    encoded = b"Content-Transfer-Encoding: base64\r\n"
    yield case("says base64", form(good, headers=encoded), ANY)
    yield case("nested", form(whole, headers=f"Content-Type: {MULTIPART}\r\n".encode()), BAD)
    inner = whole.replace(line, b"inner")
    yield case("nested with its own boundary", form(inner), BAD)
    names = {
        "in a folder": b"../folder/a.png",
        "absolute": b"/folder/a.png",
        "with backslashes": rb"C:\\folder\\a.png",
        "of 200": b"a" * 200 + b".png",
        "in another script": "图像.png".encode(),
        "not UTF-8": b"\xff\xfe.png",
        "empty": b"",
        "with markup": b"<b>x</b>.png",
        "of a variable": b"$HOME.png",
    }
    for name, file_name in names.items():
        disposition = b'form-data; name="image"; filename="%b"' % file_name
        yield case(f"file name {name}", form(good, disposition), ANY)
    extended = b"form-data; name=\"image\"; filename*=utf-8''a%20b.png"
    yield case("file name extended", form(good, extended), ANY)
    for kind in (b"text/html", b"image/gif"):
        headers = b"Content-Type: %b\r\n" % kind
        yield case(f"part called {kind!r}", form(good, headers=headers), ANY)
