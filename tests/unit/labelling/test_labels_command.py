"""`streetseg labels export|import` with a registered model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.images.decode import decode_ids, read_image
from streetseg.inference.artifact import weights_sha256
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.register import register
from streetseg.registry.versions import ModelVersion, find
from streetseg.tracking.store import connect
from tests.conftest import Command, Trained


@pytest.fixture(scope="module")
def version(params: Params, trained: Trained) -> ModelVersion:
    """A registered version of the trained network."""
    evaluation = read_evaluation(trained.evaluation)
    return register(trained.artifact, evaluation, judge(evaluation, params.gate), params)


@pytest.fixture
def frames(cityscapes: Path, tmp_path: Path) -> Path:
    """Two frames, one of which is no image, and a selection that tells where the other was."""
    folder = tmp_path / "frames"
    folder.mkdir()
    image = min(cityscapes.glob("leftImg8bit/val/*/*.png"))
    shutil.copy(image, folder / "street.png")
    (folder / "broken.png").write_bytes(b"no image")
    selection = {"frames": [{"name": "street.png", "source": "day1/0007.png"}]}
    (folder / "selection.json").write_text(json.dumps(selection))
    return folder


def test_labels_go_out_and_come_in_again(
    streetseg: Command, frames: Path, params: Params, version: ModelVersion, trained: Trained
) -> None:
    out, new = frames.parent / "out", frames.parent / "new"
    registry = ("--set", f"registry.tracking_uri={params.registry.tracking_uri}")
    done = streetseg(
        "labels", "export", "--images", frames, "--model", version.uri, "--out", out, *registry
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        f"1 frames, pre-labelled by {version.name} version {version.version}, in {out}"
    )
    assert "warning: broken.png is not an image: left out" in done.stderr
    segmenter = Segmenter(trained.artifact)
    rgb = read_image(frames / "street.png")
    assert (read_image(out / "prelabels/street.png", decode_ids) == segmenter.predict(rgb)).all()

    done = streetseg(
        "labels", "import", out, "--prelabels", out, "--out", new, "--record", *registry
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        f"{new}: 1 exported, 1 labelled; 0.00% of the pixels corrected"
    )
    provenance = json.loads((new / "provenance.json").read_text())
    assert provenance["model"]["weights_sha256"] == weights_sha256(trained.artifact)
    assert provenance["frames"]["street"]["origin"] == "day1/0007.png"
    tags = find(connect(params.registry), version.name, version.version).tags
    assert (tags["corrected_share"], tags["corrected_frames"]) == ("0.000000", "1")


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    streetseg: Command, frames: Path, trained: Trained
) -> None:
    out, new = frames.parent / "out", frames.parent / "new"
    done = streetseg(
        "labels", "export", "--images", frames, "--model", trained.artifact, "--out", out,
        "--tolerance", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = streetseg("labels", "import", out, "--prelabels", out, "--out", new, "--record")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {trained.artifact} is no registered version, so that nothing can be recorded: "
        "leave --record out"
    )
    assert not new.exists()
    done = streetseg("labels", "import", out, "--prelabels", out, "--out", new, "--json")
    assert json.loads(done.stdout)["corrected"] == 0
    ids = read_image(new / "labels/street.png", decode_ids)
    labels = Segmenter(trained.artifact).labels
    predicted = Segmenter(trained.artifact).predict(read_image(frames / "street.png"))
    assert np.array_equal(labels.category_of[ids], predicted)


def test_a_folder_without_usable_images_is_refused(
    streetseg: Command, frames: Path, trained: Trained
) -> None:
    (frames / "street.png").unlink()
    out = frames.parent / "out"
    done = streetseg(
        "labels", "export", "--images", frames, "--model", trained.artifact, "--out", out
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: none of the 1 images in {frames} can be used; the first, broken.png, is not an "
        "image"
    )
    assert not out.exists()
    inside = ("labels", "export", "--images", frames, "--model", trained.artifact)
    done = streetseg(*inside, "--out", frames / "out")
    assert "would lie among the images of" in done.stderr
