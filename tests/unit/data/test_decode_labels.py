"""Label images: which formats keep ids, and which depths hold colours."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.core.errors import StreetsegError
from streetseg.data.label_files import decode_labels
from streetseg.data.labels import LabelSpace
from streetseg.data_quality.explore import sampled
from streetseg.evaluation.masks import score_folders
from streetseg.images.decode import decode_ids, decode_instances
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import small_recipe
from tests.support.png_files import png
from tests.support.unusual_images import encode, exif

SPACE = LabelSpace.load("cityscapes")
IDS = np.kron(np.array([[7, 11, 21, 23], [23, 7, 7, 11]], np.uint8), np.ones((8, 8), np.uint8))
STORED = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "JPEG2000": {}, "AVIF": {}}
NAMES = {"JPEG2000": "JPEG 2000"}


@pytest.mark.parametrize("encoding", ["ids", "red", "colors"])
@pytest.mark.parametrize("kind", STORED)
def test_a_format_that_does_not_keep_ids_is_refused_by_name(kind: str, encoding: str) -> None:
    space = LabelSpace.from_dict({**layouts.OWN_LABELS, "encoding": encoding})
    image = Image.fromarray(IDS) if encoding == "ids" else Image.fromarray(IDS).convert("RGB")
    data = encode(image, kind, **STORED[kind])
    said = f"is {NAMES.get(kind, kind)}, which does not keep ids exactly: .* as PNG"
    with pytest.raises(BadImageError, match=said):
        decode_labels(data, space)


def test_instance_ids_are_refused_in_such_a_format_too() -> None:
    data = encode(Image.fromarray(IDS.astype(np.uint16) * 1000), "JPEG2000", irreversible=True)
    with pytest.raises(BadImageError, match="is JPEG 2000, which does not keep ids"):
        decode_instances(data)


def test_a_tiff_keeps_ids_unless_it_is_compressed_with_loss() -> None:
    image = Image.fromarray(IDS)
    for compression in (None, "tiff_lzw", "tiff_deflate"):
        decoded = decode_ids(encode(image, "TIFF", compression=compression))
        np.testing.assert_array_equal(decoded, IDS)
    with pytest.raises(BadImageError, match="is a lossy TIFF, which does not keep ids"):
        decode_ids(encode(image, "TIFF", compression="jpeg"))


def lossy_source(root: Path, suffix: str) -> Path:
    """Frames whose labels are in a lossy format; returns the file of the source."""
    pair = {"images": "rgb/{split}/{name}.png", "labels": f"masks/{{split}}/{{name}}{suffix}"}
    for split in ("train", "val"):
        for number in range(2):
            layouts.write_photo(root / f"rgb/{split}/{split}_{number}.png")
            mask = root / f"masks/{split}/{split}_{number}{suffix}"
            mask.parent.mkdir(parents=True, exist_ok=True)
            mask.write_bytes(encode(Image.fromarray(np.resize(IDS, layouts.SIZE)), "JPEG"))
    return layouts.own(root, {"label_space": "cityscapes", "pairs": [pair]})


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_prepare_explore_and_scores_refuse_a_jpeg_whatever_its_name(
    tmp_path: Path, suffix: str
) -> None:
    source = lossy_source(tmp_path / "raw", suffix)
    said = rf"train_0\{suffix} is JPEG, which does not keep ids exactly"
    with pytest.raises(StreetsegError, match=said):
        layouts.prepared(source, tmp_path / "raw")
    params = small_recipe(tmp_path / "raw", tmp_path / "out", data__source=str(source))
    with pytest.raises(StreetsegError, match=said), sampled(params, 4):
        pass
    sound = tmp_path / "masks" / "a_0_0.png"
    jpeg = tmp_path / "truth" / "a_0_0_gtFine_labelIds.png"
    for path, kind in ((sound, "PNG"), (jpeg, "JPEG")):
        path.parent.mkdir()
        path.write_bytes(encode(Image.fromarray(IDS), kind))
    with pytest.raises(StreetsegError, match=r"labelIds\.png is JPEG"):
        score_folders(sound.parent, jpeg.parent, SPACE)
    sound.write_bytes(jpeg.read_bytes())
    jpeg.write_bytes(encode(Image.fromarray(IDS), "PNG"))
    with pytest.raises(StreetsegError, match=r"a_0_0\.png is JPEG"):
        score_folders(sound.parent, jpeg.parent, SPACE)


FEW = {
    "name": "few",
    "categories": [{"name": "ground", "color": [9, 9, 9]}, {"name": "rest", "color": [8, 8, 8]}],
    "labels": [
        {"id": 3, "name": "grass", "category": "ground", "color": [3, 60, 70]},
        {"id": 5, "name": "house", "category": "rest", "color": [5, 80, 90]},
    ],
}


@pytest.mark.parametrize("encoding", ["colors", "red"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_any_depth_shows_its_colours(encoding: str, bits: int) -> None:
    space = LabelSpace.from_dict({**FEW, "encoding": encoding})
    entries = np.indices((6, 10)).sum(axis=0).astype(np.uint8) % 2
    picture = Image.fromarray(entries)
    picture.putpalette([5, 80, 90, 3, 60, 70, *[0] * 3 * (2**bits - 2)])
    data = encode(picture, "PNG", bits=bits)
    assert data[24:26] == bytes([bits, 3])
    np.testing.assert_array_equal(decode_labels(data, space), np.array([5, 3])[entries])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_holds_ids_in_red_and_colours_as_it_is_shown(bits: int) -> None:
    samples = (np.arange(64, dtype=np.uint8) % 2).reshape(8, 8)
    packed = np.packbits(np.unpackbits(samples[..., None], axis=2)[..., -bits:].reshape(8, -1), 1)
    data = gray_png(packed, bits)
    white = 255 // (2**bits - 1)
    ids = {"red": [0, 1], "colors": [3, 5]}
    for encoding, expected in ids.items():
        labels = [
            {**FEW["labels"][0], "id": expected[0], "color": [0, 0, 0]},
            {**FEW["labels"][1], "id": expected[1], "color": [white] * 3},
        ]
        space = LabelSpace.from_dict({**FEW, "labels": labels, "encoding": encoding})
        np.testing.assert_array_equal(decode_labels(data, space), np.array(expected)[samples])


def gray_png(rows: np.ndarray, bits: int) -> bytes:
    """A gray PNG of packed rows uint8[8, bits]."""
    filtered = np.hstack([np.zeros((8, 1), np.uint8), rows])
    return png(8, 8, bits, 0, zlib.compress(filtered.tobytes()))


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("colors", "has 16 bits a channel, where 8 are expected"),
        ("red", "holds 768 in its red channel, where ids end at 255"),
    ],
)
def test_sixteen_bits_that_hold_no_ids_are_refused(encoding: str, reason: str) -> None:
    space = LabelSpace.from_dict({**FEW, "encoding": encoding})
    deep = np.full((4, 4, 3), 3 << 8, np.uint16)
    with pytest.raises(BadImageError, match=reason):
        decode_labels(cv2.imencode(".png", deep)[1].tobytes(), space)


def test_the_red_channel_may_have_sixteen_bits() -> None:
    space = LabelSpace.from_dict({**FEW, "encoding": "red"})
    deep = np.zeros((2, 3, 3), np.uint16)
    deep[..., 2] = [[0, 1, 1], [1, 0, 0]]
    deep[..., 1] = 40_000  # the number of the object, in SYNTHIA
    ids = decode_labels(cv2.imencode(".png", deep)[1].tobytes(), space)
    np.testing.assert_array_equal(ids, deep[..., 2])


@pytest.mark.parametrize("mode", ["L", "P"])
def test_ids_are_turned_as_their_exif_says(mode: str) -> None:
    stored = Image.fromarray(IDS)
    if mode == "P":
        stored.putpalette([*range(240)])
    data = encode(stored.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif(6))
    np.testing.assert_array_equal(decode_ids(data), IDS)


def tiff(bits: int, white_is_zero: bool, data: bytes) -> bytes:
    """A gray TIFF of 8 x 4 pixels (TIFF 6.0, section 3)."""
    tags = {256: 8, 257: 4, 258: bits, 259: 1, 262: int(not white_is_zero)}
    tags |= {273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 4, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


NUMBERS = np.arange(32, dtype=np.uint8).reshape(4, 8) % 4
PLAIN = " ".join(map(str, NUMBERS.ravel())).encode()


@pytest.mark.parametrize(
    "data",
    [
        tiff(8, False, NUMBERS.tobytes()),
        b"P5 8 4 255\n" + NUMBERS.tobytes(),
        b"P2 8 4 255\n" + PLAIN,
    ],
    ids=["TIFF", "PGM", "PGM as text"],
)
def test_gray_of_eight_bits_holds_ids(data: bytes) -> None:
    np.testing.assert_array_equal(decode_ids(data), NUMBERS)


@pytest.mark.parametrize(
    "data",
    [
        tiff(4, False, (NUMBERS[:, ::2] << 4 | NUMBERS[:, 1::2]).tobytes()),
        tiff(8, True, NUMBERS.tobytes()),
        b"P5 8 4 3\n" + NUMBERS.tobytes(),
        b"P2 8 4 3\n" + PLAIN,
    ],
    ids=["TIFF of 4 bits", "TIFF with white as 0", "PGM up to 3", "PGM as text up to 3"],
)
def test_gray_that_pillow_would_scale_is_refused(data: bytes) -> None:
    with pytest.raises(BadImageError, match="holds shades of gray, not its ids: save"):
        decode_ids(data)


@pytest.mark.parametrize("encoding", ["colors", "red"])
def test_colours_are_in_a_png_alone(encoding: str) -> None:
    space = LabelSpace.from_dict({**FEW, "encoding": encoding})
    data = encode(Image.new("RGB", (4, 4), (3, 60, 70)), "TIFF")
    with pytest.raises(BadImageError, match=f"is no PNG, as labels with the encoding {encoding}"):
        decode_labels(data, space)


def test_ids_may_be_stored_in_16_bits_but_not_exceed_8() -> None:
    np.testing.assert_array_equal(decode_ids(encode_png(IDS.astype(np.uint16))), IDS)
    with pytest.raises(BadImageError, match="holds the value 23000, where ids of 0 to 255 are"):
        decode_ids(encode_png(IDS.astype(np.uint16) * 1000))
