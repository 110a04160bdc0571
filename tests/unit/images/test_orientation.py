"""A photo that was taken with the camera turned is the same frame to every command."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.config.params import Serve
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data_quality.explore import sampled
from streetseg.images.decode import decode_ids, decode_image
from streetseg.prediction.batch import segment_folder
from streetseg.prediction.batch_report import write_batch_page
from streetseg.prediction.video_files import open_video
from streetseg.serving.engine import Engine
from tests.conftest import Command, Trained
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import small_recipe
from tests.support.unusual_images import STORED, encode, exif

HEIGHT, WIDTH = 64, 128
BLOCKS = np.random.default_rng(5).integers(0, 255, (4, 8, 3), np.uint8)
UPRIGHT = cv2.resize(BLOCKS, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
IDS = np.resize(np.array([7, 11, 21, 23, 26], np.uint8), (HEIGHT, WIDTH))
FORMATS = {"rgb.png": "RGB", "rgba.png": "RGBA", "photo.jpg": "RGB", "photo.webp": "RGB"}
OPTIONS = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}, ".png": {}}
KINDS = {".jpg": "JPEG", ".webp": "WEBP", ".png": "PNG"}


def turned(name: str, orientation: int) -> bytes:
    """The scene as a camera in that position stores it."""
    suffix = Path(name).suffix
    stored = Image.fromarray(UPRIGHT).convert(FORMATS[name]).transpose(STORED[orientation])
    return encode(stored, KINDS[suffix], exif=exif(orientation), **OPTIONS[suffix])


def is_upright(rgb: np.ndarray, name: str) -> bool:
    tolerance = 20 if name.endswith("jpg") else 0
    return rgb.shape == UPRIGHT.shape and np.abs(rgb.astype(int) - UPRIGHT).max() <= tolerance


@pytest.fixture(params=[3, 6])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Photos in each format, taken upside down or turned to the right."""
    (tmp_path / "photos").mkdir()
    for name in FORMATS:
        (tmp_path / "photos" / name).write_bytes(turned(name, request.param))
    return tmp_path / "photos"


def test_batch_predict_video_and_service_see_one_frame(
    streetseg: Command, trained: Trained, folder: Path, tmp_path: Path
) -> None:
    batch = segment_folder(str(folder), str(tmp_path / "masks"), trained.artifact)
    assert [(image.width, image.height) for image in batch.images] == [(WIDTH, HEIGHT)] * 4
    write_batch_page(batch, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") >= 4
    engine = Engine(Serve())
    try:
        for name in FORMATS:
            assert is_upright(engine.decode((folder / name).read_bytes()), name)
    finally:
        engine.close()
    frames = [rgb for rgb, _ in open_video(folder).read()]
    assert all(is_upright(*pair) for pair in zip(frames, sorted(FORMATS), strict=True))
    for name in FORMATS:
        out = tmp_path / name
        done = streetseg("predict", folder / name, "--model", trained.artifact, "--out", out)
        assert done.returncode == 0, done.stderr
        mask = decode_ids((out / f"{name}_mask.png").read_bytes())
        overlay = decode_image((out / f"{name}_overlay.png").read_bytes())
        assert mask.shape == (HEIGHT, WIDTH)
        assert overlay.shape == UPRIGHT.shape
        by_batch = decode_ids((tmp_path / "masks" / f"{name}_mask.png").read_bytes())
        np.testing.assert_array_equal(mask, by_batch)


@pytest.mark.parametrize("label", [1, 3, 6])
@pytest.mark.parametrize("name", FORMATS)
def test_prepare_and_explore_turn_image_and_label(tmp_path: Path, name: str, label: int) -> None:
    suffix = Path(name).suffix
    root = tmp_path / "source"
    ids = Image.fromarray(IDS)
    ids = ids.transpose(STORED[label]) if label in STORED else ids
    for split, orientation in (("train", 3), ("val", 6)):
        image, mask = root / split / f"rgb/a{suffix}", root / split / "ids/a.png"
        for path in (image, mask):
            path.parent.mkdir(parents=True)
        image.write_bytes(turned(name, orientation))
        mask.write_bytes(encode(ids, "PNG", exif=exif(label)))
    pair = layouts.pair(f"{{split}}/rgb/{{name}}{suffix}", "{split}/ids/{name}.png")
    own = layouts.own(tmp_path / "own", {"label_space": "cityscapes", **pair})
    size = [HEIGHT, WIDTH]
    params = small_recipe(root, tmp_path / "out", data__source=str(own), prepare__size=size)
    with sampled(params, 2) as (sample, _):
        check(sample, name)
    check(PreparedDataset(prepare(params)), name)


def check(dataset: PreparedDataset, name: str) -> None:
    assert dataset.index[["width", "height"]].to_numpy().tolist() == [[WIDTH, HEIGHT]] * 2
    for row in range(2):
        assert is_upright(dataset.image(row), name)
        np.testing.assert_array_equal(dataset.categories(row), dataset.labels.category_of[IDS])
    np.testing.assert_array_equal(dataset.label_ids(dataset.rows("val")[0]), IDS)
