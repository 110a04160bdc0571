"""From source frames to a prepared dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import xxhash

from streetseg.config import Params, load_params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.imaging import decode_ids, encode_png, resize_rgb
from streetseg.labels import LabelSpace
from streetseg.prepare import prepare
from tests.layout import image_path, label_path, write_frames

FIRST = "aachen_000000_000000"


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
def test_a_defect_is_one_clear_line_and_leaves_nothing_behind(
    source: Path, tmp_path: Path, defect: str, workers: int
) -> None:
    spoil, said = DEFECTS[defect]
    at_fault = spoil(source)
    with pytest.raises(StreetsegError, match=said) as caught:
        prepare(settings(source, tmp_path / "prepared", prepare__workers=workers))
    name = at_fault.name.split("_leftImg8bit")[0].split("_gtFine")[0]
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_failure_leaves_the_dataset_before_as_it_was(source: Path, tmp_path: Path) -> None:
    before = digests(prepare(settings(source, tmp_path / "prepared")))
    truncated(image_path(source, "train", FIRST))
    with pytest.raises(StreetsegError):
        prepare(settings(source, tmp_path / "prepared"))
    assert digests(tmp_path / "prepared") == before


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
