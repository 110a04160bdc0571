"""Prepared data of another source than the settings name is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data import origin
from streetseg.data.dataset import PreparedDataset
from streetseg.data.origin import open_prepared
from streetseg.data.prepare import prepare
from tests.conftest import Command
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import digests, small_recipe


def raw(folder: Path) -> Path:
    """A folder with frames of its own, its source and its label space."""
    layouts.own_pictures(folder)
    for path in folder.rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + folder.name.encode())  # behind the image's end
    layouts.own(folder)
    return folder


def recipe(folder: Path, prepared: Path) -> Params:
    return small_recipe(folder, prepared, data__source=str(folder / "source.yaml"))


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """Settings of a prepared source called ``munich``."""
    settings = recipe(raw(tmp_path / "munich"), tmp_path / "prepared")
    prepare(settings)
    return settings


def edit(path: Path, **changes: object) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_the_dataset_says_what_it_was_made_of(params: Params) -> None:
    description = json.loads((params.data.prepared / "dataset.json").read_text())
    assert description["source"] == "source.yaml"
    assert description["source_name"] == "munich"
    assert open_prepared(params).origin == "munich (source.yaml)"


def test_a_source_may_have_a_name(params: Params) -> None:
    edit(Path(params.data.source), name="Munich at night")
    with pytest.raises(StreetsegError, match=r"is called 'munich', that of .* 'Munich at"):
        open_prepared(params)
    prepare(params)
    assert open_prepared(params).name == "Munich at night"


def test_frames_of_another_folder_with_the_same_layout_are_refused(
    params: Params, tmp_path: Path
) -> None:
    other = recipe(raw(tmp_path / "berlin"), params.data.prepared)
    with pytest.raises(StreetsegError, match=r"other frames of munich than those in .*/berlin"):
        open_prepared(other)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("labels.yaml", {"name": "other"}, "its label space is not that of"),
        ("source.yaml", {"val_share": 0.4}, "patterns or splits in .*source.yaml are not those"),
    ],
)
def test_a_source_edited_since_is_refused(
    params: Params, file: str, changes: dict[str, object], said: str
) -> None:
    edit(params.data.root / file, **changes)
    with pytest.raises(StreetsegError, match=f"{said}.*: run 'streetseg prepare' again"):
        open_prepared(params)


def test_label_images_edited_since_are_told(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    open_prepared(params)
    assert capsys.readouterr().err == ""
    layouts.write(params.data.root / "masks/north/frame_4.png", layouts.filled([3, 5]))
    open_prepared(params)
    told = capsys.readouterr().err
    assert "at least 1 frames changed (such as masks/north/frame_4.png)" in told
    assert "'streetseg prepare' takes that over" in told


def test_a_label_edited_before_the_dataset_was_checked_out_is_told(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(origin, "SAMPLE", 1)
    label = PreparedDataset(params.data.prepared).index["label"].iloc[1]
    layouts.write(params.data.root / label, layouts.filled([3, 5]))
    description = params.data.prepared / "dataset.json"
    description.write_bytes(description.read_bytes())  # newer than the label, as by 'dvc checkout'
    open_prepared(params)
    assert f"at least 1 frames changed (such as {label})" in capsys.readouterr().err


def test_a_copy_elsewhere_is_no_other_source(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(params.data.root, tmp_path / "elsewhere")
    open_prepared(params.override({"data.root": str(tmp_path / "elsewhere")}))
    assert capsys.readouterr().err == ""


def test_what_is_not_here_to_compare_with_is_told(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for settings, why in (
        ({"data.source": "pod/source.yaml"}, "pod/source.yaml is not on this machine"),
        ({"data.root": "nowhere"}, "data.root = nowhere is not on this machine"),
        ({"data.root": str(tmp_path / "empty")}, f"{tmp_path}/empty holds no "),
    ):
        open_prepared(params.override(settings))
        told = capsys.readouterr().err
        taken = f"{params.data.prepared}, of munich (source.yaml), is taken as it is: {why}"
        assert told.startswith(taken)
        assert told.count("\n") == 1


def test_an_absolute_root_does_not_change_the_data_version(params: Params, tmp_path: Path) -> None:
    shutil.copytree(params.data.root, tmp_path / "mnt/munich")
    moved = prepare(recipe(tmp_path / "mnt/munich", tmp_path / "again"))
    assert digests(moved) == digests(params.data.prepared)


def test_a_dataset_of_0_1_0_is_read_and_its_label_space_compared(params: Params) -> None:
    path = params.data.prepared / "dataset.json"
    description = json.loads(path.read_text())
    for key in ("source_name", "source_hash"):
        del description[key]
    path.write_text(json.dumps(description))
    assert open_prepared(params).origin == "source.yaml"
    edit(params.data.root / "labels.yaml", name="other")
    with pytest.raises(StreetsegError, match="its label space is not that of"):
        open_prepared(params)
    assert PreparedDataset(params.data.prepared).name == ""


@pytest.mark.parametrize(
    "command", [("train",), ("tune",), ("evaluate",), ("validate",), ("explore", "--prepared")]
)
def test_every_command_that_reads_the_dataset_compares(
    params: Params, tmp_path: Path, streetseg: Command, command: tuple[str, ...]
) -> None:
    other = recipe(raw(tmp_path / "berlin"), params.data.prepared)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(other.to_dict()))
    result = streetseg(*command, cwd=tmp_path)
    assert result.returncode == 1
    assert "was made of other frames of munich than those in" in result.stderr
    assert len(result.stderr.splitlines()) == 1
