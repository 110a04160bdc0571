"""Frames prepared at any size, stretched, padded or cropped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import DESCRIPTION, PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.data.origin import open_prepared
from streetseg.data.prepare import prepare
from streetseg.data_quality import validation
from streetseg.images.decode import decode_ids, read_image
from tests.conftest import Command
from tests.support.cityscapes_layout import digests, label_path, small_recipe, write_frames

CAMVID = (360, 480)
FIRST = "aachen_000000_000000"
FEW = {"train": {"aachen": 1}, "val": {"munster": 1}}


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Frames of CamVid's size."""
    return write_frames(tmp_path / "source", FEW, CAMVID)


def truth(source: Path, dataset: PreparedDataset) -> np.ndarray:
    """The categories of the first frame at native size."""
    ids = read_image(label_path(source, "train", FIRST), decode_ids)
    return dataset.labels.category_of[ids]


@pytest.mark.parametrize(
    ("size", "fit", "rows", "columns"),
    [
        ((360, 480), "stretch", slice(0, 360), slice(0, 480)),
        ((384, 480), "pad", slice(12, 372), slice(0, 480)),
        ((360, 640), "pad", slice(0, 360), slice(80, 560)),
    ],
)
def test_native_frames_keep_every_pixel_and_label(
    camvid: Path,
    tmp_path: Path,
    size: tuple[int, int],
    fit: str,
    rows: slice,
    columns: slice,
) -> None:
    recipe = small_recipe(camvid, tmp_path / "prepared", prepare__size=list(size), prepare__fit=fit)
    dataset = PreparedDataset(prepare(recipe))
    categories, image = dataset.categories(0), dataset.image(0)
    expected = truth(camvid, dataset)
    np.testing.assert_array_equal(categories[rows, columns], expected)
    source = read_image(camvid / dataset.index["image"][0])
    np.testing.assert_array_equal(image[rows, columns], source)
    bars = np.ones(size, bool)
    bars[rows, columns] = False
    assert (categories[bars] == IGNORE).all()
    assert not image[bars].any()
    counts = np.bincount(expected[expected != IGNORE], minlength=len(dataset.labels.names))
    assert dataset.category_pixels(np.array([0])).tolist() == counts.tolist(), "bars are no void"


def test_padding_is_not_measured(camvid: Path, tmp_path: Path) -> None:
    columns = ["brightness", "sharpness", "phash"]
    plain, padded = (
        PreparedDataset(
            prepare(
                small_recipe(camvid, tmp_path / fit, prepare__size=list(size), prepare__fit=fit)
            )
        ).index[columns]
        for fit, size in (("stretch", (360, 480)), ("pad", (360, 640)))
    )
    assert padded.equals(plain)


def test_a_crop_keeps_the_centre(camvid: Path, tmp_path: Path) -> None:
    recipe = small_recipe(
        camvid, tmp_path / "prepared", prepare__size=[240, 480], prepare__fit="crop"
    )
    dataset = PreparedDataset(prepare(recipe))
    np.testing.assert_array_equal(dataset.categories(0), truth(camvid, dataset)[60:300])
    row = int(dataset.rows("val")[0])
    assert dataset.label_ids(row).shape == CAMVID, "the truth is kept complete"


def test_the_default_writes_what_it_wrote_without_the_setting(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source")
    plain = prepare(small_recipe(source, tmp_path / "plain"))
    stretched = prepare(small_recipe(source, tmp_path / "stretched", prepare__fit="stretch"))
    padded = prepare(small_recipe(source, tmp_path / "padded", prepare__fit="pad"))
    assert digests(plain) == digests(stretched)
    description = json.loads((plain / DESCRIPTION).read_text())
    assert "fit" not in description
    assert description["format"] == 2
    assert json.loads((padded / DESCRIPTION).read_text())["format"] == 3
    assert "fit" not in PreparedDataset(plain).index


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_padding_and_cropping_are_no_defect(camvid: Path, tmp_path: Path, fit: str) -> None:
    recipe = small_recipe(
        camvid,
        tmp_path / "prepared",
        prepare__size=[64, 512],
        prepare__fit=fit,
        validate__max_void_share=0.7,
    )
    found = validation.check(PreparedDataset(prepare(recipe)), recipe.validation)
    assert not [each for each in found.warnings if "aspect" in each or "is void" in each]


def test_a_changed_aspect_ratio_is_told_with_the_size_that_keeps_it(
    streetseg: Command, camvid: Path, tmp_path: Path
) -> None:
    advice = (
        "stretching 480x360 to 512x256 changes the aspect ratio by 50%: "
        "prepare.size=[288, 384] keeps it, and so do prepare.fit=pad and crop"
    )
    settings = {"data.root": camvid, "data.prepared": tmp_path / "prepared", "prepare.workers": 1}
    call = ["prepare", "--preview", tmp_path / "preview.jpg"]
    for key, value in settings.items():
        call += ["--set", f"{key}={value}"]
    done = streetseg(*call, "--set", "prepare.size=[256,512]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"warning: {advice}" in done.stdout
    dataset = PreparedDataset(tmp_path / "prepared")
    recipe = small_recipe(camvid, tmp_path / "prepared")
    warnings = validation.check(dataset, recipe.validation).warnings
    assert any(each.startswith(advice) for each in warnings)

    done = streetseg(*call, "--set", "prepare.size=[288,384]", cwd=tmp_path)
    assert "stretching" not in done.stdout
    done = streetseg(*call, "--set", "prepare.fit=pad", cwd=tmp_path)
    assert "stretching" not in done.stdout


def test_data_of_another_fit_is_prepared_again(camvid: Path, tmp_path: Path) -> None:
    recipe = small_recipe(camvid, tmp_path / "prepared", prepare__fit="pad")
    prepare(recipe)
    assert open_prepared(recipe).fit == "pad"
    with pytest.raises(StreetsegError, match=r"\[32, 64\] \(prepare\.fit=pad\).* run 'streetseg"):
        open_prepared(small_recipe(camvid, tmp_path / "prepared"))


def test_an_interrupted_preparation_of_another_fit_is_not_resumed(
    camvid: Path, tmp_path: Path
) -> None:
    from streetseg.data.shards import ShardSpec
    from streetseg.data.sources import load_source

    source = load_source("cityscapes")
    specs = [
        ShardSpec(camvid, (32, 64), source.labels, source.labels, None, False, 2, fit)
        for fit in ("stretch", "pad")
    ]
    frames = source.find(camvid)
    assert specs[0].fingerprint(frames) != specs[1].fingerprint(frames)
