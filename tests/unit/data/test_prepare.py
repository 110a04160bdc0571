"""From source frames to a prepared dataset."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import INDEX, PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_png
from streetseg.images.resize import resize_rgb
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


def test_every_frame_becomes_an_image_and_its_categories(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    assert len(dataset.index) == 7
    assert dataset.size == (32, 64)
    for row in range(len(dataset.index)):
        assert dataset.image(row).shape == (32, 64, 3)
        assert dataset.categories(row).shape == (32, 64)
        assert dataset.image(row).dtype == dataset.categories(row).dtype == np.uint8


def test_labels_are_remapped_and_resized_without_inventing_any(
    source: Path, tmp_path: Path
) -> None:
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    ids = decode_ids(label_path(source, "train", FIRST).read_bytes())
    blocks = ids[::8, ::8]  # the labels are blocks of 8 pixels, which halving leaves whole
    expected = np.kron(dataset.labels.category_of[blocks], np.ones((4, 4), np.uint8))
    np.testing.assert_array_equal(dataset.categories(0), expected)


def test_colours_are_the_mean_of_the_area(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    bgr = cv2.imread(str(image_path(source, "train", FIRST)))
    mean = bgr[..., ::-1].reshape(32, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(dataset.image(0) - mean).max() <= 1
    assert resize_rgb(bgr, (64, 128)) is bgr


def test_the_index_describes_each_frame(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
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
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    for row in dataset.rows("val"):
        truth = label_path(source, "val", dataset.index["frame"][row]).read_bytes()
        np.testing.assert_array_equal(dataset.label_ids(row), decode_ids(truth))
    assert not list(dataset.path.glob("train/*/label_ids"))


def test_the_bytes_do_not_depend_on_the_number_of_workers(source: Path, tmp_path: Path) -> None:
    one = prepare(small_recipe(source, tmp_path / "one", prepare__workers=1))
    two = prepare(small_recipe(source, tmp_path / "two", prepare__workers=2))
    assert digests(one) == digests(two)


def test_an_unchanged_city_keeps_its_shard(source: Path, tmp_path: Path) -> None:
    before = digests(prepare(small_recipe(source, tmp_path / "prepared")))
    write_frames(source, {"train": {"zurich": 1}})
    after = digests(prepare(small_recipe(source, tmp_path / "prepared")))
    shards = {name for name in before if name.endswith(".npy")}
    assert shards
    assert all(after[name] == before[name] for name in shards)


def test_the_dataset_says_what_it_is(source: Path, tmp_path: Path) -> None:
    description = json.loads(
        (prepare(small_recipe(source, tmp_path / "prepared")) / "dataset.json").read_text()
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
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
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
        prepare(small_recipe(source, tmp_path / "prepared", prepare__workers=workers))
    name = at_fault.name.split("_leftImg8bit")[0].split("_gtFine")[0]
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    left = {path.name for path in tmp_path.iterdir()}
    assert left in ({"source"}, {"source", "prepared.partial"})


def test_data_that_took_255_for_license_plates_is_prepared_again(
    source: Path, tmp_path: Path
) -> None:
    folder = prepare(small_recipe(source, tmp_path / "prepared"))
    index = pd.read_parquet(folder / INDEX)
    index.at[0, "label_ids"] = [7, 255]
    index.to_parquet(folder / INDEX, index=False)
    with pytest.raises(StreetsegError, match=r"id 255 to the label of id -1, .*: prepare it again"):
        PreparedDataset(folder)


def test_a_shard_that_was_cut_short_is_named(source: Path, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    shard = next(dataset.path.glob("train/*/images.npy"))
    os.truncate(shard, 1000)
    with pytest.raises(StreetsegError, match=f"{shard} is missing or damaged: prepare or fetch"):
        [dataset.image(row) for row in dataset.rows("train")]


def test_a_failure_leaves_the_dataset_before_as_it_was(source: Path, tmp_path: Path) -> None:
    before = digests(prepare(small_recipe(source, tmp_path / "prepared")))
    truncated(image_path(source, "train", FIRST))
    with pytest.raises(StreetsegError):
        prepare(small_recipe(source, tmp_path / "prepared"))
    assert digests(tmp_path / "prepared") == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared", "prepared.partial"}


def test_a_dataset_that_is_whole_leaves_nothing_beside_it(source: Path, tmp_path: Path) -> None:
    truncated(image_path(source, "val", "munster_000000_000001"))
    with pytest.raises(StreetsegError):
        prepare(small_recipe(source, tmp_path / "prepared"))
    write_frames(source)
    folder = prepare(small_recipe(source, tmp_path / "prepared"))
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
        prepare(small_recipe(where(tmp_path), tmp_path / "prepared"))


def test_a_place_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StreetsegError, match=r"cannot write .*set data\.prepared"):
        prepare(small_recipe(source, tmp_path / "file" / "prepared"))


def test_a_folder_without_a_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="streetseg prepare"):
        PreparedDataset(tmp_path)


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
    prepare(small_recipe(source, tmp_path / "clean"))
    corrupt_in_the_middle(source)
    truncated(label_path(source, "train", "aachen_000000_000002"))
    label_path(source, "train", "aachen_000000_000004").unlink()
    unknown = np.full((64, 128), 77, np.uint8)
    label_path(source, "val", "munster_000000_000001").write_bytes(encode_png(unknown))
    return source


def skipping(source: Path, prepared: Path, workers: int = 1) -> PreparedDataset:
    more = {"prepare__on_error": "skip", "prepare__workers": workers}
    return PreparedDataset(prepare(small_recipe(source, prepared, **more)))


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
    for name in ("images", "categories"):
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
    failing = prepare(small_recipe(source, tmp_path / "failing"))
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
        prepare(small_recipe(source, source / where))
    assert digests(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"source"}


def test_a_link_does_not_hide_that_the_source_is_the_destination(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(source)
    before = digests(source)
    with pytest.raises(StreetsegError, match="overlap"):
        prepare(small_recipe(source, tmp_path / "link"))
    assert digests(source) == before


def test_the_source_is_not_taken_for_the_remains_of_an_interrupted_run(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "prepared.partial")
    before = digests(source)
    with pytest.raises(StreetsegError, match="overlap"):
        prepare(small_recipe(source, tmp_path / "prepared"))
    assert digests(source) == before


def test_something_else_at_the_destination_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared/thesis.txt").write_text("two years")
    with pytest.raises(StreetsegError, match=r"holds no dataset\.json, so it is not replaced"):
        prepare(small_recipe(source, tmp_path / "prepared"))
    assert [path.name for path in tmp_path.rglob("prepared/*")] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "prepared"}


def test_an_empty_destination_is_used(source: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    assert len(PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared"))).index) == 7


def test_a_destination_may_be_a_link_to_a_dataset(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "prepared").symlink_to(tmp_path / "elsewhere")
    assert len(PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared"))).index) == 7


def test_a_jpeg_with_a_giant_size_in_its_header_is_one_bad_frame(
    source: Path, tmp_path: Path
) -> None:
    data = bytearray(cv2.imencode(".jpg", np.zeros((64, 128), np.uint8))[1].tobytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    label_path(source, "train", FIRST).write_bytes(data)
    dataset = PreparedDataset(
        prepare(small_recipe(source, tmp_path / "prepared", prepare__on_error="skip"))
    )
    assert [FIRST in error for error in dataset.skipped["error"]] == [True]


@pytest.mark.parametrize("key", ["format", "size", "source", "cities_are_places", "label_space"])
def test_a_damaged_dataset_is_one_clear_line(source: Path, tmp_path: Path, key: str) -> None:
    path = prepare(small_recipe(source, tmp_path / "prepared")) / "dataset.json"
    description = json.loads(path.read_text())
    del description[key]
    path.write_text(json.dumps(description))
    with pytest.raises(StreetsegError, match="holds a damaged dataset: prepare or fetch it again"):
        PreparedDataset(path.parent)
