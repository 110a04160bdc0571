"""The command ``predict``: images and folders into files."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import streetseg as library
from streetseg.images.decode import decode_ids, read_image
from tests.conftest import Command, Trained

IMAGES = ("drive/0001.jpg", "drive/0001.png", "drive/night/0002.webp", "street.png")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Images in a folder and beside it, one that is none, and one that is hidden."""
    for number, name in enumerate(IMAGES):
        blocks = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(blocks, (96, 48)))
    shutil.copy(tmp_path / "street.png", tmp_path / "drive" / ".hidden.png")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_and_folders_are_named_as_batch_names_them(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    chosen = "--model", trained.artifact
    done = streetseg("predict", "drive", "street.png", *chosen, "--out", "masks", cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 masks in masks\n"
    names = ["0001.jpg", "0001.png", "night/0002.webp", "street.png"]
    kinds = ("mask", "overlay")
    assert files(project / "masks") == {f"{name}_{kind}.png" for name in names for kind in kinds}

    assert streetseg("batch", "drive", "batch", *chosen, cwd=project).returncode == 0
    by_batch = {name for name in files(project / "batch") if name.endswith(".png")}
    assert by_batch == {f"{name}_mask.png" for name in names[:3]}
    for name in by_batch:
        assert (project / "batch" / name).read_bytes() == (project / "masks" / name).read_bytes()
    model = library.load(trained.artifact)
    overlay = read_image(project / "masks" / "street.png_overlay.png")
    np.testing.assert_array_equal(overlay, model.overlay(project / "street.png"))


def test_probabilities_are_written_and_overlays_left_out_when_asked(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    done = streetseg(
        *("predict", "street.png", "--model", trained.artifact, "--out", "masks"),
        *("--no-overlay", "--probabilities"),
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    out = project / "masks"
    assert files(out) == {"street.png_mask.png", "street.png_probabilities.npz"}
    model = library.load(trained.artifact)
    with np.load(out / "street.png_probabilities.npz", allow_pickle=False) as stored:
        assert set(stored) == {"probabilities", "categories"}
        assert stored["categories"].tolist() == model.labels.names
        probabilities = stored["probabilities"]
    assert probabilities.dtype == np.float16
    assert probabilities.shape == (8, 48, 96)
    expected = model.probabilities(project / "street.png")
    np.testing.assert_allclose(probabilities, expected, atol=5e-4)
    mask = read_image(out / "street.png_mask.png", decode_ids)
    np.testing.assert_array_equal(mask, model.predict(project / "street.png"))


def test_windows_hold_for_probabilities_too(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    blocks = np.random.default_rng(9).integers(0, 255, (8, 8, 3), np.uint8)
    cv2.imwrite(str(project / "wide.png"), cv2.resize(blocks, (160, 64)))
    done = streetseg(
        *("predict", "wide.png", "--model", trained.artifact, "--out", "masks", "--probabilities"),
        *("--set", "evaluate.window=[64,128]"),
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    with np.load(project / "masks" / "wide.png_probabilities.npz") as stored:
        predicted = stored["probabilities"].argmax(axis=0)
    mask = read_image(project / "masks" / "wide.png_mask.png", decode_ids)
    assert (predicted == mask).mean() > 0.99
    plain = library.load(trained.artifact).predict(project / "wide.png")
    assert (mask != plain).any()


def test_an_unusable_image_is_reported_and_the_others_are_segmented(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    call = ("predict", "drive", "--model", trained.artifact, "--out", "masks")
    assert streetseg(*call, cwd=project).returncode == 0
    broken = project / "drive" / "night" / "0002.webp"
    broken.write_bytes(b"no image")
    done = streetseg(*call, cwd=project)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "2 masks in masks",
        "no mask of night/0002.webp: is not an image",
    ]
    assert not [name for name in files(project / "masks") if "0002" in name], "of the image before"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (("bad.png",), "error: bad.png is not an image"),
        (
            ("bad", "bad.png"),
            "error: none of the 2 images can be used; the first, bad/1.png, is not an image",
        ),
        (
            ("street.png", "copies"),
            "error: street.png and copies/street.png would both be written to street.png_mask.png: "
            "give each its own --out, or name the folder that holds both",
        ),
        (("empty",), "empty holds no images (.png, .jpg, .jpeg, .webp)"),
        (("street.png", "nowhere"), "error: there is no image or folder nowhere"),
        ((".",), "would lie among the images of .: name a destination outside"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    streetseg: Command, project: Path, trained: Trained, sources: tuple[str, ...], message: str
) -> None:
    for folder in ("bad", "copies", "empty"):
        (project / folder).mkdir()
    (project / "bad" / "1.png").write_bytes(b"no image")
    (project / "bad.png").write_bytes(b"no image")
    shutil.copy(project / "drive" / "0001.png", project / "copies" / "street.png")
    done = streetseg("predict", *sources, "--model", trained.artifact, cwd=project)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert not list(project.rglob("*_mask.png"))


def test_one_image_named_twice_is_one(streetseg: Command, project: Path, trained: Trained) -> None:
    done = streetseg("predict", "drive", "drive/0001.png", "--model", trained.artifact, cwd=project)
    assert (done.returncode, done.stdout) == (0, "3 masks in outputs/predictions\n")
