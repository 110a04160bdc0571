"""Label images that are not numbered by label ids: recognized, stated or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.core.errors import StreetsegError
from streetseg.data import numbering as numbering_of_data
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.listings import find_listing
from streetseg.data.numbering import (
    better_numberings,
    listed_numbering,
    numbering,
    other_numberings,
    recognize,
    refuse_improbable,
)
from streetseg.data_quality.explore import sampled
from streetseg.images.encode import encode_palette_png, encode_png
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import label_path, small_recipe, write_frames

SPACE = LabelSpace.load("cityscapes")
TRAIN_ID = np.array([IGNORE] * 256, np.uint8)
for known in SPACE.drawn:
    TRAIN_ID[known.id] = known.train_id
PAIR = {
    "images": "leftImg8bit/{split}/{city}/{name}_leftImg8bit.png",
    "labels": "gtFine/{split}/{city}/{name}_gtFine_labelIds.png",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "source")


def renumbered(source: Path, table: np.ndarray, palette: np.ndarray | None = None) -> Path:
    """The source with the ids of its label images looked up in a table uint8[256]."""
    for path in source.glob("gtFine/*/*/*.png"):
        ids = cv2.LUT(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), table)
        path.write_bytes(encode_png(ids) if palette is None else encode_palette_png(ids, palette))
    return source


def prepared(source: Path, tmp_path: Path, **settings: Any) -> PreparedDataset:
    own = layouts.own(tmp_path / "own", {"label_space": "cityscapes", "pairs": [PAIR], **settings})
    return layouts.prepared(own, source)


def true_ids(source: Path, tmp_path: Path) -> np.ndarray:
    """The label ids at native size of a frame of val, before they are renumbered."""
    return cv2.imread(str(label_path(source, "val", "munster_000000_000000")), -1)


def stored_ids(dataset: PreparedDataset) -> np.ndarray:
    row = dataset.index.index[dataset.index["frame"] == "munster_000000_000000"][0]
    return dataset.label_ids(row)


MIXED_UP: dict[str, tuple[np.ndarray, str]] = {
    "train": (TRAIN_ID, r"hold the ids 0-18, 255, more likely train ids"),
    "category": (SPACE.category_of, r"hold the ids 0-7, more likely category ids"),
}


@pytest.mark.parametrize("ids", MIXED_UP)
def test_ids_of_another_numbering_are_refused_before_anything_is_prepared(
    source: Path, tmp_path: Path, ids: str
) -> None:
    table, said = MIXED_UP[ids]
    said += f" than label ids of 'cityscapes': say which by 'ids: {ids}' in data.source or"
    renumbered(source, table)
    with pytest.raises(StreetsegError, match=f"the label images of train in {source} {said}"):
        prepared(source, tmp_path)
    assert not [path for path in tmp_path.iterdir() if "prepared" in path.name]
    params = small_recipe(source, tmp_path / "out")
    with pytest.raises(StreetsegError, match=said), sampled(params, 4):
        pass


def test_a_single_split_of_another_numbering_is_refused(source: Path, tmp_path: Path) -> None:
    for path in source.glob("gtFine/val/*/*.png"):
        path.write_bytes(encode_png(cv2.LUT(cv2.imread(str(path), -1), SPACE.category_of)))
    with pytest.raises(StreetsegError, match=r"images of val .* more likely category ids"):
        prepared(source, tmp_path)


def test_train_ids_are_prepared_once_they_are_stated(source: Path, tmp_path: Path) -> None:
    truth = true_ids(source, tmp_path)
    scored = ~SPACE.ignored_in_eval[truth]
    dataset = prepared(renumbered(source, TRAIN_ID), tmp_path, ids="train")
    stored = stored_ids(dataset)
    np.testing.assert_array_equal(stored[scored], truth[scored])
    assert (stored[~scored] == IGNORE).all()
    assert dataset.labels == SPACE
    official = {label.id for label in SPACE.labels if not label.ignore_in_eval}
    assert {*np.concatenate(dataset.index["label_ids"])} == official
    for row in range(len(dataset.index)):
        kept = set(np.unique(dataset.categories(row)))
        assert kept <= {1, 2, 3, 4, 5, 6, 7, IGNORE}


@pytest.mark.parametrize("way", ["stated", "shown by the palette"])
def test_our_own_masks_are_prepared_as_their_categories(
    source: Path, tmp_path: Path, way: str
) -> None:
    plain = layouts.prepared("cityscapes", source)
    if way == "stated":
        renumbered(source, SPACE.category_of)
        dataset = prepared(source, tmp_path, ids="category")
    else:
        renumbered(source, SPACE.category_of, SPACE.palette)
        dataset = prepared(source, tmp_path)
    for row in range(len(plain.index)):
        np.testing.assert_array_equal(dataset.categories(row), plain.categories(row))
    expected = SPACE.representative_ids[SPACE.category_of[stored_ids(plain)]]
    np.testing.assert_array_equal(stored_ids(dataset), expected)


def test_label_ids_that_look_otherwise_are_taken_if_stated(source: Path, tmp_path: Path) -> None:
    renumbered(source, SPACE.category_of)
    truth = true_ids(source, tmp_path)
    dataset = prepared(source, tmp_path, ids="label")
    np.testing.assert_array_equal(stored_ids(dataset), truth)


def test_another_numbering_is_not_resumed_from(source: Path, tmp_path: Path) -> None:
    renumbered(source, SPACE.category_of)
    by_label = prepared(source, tmp_path, ids="label").categories(0)
    by_category = prepared(source, tmp_path, ids="category").categories(0)
    assert (SPACE.representative_ids[by_category] >= by_label).all()
    assert (by_category != by_label).any()


# label_colors.txt of an export of Datumaro or CVAT

NAMES = ["bridge", "building", "car", "person", "road", "sky", "traffic light", "vegetation"]
COLORS = {label.name: label.color for label in SPACE.labels}


def listing(path: Path, names: list[str], background: int | None = None) -> Path:
    lines = [f"{' '.join(map(str, COLORS[name]))} {name}" for name in names]
    if background is not None:
        lines.insert(background, "0 0 0 background")
    path.write_text("\n".join(["# r g b name", *lines, ""]))
    return path


def exported(source: Path, names: list[str]) -> np.ndarray:
    """Number the labels ``names`` from 1, all others 0; returns the true ids by that number."""
    table, truth = np.zeros(256, np.uint8), [0]
    for number, name in enumerate(names, 1):
        label = next(label for label in SPACE.labels if label.name == name)
        table[label.id] = number
        truth.append(label.id)
    renumbered(source, table)
    return np.array(truth, np.uint8)


@pytest.mark.parametrize("background", [None, 0])
@pytest.mark.parametrize(
    "spelling", [str, str.upper, lambda text: text.replace("traffic l", "trafficL")]
)
def test_an_export_is_read_by_the_names_that_it_lists(
    source: Path,
    tmp_path: Path,
    background: int | None,
    spelling: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    truth = exported(source, NAMES)
    path = listing(source / "label_colors.txt", NAMES, background)
    path.write_text(spelling(path.read_text()))
    numbers = true_ids(source, tmp_path)
    dataset = layouts.prepared("cityscapes", source)
    np.testing.assert_array_equal(stored_ids(dataset), truth[numbers])
    said = capsys.readouterr().err
    assert f"the label images of val in {source} are numbered by {path}\n" in said
    names = {SPACE.names[number] for row in (0, 1) for number in np.unique(dataset.categories(row))}
    assert names == {"void", "construction", "vehicle", "human", "flat", "sky", "object", "nature"}


def test_an_export_of_all_classes_without_its_listing_is_refused(
    source: Path, tmp_path: Path
) -> None:
    names = sorted(label.name for label in SPACE.drawn if not label.ignore_in_eval)
    exported(source, names)
    with pytest.raises(StreetsegError, match=r"no likely label ids of 'cityscapes': they show nat"):
        layouts.prepared("cityscapes", source)
    listing(source / "label_colors.txt", names)
    assert layouts.prepared("cityscapes", source).category_pixels(np.array([0]))[1:].all()


def test_the_nearest_listing_counts(source: Path, tmp_path: Path) -> None:
    truth = exported(source, NAMES)
    listing(source / "label_colors.txt", NAMES[::-1])
    listing(source / "gtFine" / "val" / "label_colors.txt", NAMES)
    numbers = true_ids(source, tmp_path)
    np.testing.assert_array_equal(
        stored_ids(layouts.prepared("cityscapes", source)), truth[numbers]
    )


def test_a_listing_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listing(tmp_path / "label_colors.txt", NAMES)
    read, reader = [], numbering_of_data.listed_numbering
    monkeypatch.setattr(
        numbering_of_data, "listed_numbering", lambda *of: read.append(of) or reader(*of)
    )
    found = [recognize(b"", tmp_path / f"{number}.png", tmp_path, SPACE) for number in range(3)]
    assert found[0] is found[1] is found[2]
    assert read == [(path, SPACE)]


def test_a_changed_listing_prepares_again(source: Path, tmp_path: Path) -> None:
    exported(source, NAMES)
    before = listing(source / "label_colors.txt", NAMES)
    first = layouts.prepared("cityscapes", source).categories(0).copy()
    before.write_text(listing(before, NAMES[::-1]).read_text())
    assert (layouts.prepared("cityscapes", source).categories(0) != first).any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "1 2 3 tram\n",
            "lists 'tram', which the label space 'cityscapes' does not define: rename",
        ),
        ("70 70 70 building\n0 0 0 background\n", "lists the background after 'building', so that"),
        ("0 0 0 building\n1 2 3 road\n", "gives black, which is also what nobody annotated, to 'b"),
        ("building\nbackground\n", "lists the background after 'building', so that"),
    ],
)
def test_a_listing_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "label_colors.txt"
    path.write_text(text)
    with pytest.raises(StreetsegError, match=f"{path} {said}"):
        listed_numbering(path, SPACE)


def test_a_listing_without_colours_counts_from_one(tmp_path: Path) -> None:
    path = tmp_path / "label_colors.txt"
    path.write_text(" road\n car\n traffic light\n")
    meaning = listed_numbering(path, SPACE)
    assert np.flatnonzero(meaning.defined).tolist() == [0, 1, 2, 3]
    assert meaning.label_ids[:4].tolist() == [0, 7, 26, 19]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("labelmap.txt", "road:1,2,3::\n", True),
        ("labelmap.txt", "road\ncar\n", False),  # as other tools call a list of names
        ("class_names.txt", "_background_\nroad\n", True),
        ("label_names.txt", "__ignore__\n_background_\nroad\n", True),
        ("class_names.txt", "road\ncar\n", False),
    ],
)
def test_only_a_listing_of_a_label_tool_counts(
    name: str, text: str, found: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert find_listing(tmp_path / "masks/a.png", tmp_path) == (path if found else None)


def test_a_listing_of_labelme_may_begin_with_what_it_ignores(tmp_path: Path) -> None:
    path = tmp_path / "label_names.txt"
    path.write_text("__ignore__\n_background_\nroad\ncar\n")
    assert listed_numbering(path, SPACE).label_ids[:3].tolist() == [0, 7, 26]


def test_the_ids_of_cityscapes_itself_may_be_listed(tmp_path: Path) -> None:
    path = listing(tmp_path / "label_colors.txt", [label.name for label in SPACE.labels])
    meaning = listed_numbering(path, SPACE)
    assert meaning.label_ids[:35].tolist() == [*range(34), IGNORE]  # the last is license plate


def test_a_stated_numbering_counts_more_than_a_listing(source: Path, tmp_path: Path) -> None:
    truth = true_ids(source, tmp_path)
    listing(source / "label_colors.txt", NAMES)
    np.testing.assert_array_equal(stored_ids(prepared(source, tmp_path, ids="label")), truth)


def test_a_value_that_is_not_listed_is_refused(source: Path, tmp_path: Path) -> None:
    listing(source / "label_colors.txt", NAMES)
    with pytest.raises(StreetsegError, match=r"_labelIds\.png holds label id"):
        layouts.prepared("cityscapes", source)


# What is probable


@pytest.mark.parametrize(
    ("ids", "better"),
    [
        ([7], []),
        ([0, 7], []),
        ([0, 7, 8], []),
        ([0, 7, 11, 17, 21, 23, 24, 26], []),
        ([7, 8, 11, 12, 13, 17], []),
        (range(34), []),
        ([0, 1, 2, 3, 4, 7, 8, 11, 23, 26], []),
        (range(8), ["category"]),
        ([0, 1, 2, 4, 5], ["category", "train"]),
        (range(19), ["train"]),
        ([*range(19), 255], ["train"]),
        ([0, 1, 2, 5, 8, 10, 13], ["train"]),
        ([*range(8), 255], ["category"]),
        ([99, 200], []),
    ],
)
def test_ids_of_cityscapes_fit_one_numbering_best(ids: list[int], better: list[str]) -> None:
    values = np.zeros(256, bool)
    values[list(ids)] = True
    assert better_numberings(values, SPACE)[: len(better) or None] == better


@pytest.mark.parametrize(
    ("ids", "missing"),
    [
        (range(20), "nature, sky, human, vehicle"),
        (range(26), "vehicle"),
        ([*range(24), 25], None),
        ([0, 1, 2, 4, 5, 8, 11, 13, 19], "nature, sky, human, vehicle"),
        ([4, 5, 6, 7, 8, 11, 13, 17, 19, 20, 21], None),
        ([3, 4, 5, 7, 8, 11, 12, 17, 20, 23, 26], None),
        (range(34), None),
        ([0, 7, 8, 11, 12, 13, 17, 19, 20], None),
    ],
)
def test_ids_that_count_the_labels_of_an_export_are_refused(
    ids: list[int], missing: str | None
) -> None:
    values = np.zeros(256, bool)
    values[list(ids)] = True
    if missing is None:
        refuse_improbable(values, SPACE, "the masks", "--ids {}")
    else:
        said = rf"they show {missing} nowhere; an export .* label_colors.txt .* state --ids label$"
        with pytest.raises(StreetsegError, match=said):
            refuse_improbable(values, SPACE, "the masks", "--ids {}")


@pytest.mark.parametrize(
    ("ids", "others"),
    [
        ([0, 7], "category or train ids: say which by --ids label or --ids category"),
        ([7], "category or train ids"),
        ([1, 2], "category or train ids"),
        ([7, 11, 17], "train ids: say which by --ids label or --ids train"),
        ([7, 21], None),
        (range(34), None),
        ([], None),
    ],
)
def test_ids_that_may_be_others_are_told(
    ids: list[int], others: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.zeros(256, bool)
    values[list(ids)] = True
    refuse_improbable(values, SPACE, "the masks", "--ids {}", min_ids=3)
    told = capsys.readouterr().err
    if others is None:
        assert told == ""
    else:
        assert told.startswith("warning: the masks hold the ids ")
        assert f"read as label ids of 'cityscapes' and may be {others}" in told
        assert told.count("\n") == 1


def test_labels_of_few_ids_are_prepared_with_a_word(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = np.where(SPACE.category_of == 1, 7, 0).astype(np.uint8)
    dataset = layouts.prepared("cityscapes", renumbered(source, few))
    assert dataset.category_pixels(dataset.rows("val"))[1] > 0
    told = capsys.readouterr().err
    for split in ("train", "val"):
        masks = f"warning: the label images of {split} in {source} hold the ids 0, 7, which are"
        assert f"{masks} read as label ids of 'cityscapes' and may be category or train ids" in told


@pytest.mark.parametrize("name", ["bdd100k-drivable", "bdd100k-drivable-2018", "kitti-road"])
def test_a_space_in_which_each_label_is_a_category_is_never_doubted(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = LabelSpace.load(name)
    assert better_numberings(space.known, space) == []
    refuse_improbable(space.known, space, "the masks", "--ids {}")
    assert capsys.readouterr().err == ""


def test_categories_of_carla_are_no_tags() -> None:
    values = np.zeros(256, bool)
    values[:8] = True
    assert better_numberings(values, LabelSpace.load("carla")) == ["category"]


def test_a_numbering_that_a_space_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="'carla' has no train ids: give its labels"):
        numbering(LabelSpace.load("carla"), "train")
    root = layouts.carla(tmp_path / "source")
    own = layouts.own(
        tmp_path / "own",
        {
            "label_space": "carla",
            "ids": "category",
            "pairs": [{"images": "CameraRGB/{name}.png", "labels": "CameraSeg/{name}.png"}],
        },
    )
    with pytest.raises(StreetsegError, match="ids has no effect on the label space 'carla'"):
        layouts.prepared(own, root)


@pytest.mark.parametrize("colors", ["train", "label"])
def test_a_palette_of_train_ids_or_label_ids_is_recognized(
    source: Path, tmp_path: Path, colors: str
) -> None:
    truth = true_ids(source, tmp_path)
    palette = np.zeros((256, 3), np.uint8)
    for label in reversed(SPACE.drawn):
        palette[label.train_id if colors == "train" else label.id] = label.color
    renumbered(source, TRAIN_ID if colors == "train" else np.arange(256, dtype=np.uint8), palette)
    stored = stored_ids(prepared(source, tmp_path))
    expected = np.where(SPACE.ignored_in_eval[truth], IGNORE, truth) if colors == "train" else truth
    np.testing.assert_array_equal(stored, expected)
    assert Image.open(label_path(source, "val", "munster_000000_000000")).mode == "P"


def test_a_source_whose_ids_a_palette_contradicts_gets_a_warning(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renumbered(source, SPACE.category_of, SPACE.palette)
    prepared(source, tmp_path, ids="train")
    said = capsys.readouterr().err
    assert "aachen_000000_000000_gtFine_labelIds.png has the palette of category ids, and" in said
    assert "is read as train ids, as 'ids: train' says" in said
    prepared(source, tmp_path, ids="category")
    assert "warning" not in capsys.readouterr().err


def test_train_ids_of_classes_are_their_category_ids(source: Path, tmp_path: Path) -> None:
    classes = LabelSpace.load("cityscapes-19")
    (other,) = other_numberings(classes)
    assert other.name == "train"
    dataset = layouts.prepared("cityscapes-19", source)
    assert stored_ids(dataset).tolist() == true_ids(source, tmp_path).tolist()
    renumbered(source, TRAIN_ID)
    said = r"hold the ids 0-18, 255, more likely train ids than label ids of 'cityscapes-19'"
    with pytest.raises(StreetsegError, match=said):
        layouts.prepared("cityscapes-19", source)


@pytest.mark.parametrize(
    ("ids", "better"),
    [([0, 1, 3, 7, 8, 11, 23], []), ([*range(19)], ["train"]), ([7, 8, 11, 12, 13, 17], [])],
)
def test_label_ids_of_few_classes_are_not_taken_for_train_ids(
    ids: list[int], better: list[str]
) -> None:
    values = np.isin(np.arange(256), ids)
    assert better_numberings(values, LabelSpace.load("cityscapes-19")) == better
