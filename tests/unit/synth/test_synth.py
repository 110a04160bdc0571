"""The invented Cityscapes: layout, repeatability, labels, resuming, and how hard it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.core.atomic_files import lock_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map
from streetseg.data.labels import LabelSpace
from streetseg.synth import render_scene, write_cityscapes
from streetseg.synth.writer import plan_frames
from tests.support.cityscapes_layout import digests

FRAMES = {"train": 3, "val": 2, "test": 1}


def write(root: Path, *, frames=FRAMES, cities=2, size=(64, 128), seed=7, workers=1) -> list[Path]:
    return write_cityscapes(
        root, frames=frames, cities=cities, size=size, seed=seed, workers=workers
    )


def label_path(image: Path) -> Path:
    name = image.name.replace("_leftImg8bit", "_gtFine_labelIds")
    return image.parents[3] / "gtFine" / image.parts[-3] / image.parts[-2] / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth")
    write(root)
    return root


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return render_scene(seed, 64, 128)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Scenes of as many cities."""
    return list(parallel_map(scene, range(22), workers=0, description="Painting streets"))


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_one_clear_line() -> None:
    with pytest.raises(
        StreetsegError, match=r"was killed, .*memory: lower prepare\.workers and run"
    ):
        list(parallel_map(killed, range(2), workers=2, description="Painting streets"))


def test_layout_and_names_are_those_of_cityscapes(folder):
    images = sorted(folder.glob("leftImg8bit/*/*/*.png"))
    assert len(images) == sum(FRAMES.values())
    for image in images:
        city = image.parent.name
        assert re.fullmatch(rf"{city}_\d{{6}}_\d{{6}}_leftImg8bit\.png", image.name)
        assert re.fullmatch("[a-z]+", city)
        assert cv2.imread(str(image), cv2.IMREAD_UNCHANGED).shape == (64, 128, 3)
        ids = cv2.imread(str(label_path(image)), cv2.IMREAD_UNCHANGED)
        assert ids.shape == (64, 128)
        assert ids.dtype == np.uint8
    assert not list(folder.rglob("*.tmp"))


def test_splits_share_no_city_and_no_frame(folder):
    images = list(folder.glob("leftImg8bit/*/*/*.png"))
    cities = {split: {p.parent.name for p in images if p.parts[-3] == split} for split in FRAMES}
    assert not cities["train"] & cities["val"] | cities["train"] & cities["test"]
    assert len({image.read_bytes() for image in images}) == len(images)


def test_only_the_test_split_has_no_labels(folder):
    for image in folder.glob("leftImg8bit/*/*/*.png"):
        ids = cv2.imread(str(label_path(image)), cv2.IMREAD_UNCHANGED)
        assert (ids.max() == 0) == (image.parts[-3] == "test")


def test_bytes_do_not_depend_on_workers(folder, tmp_path):
    write(tmp_path, workers=2)
    assert digests(tmp_path) == digests(folder)


def test_another_seed_gives_other_frames():
    assert not np.array_equal(render_scene(1, 64, 128)[0], render_scene(2, 64, 128)[0])


def test_resuming_completes_a_partial_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    images = write(tmp_path)
    images[0].unlink()
    images[0].with_suffix(".tmp").write_bytes(b"half an image")
    label_path(images[1]).unlink()
    untouched = images[2].stat().st_mtime_ns
    write(tmp_path)
    assert digests(tmp_path) == digests(folder)
    assert images[2].stat().st_mtime_ns == untouched


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StreetsegError, match=r"thesis\.txt"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_process_draws_in_a_folder(tmp_path):
    with (
        lock_folder(tmp_path, tmp_path),
        pytest.raises(StreetsegError, match=f"^another process is writing {tmp_path}: wait for it"),
    ):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_settings_are_refused(folder):
    before = digests(folder)
    with pytest.raises(StreetsegError, match="seed: 7, not 8"):
        write(folder, seed=8)
    assert digests(folder) == before


def test_an_unwritable_folder_is_one_clear_error():
    with pytest.raises(StreetsegError, match="/dev/null/x"):
        write(Path("/dev/null/x"))


@pytest.mark.parametrize("size", [(32, 64), (1024, 4096), (512, 256), (0, 0)])
def test_impossible_sizes_are_refused(tmp_path, size):
    with pytest.raises(StreetsegError, match=f"{size[0]} x {size[1]}"):
        write(tmp_path / "new", size=size)
    assert not (tmp_path / "new").exists()


def test_most_labels_of_cityscapes_appear(scenes):
    defined = {label.id for label in LabelSpace.load("cityscapes").labels}
    drawn = set(np.unique([ids for _, ids in scenes]).tolist())
    assert drawn <= defined
    assert len(drawn) >= 28


def test_every_category_is_in_most_scenes(scenes):
    table = LabelSpace.load("cityscapes").category_of
    present = np.array([np.bincount(table[ids].ravel(), minlength=8)[:8] > 0 for _, ids in scenes])
    assert (present.mean(0) > 0.7).all()


def test_the_size_only_changes_the_sampling():
    small, large = (render_scene(5, rows, 2 * rows)[1] for rows in (64, 256))
    assert (cv2.resize(large, (128, 64), interpolation=cv2.INTER_NEAREST) == small).mean() > 0.9


def test_importing_synth_does_not_import_torch():
    code = "import sys, streetseg.synth; assert not {'torch', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_colour_alone_does_not_tell_the_category(scenes):
    """The most frequent category of each of 32768 colours, trained on other cities, is no good."""
    table = LabelSpace.load("cityscapes").category_of
    colors = np.stack([rgb for rgb, _ in scenes]).astype(np.int64) >> 3
    bins = (colors[..., 0] << 10) | (colors[..., 1] << 5) | colors[..., 2]
    truth = table[np.stack([ids for _, ids in scenes])].astype(np.int64)
    half = len(scenes) // 2
    counts = np.bincount((bins[:half] * 8 + truth[:half]).ravel(), minlength=8 * 2**15)
    guess = counts.reshape(-1, 8).argmax(1)[bins[half:]]
    confusion = np.bincount((truth[half:] * 8 + guess).ravel(), minlength=64).reshape(8, 8)
    hits = np.diag(confusion)
    scores = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    assert scores.mean() < 0.45


@pytest.mark.parametrize(("cities", "taken"), [(0, False), (500, True), (501, False)])
def test_there_are_names_for_a_thousand_cities(tmp_path, cities, taken):
    frames = {"train": 1, "val": 1}
    if taken:
        plan = plan_frames(tmp_path, frames=frames, cities=cities, size=(64, 128), seed=0)
        assert len(plan) == 2
        return
    with pytest.raises(StreetsegError, match=f"{cities} cities in each of 2 splits.*most 1000"):
        write_cityscapes(tmp_path / "x", frames=frames, cities=cities, size=(64, 128), seed=0)
    assert not (tmp_path / "x").exists()


def test_a_city_of_another_region_looks_otherwise(folder: Path, tmp_path: Path) -> None:
    """Warm roads instead of grey ones, and labels of the same kind."""
    settings = {"frames": {"train": 4}, "cities": 1, "size": (64, 128), "seed": 7, "workers": 1}
    desert = write_cityscapes(tmp_path / "desert", **settings, region="desert")
    temperate = write_cityscapes(tmp_path / "temperate", **settings)
    warmth = []
    for images in (desert, temperate):
        blue, _, red = np.concatenate(
            [cv2.imread(str(path))[cv2.imread(str(label_path(path)), -1) == 7] for path in images]
        ).mean(axis=0)
        warmth.append(red / blue)
    assert warmth[0] > 1.25 > 1.1 > warmth[1]
    assert json.loads((tmp_path / "desert" / "synth.json").read_text())["region"] == "desert"
    assert "region" not in json.loads((folder / "synth.json").read_text()), "as earlier releases"
    with pytest.raises(StreetsegError, match="region"):
        write_cityscapes(tmp_path / "desert", **settings)
