"""From source frames to a prepared dataset."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from subprocess import PIPE
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import xxhash

from streetseg.config import Params, load_params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.frames import ids_in, perceptual_hash
from streetseg.imaging import decode_ids, encode_png, resize_rgb
from streetseg.labels import LabelSpace
from streetseg.prepare import prepare
from tests.layout import image_path, label_path, put, write_frames

FIRST = "aachen_000000_000000"
ARRAYS = ("images", "categories")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "source")


def settings(source: Path, prepared: Path, **more: object) -> Params:
    return load_params(
        overrides={
            "data.root": str(source),
            "data.prepared": str(prepared),
            "prepare.size": [32, 64],
            "prepare.workers": 1,
            **{key.replace("__", "."): value for key, value in more.items()},
        }
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_frame_becomes_an_image_and_its_categories(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    assert len(dataset.index) == 7
    assert dataset.size == (32, 64)
    for row in range(len(dataset.index)):
        assert dataset.image(row).shape == (32, 64, 3)
        assert dataset.categories(row).shape == (32, 64)
        assert dataset.image(row).dtype == dataset.categories(row).dtype == np.uint8


def test_labels_are_remapped_and_resized_without_inventing_any(
    source: Path, tmp_path: Path
) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    ids = decode_ids(label_path(source, "train", FIRST).read_bytes())
    blocks = ids[::8, ::8]  # the labels are blocks of 8 pixels, which halving leaves whole
    expected = np.kron(dataset.labels.category_of[blocks], np.ones((4, 4), np.uint8))
    np.testing.assert_array_equal(dataset.categories(0), expected)


def test_colours_are_the_mean_of_the_area(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    bgr = cv2.imread(str(image_path(source, "train", FIRST)))
    mean = bgr[..., ::-1].reshape(32, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(dataset.image(0) - mean).max() <= 1
    assert resize_rgb(bgr, (64, 128)) is bgr


def test_the_index_describes_each_frame(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    row = dataset.index.iloc[0]
    image = image_path(source, "train", FIRST)
    assert (row["frame"], row["split"], row["city"]) == (FIRST, "train", "aachen")
    assert source / row["image"] == image
    assert row["image_hash"] == xxhash.xxh3_128_hexdigest(image.read_bytes())
    assert (row["height"], row["width"]) == (64, 128)
    pixels = dataset.index.filter(like="pixels_")
    assert (pixels.sum(axis=1) == 32 * 64).all()
    ids = decode_ids(label_path(source, "train", FIRST).read_bytes())
    assert row["label_ids"].tolist() == np.unique(ids).tolist()


def test_the_evaluation_split_keeps_its_label_ids_at_native_size(
    source: Path, tmp_path: Path
) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    for row in dataset.rows("val"):
        truth = label_path(source, "val", dataset.index["frame"][row]).read_bytes()
        np.testing.assert_array_equal(dataset.label_ids(row), decode_ids(truth))
    assert not list(dataset.path.glob("train/*/label_ids"))


def test_the_bytes_do_not_depend_on_the_number_of_workers(source: Path, tmp_path: Path) -> None:
    one = prepare(settings(source, tmp_path / "one", prepare__workers=1))
    two = prepare(settings(source, tmp_path / "two", prepare__workers=2))
    assert digests(one) == digests(two)


def test_an_unchanged_city_keeps_its_shard(source: Path, tmp_path: Path) -> None:
    before = digests(prepare(settings(source, tmp_path / "prepared")))
    write_frames(source, {"train": {"zurich": 1}})
    after = digests(prepare(settings(source, tmp_path / "prepared")))
    shards = {name for name in before if name.endswith(".npy")}
    assert shards
    assert all(after[name] == before[name] for name in shards)


def test_the_dataset_says_what_it_is(source: Path, tmp_path: Path) -> None:
    description = json.loads(
        (prepare(settings(source, tmp_path / "prepared")) / "dataset.json").read_text()
    )
    assert description["source"] == "cityscapes"
    assert description["frames"] == {
        "train": {"aachen": 3, "bochum": 2},
        "val": {"munster": 2},
    }
    space = LabelSpace.from_dict(description["label_space"])
    assert space == LabelSpace.load("cityscapes")


def test_the_test_split_is_left_out_because_its_truth_is_withheld(
    source: Path, tmp_path: Path
) -> None:
    write_frames(source, {"test": {"berlin": 1}})
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    assert set(dataset.index["split"]) == {"train", "val"}


def no_frames(source: Path) -> Path:
    for path in source.rglob("*.png"):
        path.unlink()
    return source


def no_label(source: Path) -> Path:
    label_path(source, "train", FIRST).unlink()
    return image_path(source, "train", FIRST)


def no_image(source: Path) -> Path:
    image_path(source, "train", FIRST).unlink()
    return label_path(source, "train", FIRST)


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-50])
    return path


def corrupt_in_the_middle(source: Path) -> Path:
    path = image_path(source, "train", FIRST)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    return path


def relabelled(source: Path, ids: np.ndarray) -> Path:
    path = label_path(source, "train", FIRST)
    path.write_bytes(encode_png(ids))
    return path


DEFECTS = {
    "an empty folder": (no_frames, "holds no leftImg8bit"),
    "an image without its label": (no_label, "has no label"),
    "a label without its image": (no_image, "has no image"),
    "a truncated image": (lambda s: truncated(image_path(s, "train", FIRST)), "is truncated"),
    "a truncated label": (lambda s: truncated(label_path(s, "train", FIRST)), "is truncated"),
    "a corrupt image": (corrupt_in_the_middle, "cannot be decoded"),
    "an unknown id": (lambda s: relabelled(s, np.full((64, 128), 77, np.uint8)), "label id 77"),
    "a label of another size": (
        lambda s: relabelled(s, np.zeros((32, 64), np.uint8)),
        "is 128x64 but its label is 64x32",
    ),
    "a coloured label": (
        lambda s: relabelled(s, np.zeros((64, 128, 3), np.uint8)),
        "has RGB pixels",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_defect_is_one_clear_line_and_leaves_no_dataset(
    source: Path, tmp_path: Path, defect: str, workers: int
) -> None:
    spoil, said = DEFECTS[defect]
    at_fault = spoil(source)
    with pytest.raises(StreetsegError, match=said) as caught:
        prepare(settings(source, tmp_path / "prepared", prepare__workers=workers))
    name = at_fault.name.split("_leftImg8bit")[0].split("_gtFine")[0]
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    left = {path.name for path in tmp_path.iterdir()}
    assert left in ({"source"}, {"source", "prepared.partial"})


def test_a_shard_that_was_cut_short_is_named(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings(source, tmp_path / "prepared")))
    shard = next(dataset.path.glob("train/*/images.npy"))
    os.truncate(shard, 1000)
    with pytest.raises(StreetsegError, match=f"{shard} is missing or damaged: prepare or fetch"):
        [dataset.image(row) for row in dataset.rows("train")]


def test_a_failure_leaves_the_dataset_before_as_it_was(source: Path, tmp_path: Path) -> None:
    before = digests(prepare(settings(source, tmp_path / "prepared")))
    truncated(image_path(source, "train", FIRST))
    with pytest.raises(StreetsegError):
        prepare(settings(source, tmp_path / "prepared"))
    assert digests(tmp_path / "prepared") == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared", "prepared.partial"}


def test_a_dataset_that_is_whole_leaves_nothing_beside_it(source: Path, tmp_path: Path) -> None:
    truncated(image_path(source, "val", "munster_000000_000001"))
    with pytest.raises(StreetsegError):
        prepare(settings(source, tmp_path / "prepared"))
    write_frames(source)
    folder = prepare(settings(source, tmp_path / "prepared"))
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared"}
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "dataset.json",
        "index.parquet",
        "images.npy",
        "categories.npy",
        "munster_000000_000000.png",
        "munster_000000_000001.png",
    }


@pytest.mark.parametrize(
    "where",
    [lambda folder: folder / "nowhere", lambda folder: folder / "source" / "leftImg8bit"],
)
def test_a_folder_in_another_layout_is_refused(
    source: Path, tmp_path: Path, where: Callable[[Path], Path]
) -> None:
    with pytest.raises(StreetsegError, match=r"data\.root"):
        prepare(settings(where(tmp_path), tmp_path / "prepared"))


def test_a_place_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StreetsegError, match=r"cannot write .*set data\.prepared"):
        prepare(settings(source, tmp_path / "file" / "prepared"))


def test_a_folder_without_a_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="streetseg prepare"):
        PreparedDataset(tmp_path)


# Interruptions. A named pipe among the photographs holds a run up in the middle, for sure.


def identity(path: Path) -> tuple[int, int]:
    """What changes if a file is written again, although its bytes are the same."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


@contextmanager
def held_up_at(photograph: Path) -> Iterator[None]:
    """Let whoever reads a photograph wait, until the block ends and it is as it was."""
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


@pytest.mark.parametrize(
    ("signal_number", "workers"),
    [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGINT, 1), (signal.SIGINT, 2)],
)
def test_an_interrupted_run_is_gone_on_with(
    tmp_path: Path, signal_number: int, workers: int
) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = settings(source, tmp_path / "prepared", prepare__workers=workers)
    status, said = interrupted(
        params, signal_number, "train/bochum", image_path(source, "train", THIRD)
    )
    assert status in ((-signal.SIGKILL,) if signal_number == signal.SIGKILL else (1, 130))
    assert "Traceback" not in said
    assert not (tmp_path / "prepared").exists()

    shards = [f"train/{city}/{name}.npy" for city in ("aachen", "bochum") for name in ARRAYS]
    finished = {shard: identity(tmp_path / "prepared.partial" / shard) for shard in shards}
    assert not (tmp_path / "prepared.partial/train/bremen/shard.json").exists()

    subprocess.run(command(params), cwd=tmp_path, check=True, capture_output=True)
    assert {shard: identity(tmp_path / "prepared" / shard) for shard in shards} == finished
    assert digests(tmp_path / "prepared") == digests(prepare(settings(source, tmp_path / "fresh")))
    assert {path.name for path in tmp_path.iterdir()} == {
        "source",
        "prepared",
        "fresh",
        "outputs",
    }


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = settings(source, tmp_path / "prepared", prepare__workers=2)
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
    params = settings(source, tmp_path / "prepared")
    before = digests(prepare(params))
    interrupted(
        params,
        signal.SIGKILL,
        "train/aachen",
        image_path(source, "train", "bochum_000000_000001"),
    )
    assert digests(tmp_path / "prepared") == before


def stopped_in_val(source: Path, tmp_path: Path, **more: object) -> Path:
    """Finish the shards of train, stop in val, and mend what stopped it; returns the partial."""
    photograph = image_path(source, "val", "munster_000000_000001")
    data = photograph.read_bytes()
    truncated(photograph)
    with pytest.raises(StreetsegError):
        prepare(settings(source, tmp_path / "prepared", **more))
    photograph.write_bytes(data)
    partial = tmp_path / "prepared.partial"
    assert (partial / "train/aachen/shard.json").exists()
    assert (partial / "train/bochum/shard.json").exists()
    return partial


def another_picture(source: Path) -> None:
    image_path(source, "train", FIRST).write_bytes(encode_png(np.full((64, 128, 3), 9, np.uint8)))


def another_label(source: Path) -> None:
    relabelled(source, np.full((64, 128), 7, np.uint8))


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
    folder = prepare(settings(source, tmp_path / "prepared"))
    assert digests(folder) == digests(prepare(settings(source, tmp_path / "fresh")))
    if change is not one_frame_more:  # which writes every city's random pictures differently
        assert identity(folder / "train/bochum/images.npy") == kept


@pytest.mark.parametrize("more", [{"prepare__size": [64, 64]}, {"prepare__on_error": "skip"}])
def test_settings_that_changed_after_an_interruption_hold_for_every_shard(
    source: Path, tmp_path: Path, more: dict[str, object]
) -> None:
    stopped_in_val(source, tmp_path)
    folder = prepare(settings(source, tmp_path / "prepared", **more))
    assert digests(folder) == digests(prepare(settings(source, tmp_path / "fresh", **more)))


@pytest.mark.parametrize("note", ["", "{"])
def test_a_note_that_was_not_written_to_its_end_is_as_good_as_none(
    source: Path, tmp_path: Path, note: str
) -> None:
    partial = stopped_in_val(source, tmp_path)
    (partial / "train/aachen/shard.json").write_text(note)
    folder = prepare(settings(source, tmp_path / "prepared"))
    assert digests(folder) == digests(prepare(settings(source, tmp_path / "fresh")))


def test_a_dataset_opened_after_a_second_run_shows_the_new_pixels(
    source: Path, tmp_path: Path
) -> None:
    before = PreparedDataset(prepare(settings(source, tmp_path / "prepared"))).image(0)
    another_picture(source)
    after = PreparedDataset(prepare(settings(source, tmp_path / "prepared"))).image(0)
    assert (after == 9).all()
    assert (before != 9).any()


def test_a_city_that_changes_while_others_are_prepared_is_not_lost(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source", CITIES)
    params = settings(source, tmp_path / "prepared")
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
    assert len(PreparedDataset(prepare(settings(source, tmp_path / "prepared"))).index) == 7


# Frames that are skipped.

BAD = {
    "aachen_000000_000000": "aachen_000000_000000_leftImg8bit.png cannot be decoded",
    "aachen_000000_000002": "aachen_000000_000002_gtFine_labelIds.png is truncated",
    "aachen_000000_000004": "cannot read .*aachen_000000_000004_gtFine_labelIds.png: No such file",
    "munster_000000_000001": "munster_000000_000001_gtFine_labelIds.png holds label id 77",
}


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A source with four frames that cannot be used; ``clean`` is a dataset of it before."""
    source = write_frames(
        tmp_path / "source", {"train": {"aachen": 6, "bochum": 2}, "val": {"munster": 3}}
    )
    prepare(settings(source, tmp_path / "clean"))
    corrupt_in_the_middle(source)
    truncated(label_path(source, "train", "aachen_000000_000002"))
    label_path(source, "train", "aachen_000000_000004").unlink()
    unknown = np.full((64, 128), 77, np.uint8)
    label_path(source, "val", "munster_000000_000001").write_bytes(encode_png(unknown))
    return source


def skipping(source: Path, prepared: Path, workers: int = 1) -> PreparedDataset:
    more = {"prepare__on_error": "skip", "prepare__workers": workers}
    return PreparedDataset(prepare(settings(source, prepared, **more)))


def test_skipped_frames_are_listed_with_the_reason(spoilt: Path, tmp_path: Path) -> None:
    dataset = skipping(spoilt, tmp_path / "prepared")
    assert dataset.skipped["frame"].tolist() == list(BAD)
    assert dataset.skipped["row"].tolist() == [-1] * 4
    for frame, error in zip(dataset.skipped["frame"], dataset.skipped["error"], strict=True):
        assert re.search(BAD[frame], error)
        assert "\n" not in error
        assert str(tmp_path) not in error
    assert "error" not in dataset.index
    assert not set(dataset.index["frame"]) & BAD.keys()


def test_skipped_frames_leave_no_gaps(spoilt: Path, tmp_path: Path) -> None:
    clean = PreparedDataset(tmp_path / "clean")
    dataset = skipping(spoilt, tmp_path / "prepared")
    names = clean.index["frame"].tolist()
    assert dataset.index["frame"].tolist() == [name for name in names if name not in BAD]
    for row, name in enumerate(dataset.index["frame"]):
        same = names.index(name)
        np.testing.assert_array_equal(dataset.image(row), clean.image(same))
        np.testing.assert_array_equal(dataset.categories(row), clean.categories(same))
        measured = [c for c in dataset.index if c not in ("row", "label_ids")]
        assert dataset.index.loc[row, measured].equals(clean.index.loc[same, measured])
    assert dataset.index["row"].tolist() == [0, 1, 2, 0, 1, 0, 1]
    for name in ARRAYS:
        assert len(np.load(dataset.path / f"train/aachen/{name}.npy")) == 3
    for row in dataset.rows("val"):
        np.testing.assert_array_equal(
            dataset.label_ids(row), clean.label_ids(names.index(dataset.index["frame"][row]))
        )
    assert len(list(dataset.path.glob("val/munster/label_ids/*"))) == 2


def test_skipped_frames_are_counted(spoilt: Path, tmp_path: Path) -> None:
    description = json.loads(
        (skipping(spoilt, tmp_path / "prepared").path / "dataset.json").read_text()
    )
    assert description["skipped"] == 4
    assert description["frames"] == {
        "train": {"aachen": 3, "bochum": 2},
        "val": {"munster": 2},
    }


def test_skipping_gives_the_same_bytes_with_more_workers(spoilt: Path, tmp_path: Path) -> None:
    one = skipping(spoilt, tmp_path / "one")
    two = skipping(spoilt, tmp_path / "two", workers=2)
    assert digests(one.path) == digests(two.path)


def test_nothing_to_skip_gives_the_arrays_of_a_run_that_would_fail(
    source: Path, tmp_path: Path
) -> None:
    failing = prepare(settings(source, tmp_path / "failing"))
    assert digests(skipping(source, tmp_path / "skipping").path) == digests(failing)


def test_a_city_without_a_usable_frame_has_no_shard(source: Path, tmp_path: Path) -> None:
    for path in source.glob("gtFine/train/bochum/*"):
        truncated(path)
    dataset = skipping(source, tmp_path / "prepared")
    assert sorted(path.name for path in dataset.path.glob("*/*")) == ["aachen", "munster"]
    assert set(dataset.skipped["city"]) == {"bochum"}
    assert len(dataset.index) == 5


def test_no_usable_frame_at_all_is_one_clear_line(source: Path, tmp_path: Path) -> None:
    for path in source.rglob("*_labelIds.png"):
        truncated(path)
    with pytest.raises(
        StreetsegError, match=r"no frame of .* can be used: .*is truncated"
    ) as caught:
        skipping(source, tmp_path / "prepared")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


# Destinations.


@pytest.mark.parametrize("where", [".", "prepared", "gtFine/train", ".."])
def test_a_destination_that_overlaps_the_source_is_refused(
    source: Path, tmp_path: Path, where: str
) -> None:
    before = digests(tmp_path)
    with pytest.raises(StreetsegError, match=r"data\.prepared .* data\.root .* overlap"):
        prepare(settings(source, source / where))
    assert digests(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"source"}


def test_a_link_does_not_hide_that_the_source_is_the_destination(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(source)
    before = digests(source)
    with pytest.raises(StreetsegError, match="overlap"):
        prepare(settings(source, tmp_path / "link"))
    assert digests(source) == before


def test_the_source_is_not_taken_for_the_remains_of_an_interrupted_run(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "prepared.partial")
    before = digests(source)
    with pytest.raises(StreetsegError, match="overlap"):
        prepare(settings(source, tmp_path / "prepared"))
    assert digests(source) == before


def test_something_else_at_the_destination_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared/thesis.txt").write_text("two years")
    with pytest.raises(StreetsegError, match=r"holds no dataset\.json, so it is not replaced"):
        prepare(settings(source, tmp_path / "prepared"))
    assert [path.name for path in tmp_path.rglob("prepared/*")] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared"}


def test_an_empty_destination_is_used(source: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    assert len(PreparedDataset(prepare(settings(source, tmp_path / "prepared"))).index) == 7


def test_a_destination_may_be_a_link_to_a_dataset(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "prepared").symlink_to(tmp_path / "elsewhere")
    assert len(PreparedDataset(prepare(settings(source, tmp_path / "prepared"))).index) == 7


# Measures.


def scene(seed: int, size: tuple[int, int] = (256, 512)) -> np.ndarray:
    """Soft patches of colour: RGB uint8[H, W, 3]."""
    patches = np.random.default_rng(seed).integers(0, 255, (8, 16, 3), np.uint8)
    return cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)


def difference(one: str, other: str) -> float:
    """The share of bits in which two hashes differ."""
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
    params = settings(root / "source", root / "prepared", prepare__size=[64, 128])
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


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_shrinking_takes_the_mean_of_the_area(factor: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16 * factor, 32 * factor, 3), np.uint8)
    mean = rgb.reshape(16, factor, 32, factor, 3).mean(axis=(1, 3))
    # Halving again and again rounds each time, to the nearest.
    assert np.abs(resize_rgb(rgb, (16, 32)) - mean).max() <= (1 if factor < 8 else 1.5)


def test_a_jpeg_with_a_giant_size_in_its_header_is_one_bad_frame(
    source: Path, tmp_path: Path
) -> None:
    data = bytearray(cv2.imencode(".jpg", np.zeros((64, 128), np.uint8))[1].tobytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    label_path(source, "train", FIRST).write_bytes(data)
    dataset = PreparedDataset(
        prepare(settings(source, tmp_path / "prepared", prepare__on_error="skip"))
    )
    assert [FIRST in error for error in dataset.skipped["error"]] == [True]


def test_two_runs_at_once_do_not_mix(source: Path, tmp_path: Path) -> None:
    from streetseg.atomic import new_folder

    destination = tmp_path / "prepared"
    with new_folder(destination, "dataset.json", resumable=True) as folder:
        (folder / "dataset.json").write_text("{}")
        with pytest.raises(StreetsegError, match="another process is writing"):
            prepare(settings(source, destination))
    assert (destination / "dataset.json").read_text() == "{}"


def test_what_a_run_replaces_is_there_until_it_is_replaced(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(prepare(settings(source, tmp_path / "prepared")))
    write_frames(source, {"train": {"zurich": 1}})
    rename = Path.rename

    def fails_at_the_end(path: Path, target: Path) -> Path:
        if path.name == "prepared.partial":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fails_at_the_end)
        with pytest.raises(StreetsegError, match="No space left"):
            prepare(settings(source, tmp_path / "prepared"))
    assert digests(tmp_path / "prepared") == before
    assert len(digests(prepare(settings(source, tmp_path / "prepared")))) > len(before)
