"""What is measured of each frame."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
import pytest

from streetseg.data.dataset import PreparedDataset
from streetseg.data.frames import perceptual_hash
from streetseg.data.label_files import ids_in
from streetseg.data.prepare import prepare
from streetseg.images.resize import resize_rgb
from tests.support.cityscapes_layout import put, small_recipe


def scene(seed: int, size: tuple[int, int] = (256, 512)) -> np.ndarray:
    """Soft patches of colour: RGB uint8[H, W, 3]."""
    patches = np.random.default_rng(seed).integers(0, 255, (8, 16, 3), np.uint8)
    return cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)


def difference(one: str, other: str) -> float:
    """The fraction of bits in which two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count() / (4 * len(one))


def as_jpeg(rgb: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)


VARIANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it was": lambda rgb: rgb,
    "re-encoded": as_jpeg,
    "half as large": lambda rgb: resize_rgb(rgb, (128, 256)),
    "twice as large": lambda rgb: resize_rgb(rgb, (512, 1024)),
    "blurred": lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 6),
    "darker": lambda rgb: rgb // 2,
    "another": lambda _: scene(99),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.Series]:
    """The row of the index of each variant of a scene."""
    root = tmp_path_factory.mktemp("measured")
    for number, variant in enumerate(VARIANTS.values()):
        rgb = variant(scene(1))
        ids = np.full(rgb.shape[:2], 7, np.uint8)
        put(root / "source", "train", f"aachen_{number:06d}_000000", rgb, ids)
    params = small_recipe(root / "source", root / "prepared", prepare__size=[64, 128])
    index = PreparedDataset(prepare(params)).index
    return {name: index.iloc[number] for number, name in enumerate(VARIANTS)}


@pytest.mark.parametrize("variant", ["re-encoded", "half as large", "twice as large", "darker"])
def test_a_perceptual_hash_knows_a_picture_again(
    measured: dict[str, pd.Series], variant: str
) -> None:
    assert difference(measured["as it was"]["phash"], measured[variant]["phash"]) <= 1 / 8


def test_a_perceptual_hash_tells_pictures_apart(measured: dict[str, pd.Series]) -> None:
    assert difference(measured["as it was"]["phash"], measured["another"]["phash"]) >= 1 / 4
    hashes = [perceptual_hash(cv2.cvtColor(scene(n), cv2.COLOR_RGB2GRAY)) for n in range(20)]
    differences = [difference(one, other) for one, other in combinations(hashes, 2)]
    assert min(differences) >= 1 / 4
    assert np.mean(differences) == pytest.approx(1 / 2, abs=1 / 16)


def test_blur_takes_sharpness_and_shade_takes_brightness(measured: dict[str, pd.Series]) -> None:
    plain, blurred, darker = (measured[name] for name in ("as it was", "blurred", "darker"))
    assert blurred["sharpness"] < 0.7 * plain["sharpness"]
    assert darker["brightness"] == pytest.approx(plain["brightness"] / 2, abs=1)
    gray = cv2.cvtColor(resize_rgb(scene(1), (64, 128)), cv2.COLOR_RGB2GRAY)
    assert plain["brightness"] == pytest.approx(gray.mean())
    assert plain["sharpness"] == pytest.approx(cv2.Laplacian(gray, cv2.CV_64F).var())


@pytest.mark.parametrize("largest", [1, 2, 34, 256])
def test_the_ids_in_a_picture_are_its_unique_values(largest: int) -> None:
    rng = np.random.default_rng(largest)
    for shape in ((1, 1), (1, 7), (7, 1), (33, 65)):
        ids = rng.integers(0, largest, shape, np.uint8)
        assert ids_in(ids).tolist() == np.unique(ids).tolist()
        assert ids_in(np.sort(ids.ravel())[None]).tolist() == np.unique(ids).tolist()
