"""Preparing what was prepared before, whole or in part: interrupted, changed, or in use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.images.encode import encode_png
from tests.support.cityscapes_layout import (
    digests,
    image_path,
    label_path,
    small_recipe,
    write_frames,
)

FIRST = "aachen_000000_000000"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "source")


def identity(path: Path) -> tuple[int, int]:
    """What changes if a file is written again, although its bytes are the same."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


@contextmanager
def held_up_at(photograph: Path) -> Iterator[None]:
    """Let whoever reads a photograph wait, until the block ends and it is as it was.

    A named pipe in its place holds a run up in the middle, for sure.
    """
    data = photograph.read_bytes()
    photograph.unlink()
    os.mkfifo(photograph)
    yield
    photograph.unlink()
    photograph.write_bytes(data)


def command(params: Params) -> list[str]:
    told = [
        f"data.root={params.data.root}",
        f"data.prepared={params.data.prepared}",
        f"prepare.size={list(params.prepare.size)}",
        f"prepare.workers={params.prepare.workers}",
    ]
    return [sys.executable, "-m", "streetseg", "prepare", *(f"--set={setting}" for setting in told)]


def interrupted(params: Params, signal_number: int, after: str, at: Path) -> tuple[int, str]:
    """Send a signal to a run that finished the shard ``after`` and reads the photograph ``at``.

    Returns:
        The status that it ended with, and what it said.
    """
    folder = params.data.prepared.parent
    said = folder.parent / f"{folder.name}.log"
    with (
        held_up_at(at),
        said.open("w") as log,
        subprocess.Popen(command(params), cwd=folder, stderr=log, start_new_session=True) as run,
    ):
        while not (folder / "prepared.partial" / after / "shard.json").exists():
            assert run.poll() is None, said.read_text()
            time.sleep(0.01)
        writer = open_when_read(at, run)
        if signal_number == signal.SIGINT:
            os.killpg(run.pid, signal_number)  # as a terminal does
        else:
            run.send_signal(signal_number)
        os.close(writer)
        status = run.wait()
    return status, said.read_text()


def open_when_read(pipe: Path, run: subprocess.Popen[Any]) -> int:
    """Open a named pipe for writing, as soon as a run waits for what is written."""
    while run.poll() is None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    raise AssertionError(f"ended with status {run.returncode} without reading {pipe}")


CITIES = {
    "train": {"aachen": 3, "bochum": 2, "bremen": 2, "ulm": 3, "zurich": 2},
    "val": {"munster": 2},
}
THIRD = "bremen_000000_000001"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal_number", "workers"),
    [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGINT, 1), (signal.SIGINT, 2)],
)
def test_an_interrupted_run_is_gone_on_with(
    tmp_path: Path, signal_number: int, workers: int
) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = small_recipe(source, tmp_path / "prepared", prepare__workers=workers)
    status, said = interrupted(
        params, signal_number, "train/bochum", image_path(source, "train", THIRD)
    )
    assert status in ((-signal.SIGKILL,) if signal_number == signal.SIGKILL else (1, 130))
    assert "Traceback" not in said
    assert not (tmp_path / "prepared").exists()

    shards = [
        f"train/{city}/{name}.npy"
        for city in ("aachen", "bochum")
        for name in ("images", "categories")
    ]
    finished = {shard: identity(tmp_path / "prepared.partial" / shard) for shard in shards}
    assert not (tmp_path / "prepared.partial/train/bremen/shard.json").exists()

    subprocess.run(command(params), cwd=tmp_path, check=True, capture_output=True)
    assert {shard: identity(tmp_path / "prepared" / shard) for shard in shards} == finished
    assert digests(tmp_path / "prepared") == digests(
        prepare(small_recipe(source, tmp_path / "fresh"))
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "source",
        "prepared",
        "fresh",
        "outputs",
    }


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = small_recipe(source, tmp_path / "prepared", prepare__workers=2)
    photograph = image_path(source, "train", THIRD)
    with (
        held_up_at(photograph),
        subprocess.Popen(command(params), cwd=tmp_path, stderr=PIPE, start_new_session=True) as run,
    ):
        writer = open_when_read(photograph, run)
        run.kill()
        os.close(writer)
        try:
            run.communicate(timeout=20)  # its standard error ends when the last worker does
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise


def test_an_interruption_leaves_the_dataset_before_as_it_was(source: Path, tmp_path: Path) -> None:
    params = small_recipe(source, tmp_path / "prepared")
    before = digests(prepare(params))
    interrupted(
        params,
        signal.SIGKILL,
        "train/aachen",
        image_path(source, "train", "bochum_000000_000001"),
    )
    assert digests(tmp_path / "prepared") == before


def stopped_in_val(source: Path, tmp_path: Path, **more: object) -> Path:
    """Finish the shards of train, stop in val, and fix what stopped it; returns the partial."""
    photograph = image_path(source, "val", "munster_000000_000001")
    data = photograph.read_bytes()
    photograph.write_bytes(data[:-50])
    with pytest.raises(StreetsegError):
        prepare(small_recipe(source, tmp_path / "prepared", **more))
    photograph.write_bytes(data)
    partial = tmp_path / "prepared.partial"
    assert (partial / "train/aachen/shard.json").exists()
    assert (partial / "train/bochum/shard.json").exists()
    return partial


def another_picture(source: Path) -> None:
    image_path(source, "train", FIRST).write_bytes(encode_png(np.full((64, 128, 3), 9, np.uint8)))


def another_label(source: Path) -> None:
    label_path(source, "train", FIRST).write_bytes(encode_png(np.full((64, 128), 7, np.uint8)))


def one_frame_more(source: Path) -> None:
    write_frames(source, {"train": {"aachen": 4}})


def one_frame_less(source: Path) -> None:
    for path in (image_path, label_path):
        path(source, "train", "aachen_000000_000001").unlink()


def one_city_less(source: Path) -> None:
    for folder in ("leftImg8bit", "gtFine"):
        shutil.rmtree(source / folder / "train/aachen")


@pytest.mark.parametrize(
    "change", [another_picture, another_label, one_frame_more, one_frame_less, one_city_less]
)
def test_a_city_that_changed_after_an_interruption_is_made_anew(
    source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    partial = stopped_in_val(source, tmp_path)
    kept = identity(partial / "train/bochum/images.npy")
    change(source)
    folder = prepare(small_recipe(source, tmp_path / "prepared"))
    assert digests(folder) == digests(prepare(small_recipe(source, tmp_path / "fresh")))
    if change is not one_frame_more:  # which writes every city's random images differently
        assert identity(folder / "train/bochum/images.npy") == kept


@pytest.mark.parametrize("more", [{"prepare__size": [64, 64]}, {"prepare__on_error": "skip"}])
def test_settings_that_changed_after_an_interruption_hold_for_every_shard(
    source: Path, tmp_path: Path, more: dict[str, object]
) -> None:
    stopped_in_val(source, tmp_path)
    folder = prepare(small_recipe(source, tmp_path / "prepared", **more))
    assert digests(folder) == digests(prepare(small_recipe(source, tmp_path / "fresh", **more)))


@pytest.mark.parametrize("note", ["", "{"])
def test_a_note_that_was_not_written_to_its_end_is_as_good_as_none(
    source: Path, tmp_path: Path, note: str
) -> None:
    partial = stopped_in_val(source, tmp_path)
    (partial / "train/aachen/shard.json").write_text(note)
    folder = prepare(small_recipe(source, tmp_path / "prepared"))
    assert digests(folder) == digests(prepare(small_recipe(source, tmp_path / "fresh")))


def test_a_dataset_opened_after_a_second_run_shows_the_new_pixels(
    source: Path, tmp_path: Path
) -> None:
    before = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared"))).image(0)
    another_picture(source)
    after = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared"))).image(0)
    assert (after == 9).all()
    assert (before != 9).any()


def test_a_city_that_changes_while_others_are_prepared_is_not_lost(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = small_recipe(source, tmp_path / "prepared")
    photograph = image_path(source, "train", THIRD)
    data = photograph.read_bytes()
    with (
        held_up_at(photograph),
        subprocess.Popen(command(params), cwd=tmp_path, stderr=PIPE, text=True) as run,
    ):
        writer = open_when_read(photograph, run)
        another_picture(source)
        os.write(writer, data)
        os.close(writer)
        _, said = run.communicate()
    assert "Traceback" not in said
    if run.returncode == 0:
        index = PreparedDataset(tmp_path / "prepared").index
        assert set(index["city"]) == {*CITIES["train"], *CITIES["val"]}


def test_what_a_file_manager_leaves_does_not_matter(source: Path, tmp_path: Path) -> None:
    (stopped_in_val(source, tmp_path) / "train/.DS_Store").write_text("")
    assert len(PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared"))).index) == 7


def test_two_runs_at_once_do_not_mix(source: Path, tmp_path: Path) -> None:
    from streetseg.core.atomic_files import atomic_folder

    destination = tmp_path / "prepared"
    with atomic_folder(destination, "dataset.json", resumable=True) as folder:
        (folder / "dataset.json").write_text("{}")
        with pytest.raises(StreetsegError, match="another process is writing"):
            prepare(small_recipe(source, destination))
    assert (destination / "dataset.json").read_text() == "{}"


def test_what_a_run_replaces_is_there_until_it_is_replaced(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(prepare(small_recipe(source, tmp_path / "prepared")))
    write_frames(source, {"train": {"zurich": 1}})
    rename = Path.rename

    def fails_at_the_end(path: Path, target: Path) -> Path:
        if path.name == "prepared.partial":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fails_at_the_end)
        with pytest.raises(StreetsegError, match="No space left"):
            prepare(small_recipe(source, tmp_path / "prepared"))
    assert digests(tmp_path / "prepared") == before
    assert len(digests(prepare(small_recipe(source, tmp_path / "prepared")))) > len(before)
