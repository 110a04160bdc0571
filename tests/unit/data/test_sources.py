"""Data sets as published, and one's own: what is found, and what its labels become."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import compress

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.sources import LAYOUTS, load_source
from tests.support import source_layouts as layouts
from tests.support.png_files import png
from tests.support.source_layouts import (
    BDD_MAPS,
    BDD_MAPS_2018,
    BLACK,
    MAGENTA,
    RED,
    filled,
    pair,
    prepared,
)

CARLA_PLACES = {
    "CameraSeg at the root": ("", "CameraSeg"),
    "CameraMask at the root": ("", "CameraMask"),
    "CameraSeg of a recording": ("dataA", "CameraSeg"),
    "CameraMask of a recording": ("dataA", "CameraMask"),
    "CameraSeg in a nested recording": ("dataA/dataA", "CameraSeg"),
    "CameraMask in a nested recording": ("dataA/dataA", "CameraMask"),
}

PUBLISHED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "Cityscapes": ("cityscapes", layouts.cityscapes),
    "Cityscapes, classes": ("cityscapes-19", layouts.cityscapes),
    "Cityscapes, coarse": ("cityscapes-coarse", layouts.cityscapes_coarse),
    "Cityscapes, coarse alone": (
        "cityscapes-coarse",
        partial(layouts.cityscapes_coarse, fine=False),
    ),
    "BDD100K masks": ("bdd100k-drivable", layouts.bdd100k),
    "BDD100K maps": ("bdd100k-drivable", partial(layouts.bdd100k, labels=BDD_MAPS)),
    "BDD100K maps, older names": (
        "bdd100k-drivable",
        partial(layouts.bdd100k, labels=BDD_MAPS_2018),
    ),
    "BDD100K maps of 2018": (
        "bdd100k-drivable-2018",
        partial(layouts.bdd100k, labels=BDD_MAPS_2018),
    ),
    "KITTI road": ("kitti-road", layouts.kitti_road),
    **{
        f"{source}, {place}": (source, partial(layouts.carla, folder=folder, labels=labels))
        for source in ("carla", "carla-0.9.13", "carla-13")
        for place, (folder, labels) in CARLA_PLACES.items()
    },
}

# The published tables, merged into categories. None: the pixel neither trains nor counts.
CITYSCAPES = {
    **dict.fromkeys(range(0, 7), "void"),
    **dict.fromkeys((7, 8, 9, 10), "flat"),
    **dict.fromkeys((11, 12, 13, 14, 15, 16), "construction"),
    **dict.fromkeys((17, 18, 19, 20), "object"),
    **dict.fromkeys((21, 22), "nature"),
    23: "sky",
    **dict.fromkeys((24, 25), "human"),
    **dict.fromkeys(range(26, 34), "vehicle"),
}
CLASSES = dict.fromkeys(range(34)) | {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
CARLA = {
    0: "void",  # unlabeled
    1: "flat",  # road
    2: "flat",  # sidewalk
    3: "construction",  # building
    4: "construction",  # wall
    5: "construction",  # fence
    6: "object",  # pole
    7: "object",  # traffic light
    8: "object",  # traffic sign
    9: "nature",  # vegetation
    10: "nature",  # terrain
    11: "sky",
    12: "human",  # pedestrian
    13: "human",  # rider
    14: "vehicle",  # car
    15: "vehicle",  # truck
    16: "vehicle",  # bus
    17: "vehicle",  # train
    18: "vehicle",  # motorcycle
    19: "vehicle",  # bicycle
    20: "void",  # static
    21: "void",  # dynamic
    22: "void",  # other
    23: "void",  # water
    24: "flat",  # road line
    25: "void",  # ground
    26: "construction",  # bridge
    27: "flat",  # rail track
    28: "construction",  # guard rail
    29: "nature",  # rock
}
CARLA_0_9_13 = {
    0: "void",  # unlabeled
    1: "construction",  # building
    2: "construction",  # fence
    3: "void",  # other
    4: "human",  # pedestrian
    5: "object",  # pole
    6: "flat",  # road line
    7: "flat",  # road
    8: "flat",  # sidewalk
    9: "nature",  # vegetation
    10: "vehicle",
    11: "construction",  # wall
    12: "object",  # traffic sign
    13: "sky",
    14: "void",  # ground
    15: "construction",  # bridge
    16: "flat",  # rail track
    17: "construction",  # guard rail
    18: "object",  # traffic light
    19: "void",  # static
    20: "void",  # dynamic
    21: "void",  # water
    22: "nature",  # terrain
}
CARLA_13 = {number: CARLA_0_9_13[number] for number in range(13)}
BDD100K = {0: "direct", 1: "alternative", 2: "background", 255: None}
BDD100K_2018 = {0: "background", 1: "direct", 2: "alternative", 255: None}
KITTI = {RED: "background", MAGENTA: "road", BLACK: None}

TABLES: dict[str, tuple[dict[int, str | None], Callable[..., Path]]] = {
    "cityscapes": (CITYSCAPES, layouts.cityscapes),
    "cityscapes-19": (CLASSES, layouts.cityscapes),
    "carla": (CARLA, layouts.carla),
    "carla-0.9.13": (CARLA_0_9_13, layouts.carla),
    "carla-13": (CARLA_13, layouts.carla),
    "bdd100k-drivable": (BDD100K, layouts.bdd100k),
    "bdd100k-drivable-2018": (BDD100K_2018, partial(layouts.bdd100k, labels=BDD_MAPS_2018)),
}


def found(source: str | Path, root: Path) -> list[tuple[str, str, str]]:
    return [(f.split, f.city, f.name) for f in load_source(str(source)).find(root)]


def test_cityscapes_has_a_folder_for_each_city(tmp_path: Path) -> None:
    assert found("cityscapes", layouts.cityscapes(tmp_path)) == [
        ("train", "aachen", "aachen_000000_000009"),
        ("train", "aachen", "aachen_000000_000010"),
        ("train", "bad-honnef", "bad-honnef_000000_000000"),
        ("val", "munster", "munster_000000_000000"),
    ]


@pytest.mark.parametrize("fine", [True, False])
def test_coarse_cityscapes_trains_on_train_and_train_extra(tmp_path: Path, fine: bool) -> None:
    assert found("cityscapes-coarse", layouts.cityscapes_coarse(tmp_path, fine=fine)) == [
        ("train", "aachen", "aachen_000000_000009"),
        ("train", "aachen", "aachen_000000_000010"),
        ("train", "augsburg", "augsburg_000000_000009"),
        ("train", "augsburg", "augsburg_000000_000010"),
        ("val", "munster", "munster_000000_000009"),
        ("val", "munster", "munster_000000_000010"),
    ]


@pytest.mark.parametrize(("fine", "scored_on"), [(True, "sky"), (False, "flat")])
def test_coarse_cityscapes_is_scored_on_the_fine_labels_where_they_are(
    tmp_path: Path, fine: bool, scored_on: str
) -> None:
    root = layouts.cityscapes_coarse(tmp_path / "coarse", fine=fine)
    dataset = prepared("cityscapes-coarse", root)
    names = dataset.labels.names
    assert {names[c] for r in dataset.rows("train") for c in np.unique(dataset.categories(r))} == {
        "flat"
    }
    assert {names[c] for r in dataset.rows("val") for c in np.unique(dataset.categories(r))} == {
        scored_on
    }


@pytest.mark.parametrize("source", ["carla", "carla-0.9.13", "carla-13"])
@pytest.mark.parametrize("place", CARLA_PLACES)
def test_the_end_of_each_carla_recording_is_val_in_the_order_of_recording(
    tmp_path: Path, source: str, place: str
) -> None:
    folder, labels = CARLA_PLACES[place]
    city = "dataA" if folder else "all"
    prefix = "dataA_" if folder else ""
    assert found(source, layouts.carla(tmp_path, folder, labels)) == [
        *(("train", city, f"{prefix}F61-{number}") for number in range(1, 11)),
        *(("val", city, f"{prefix}F61-{number}") for number in (11, 12)),
    ]


def test_each_of_several_recordings_is_split(tmp_path: Path) -> None:
    for recording in ("dataA", "dataB"):
        layouts.carla(tmp_path, f"{recording}/{recording}")
    frames = found("carla-13", tmp_path)
    assert [(split, city) for split, city, _ in frames] == [
        *[("train", "dataA")] * 10,
        *[("train", "dataB")] * 10,
        *[("val", "dataA")] * 2,
        *[("val", "dataB")] * 2,
    ]
    assert len({name for _, _, name in frames}) == 24


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        ("bdd100k-drivable", layouts.BDD_MASKS),
        ("bdd100k-drivable", BDD_MAPS),
        ("bdd100k-drivable", BDD_MAPS_2018),
        ("bdd100k-drivable-2018", BDD_MAPS_2018),
    ],
)
def test_bdd100k_is_found_under_each_name_that_its_labels_have_had(
    tmp_path: Path, source: str, labels: str
) -> None:
    assert found(source, layouts.bdd100k(tmp_path, labels)) == [
        ("train", "00", "0000f77c-6257be58"),
        ("train", "00", "0000f77c-cb820c98"),
        ("val", "b1", "b1c66a42-6f7d68ca"),
    ]


def test_the_kinds_of_kitti_road_are_split_each_and_lanes_are_left_out(tmp_path: Path) -> None:
    kinds = ("um", "umm", "uu")
    frames = load_source("kitti-road").find(layouts.kitti_road(tmp_path))
    assert [(f.split, f.city, f.name) for f in frames] == [
        *(("train", kind, f"{kind}_00000{number}") for kind in kinds for number in range(4)),
        *(("val", kind, f"{kind}_000004") for kind in kinds),
    ]
    assert {f.label.name.split("_")[1] for f in frames} == {"road"}
    assert {f.image.relative_to(tmp_path).parts[0] for f in frames} == {"training"}


@pytest.mark.parametrize("published", PUBLISHED)
def test_every_published_layout_becomes_a_dataset(tmp_path: Path, published: str) -> None:
    source, write = PUBLISHED[published]
    root = write(tmp_path / "source")
    dataset = prepared(source, root)
    frames = load_source(source).find(root)
    assert dataset.index["frame"].tolist() == [frame.name for frame in frames]
    assert (dataset.source, len(dataset.skipped)) == (source, 0)
    for row, frame in enumerate(frames):
        assert root / dataset.index["image"][row] == frame.image
        assert root / dataset.index["label"][row] == frame.label
        assert dataset.image(row).shape == (32, 64, 3)
    if frames[0].image.suffix == ".png":
        np.testing.assert_array_equal(dataset.image(0), np.array(Image.open(frames[0].image)))


@pytest.mark.parametrize("source", sorted(path.stem for path in LAYOUTS.glob("*.yaml")))
def test_every_shipped_layout_is_well_formed(source: str) -> None:
    assert load_source(source).labels.names


@pytest.mark.parametrize("source", TABLES)
def test_every_id_becomes_the_category_of_the_published_table(tmp_path: Path, source: str) -> None:
    table, write = TABLES[source]
    dataset = prepared(source, write(tmp_path / "source", ids=table))
    assert {label.id for label in dataset.labels.labels} - {-1} == table.keys()
    number = {name: dataset.labels.names.index(name) for name in set(table.values()) - {None}}
    expected = np.vectorize(lambda drawn: number.get(table[drawn], IGNORE))(filled(table))
    for row in range(len(dataset.index)):
        np.testing.assert_array_equal(dataset.categories(row), expected)
        assert dataset.index["label_ids"][row].tolist() == sorted(table)


def test_every_kitti_colour_becomes_the_category_of_the_readme(tmp_path: Path) -> None:
    dataset = prepared("kitti-road", layouts.kitti_road(tmp_path / "source", list(KITTI)))
    names = dict(enumerate(dataset.labels.names)) | {IGNORE: None}
    expected = np.resize(list(KITTI.values()), 32 * 64).tolist()
    for row in range(len(dataset.index)):
        assert [names[c] for c in dataset.categories(row).ravel().tolist()] == expected


@pytest.mark.parametrize("source", TABLES)
def test_the_evaluation_split_keeps_ids_however_they_are_drawn(tmp_path: Path, source: str) -> None:
    table, write = TABLES[source]
    dataset = prepared(source, write(tmp_path / "source", ids=table))
    for row in dataset.rows("val"):
        np.testing.assert_array_equal(dataset.label_ids(row), filled(table))


def test_kitti_keeps_the_ids_of_its_colours(tmp_path: Path) -> None:
    dataset = prepared("kitti-road", layouts.kitti_road(tmp_path / "source"))
    for row in dataset.rows("val"):
        np.testing.assert_array_equal(dataset.label_ids(row), filled([1, 0, 255]))


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_the_red_channel_is_read_whatever_is_beside_it(tmp_path: Path, mode: str) -> None:
    root = layouts.carla(tmp_path / "source")
    for path in root.glob("CameraSeg/*.png"):
        picture = Image.open(path)
        if mode == "RGBA":
            picture.putalpha(0)
        else:
            picture = picture.getchannel("R")
        picture.save(path)
    dataset = prepared("carla-13", root)
    np.testing.assert_array_equal(
        dataset.categories(0), dataset.labels.category_of[filled(range(13))]
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_indices_of_a_palette_are_the_ids(tmp_path: Path, bits: int) -> None:
    root = layouts.bdd100k(tmp_path / "source")
    for path in root.glob("labels/**/*.png"):
        picture = Image.open(path)
        picture.putpalette([219, 94, 86, 86, 211, 219, 0, 0, 0])
        picture.save(path, bits=bits)
        assert Image.open(path).mode == "P"
    dataset = prepared("bdd100k-drivable", root)
    for row in range(len(dataset.index)):
        np.testing.assert_array_equal(dataset.categories(row), filled([0, 1, 2]))
    for row in dataset.rows("val"):
        np.testing.assert_array_equal(dataset.label_ids(row), filled([0, 1, 2]))


def test_grey_levels_of_four_bits_are_ids_too(tmp_path: Path) -> None:
    root = layouts.cityscapes(tmp_path / "source", ids=[0, 1])
    for path in root.glob("gtFine/**/*_labelIds.png"):
        path.write_bytes(four_bit_png(filled([0, 1])))
    dataset = prepared("cityscapes", root)
    assert dataset.index["label_ids"][0].tolist() == [0, 1]


def test_a_red_channel_of_sixteen_bits_is_not_taken_for_void(tmp_path: Path) -> None:
    root = layouts.carla(tmp_path / "source")
    dataset = prepared("carla-13", root)
    before = [dataset.label_ids(row) for row in dataset.rows("val")]
    for path in root.glob("CameraSeg/*.png"):
        bgr = cv2.imread(str(path)).astype(np.uint16)
        path.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
    deep = prepared("carla-13", root)
    after = [deep.label_ids(row) for row in deep.rows("val")]
    np.testing.assert_array_equal(after, before)


def four_bit_png(ids: np.ndarray) -> bytes:
    """Encode ids below 16 as some optimisers of PNG do: two pixels a byte."""
    rows = (ids[:, 0::2] << 4 | ids[:, 1::2]).tolist()
    pixels = compress(b"".join(b"\0" + bytes(row) for row in rows))
    return png(ids.shape[1], ids.shape[0], depth=4, data=pixels)


@pytest.mark.parametrize("encoding", ["ids", "red", "colors"])
def test_labels_of_ones_own_are_read_as_their_file_says(tmp_path: Path, encoding: str) -> None:
    source = layouts.own(tmp_path / "recipe", labels={"encoding": encoding})
    dataset = prepared(source, layouts.own_pictures(tmp_path / "pictures", encoding))
    assert dataset.labels.names == ["ground", "rest"]
    for row in range(len(dataset.index)):
        np.testing.assert_array_equal(dataset.categories(row), filled([0, 0, 1, IGNORE]))
    for row in dataset.rows("val"):
        np.testing.assert_array_equal(dataset.label_ids(row), filled([3, 5, 8, 200]))


def test_a_shipped_label_space_serves_a_source_of_ones_own(tmp_path: Path) -> None:
    source = layouts.own(tmp_path, {"label_space": "carla"})
    assert load_source(str(source)).file_labels == LabelSpace.load("carla")


@pytest.mark.parametrize(
    ("settings", "train", "val"),
    [
        ({}, {"north": 8, "south": 8}, {"north": 2, "south": 2}),
        ({"val_share": 0.5}, {"north": 5, "south": 5}, {"north": 5, "south": 5}),
        ({"val_share": 0.01}, {"north": 9, "south": 9}, {"north": 1, "south": 1}),
        ({"val_cities": ["south"]}, {"north": 10}, {"south": 10}),
    ],
)
def test_a_source_of_ones_own_says_what_is_held_out(
    tmp_path: Path, settings: dict[str, Any], train: dict[str, int], val: dict[str, int]
) -> None:
    source = layouts.own(tmp_path / "recipe", settings)
    frames = found(source, layouts.own_pictures(tmp_path / "pictures"))
    for split, expected in (("train", train), ("val", val)):
        counted = [city for where, city, _ in frames if where == split]
        assert {city: counted.count(city) for city in counted} == expected
    last = [name for split, city, name in frames if (split, city) == ("val", "south")]
    assert last == [f"south_frame_{number}" for number in range(11 - len(last), 11)]


def test_a_large_share_leaves_something_to_train_on(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    for number in (1, 2):
        layouts.write_photo(root / f"photos/north/{number}.jpg")
        layouts.write(root / f"masks/north/{number}.png", filled([3]))
    frames = found(layouts.own(tmp_path / "recipe", {"val_share": 0.9}), root)
    assert [split for split, _, _ in frames] == ["train", "val"]


@pytest.mark.parametrize("folder", ["left [0]", "left}"])
def test_a_folder_may_have_any_name(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "pictures"
    for number in (1, 2):
        layouts.write_photo(root / folder / f"{number}.jpg")
        layouts.write(root / folder / f"{number}.png", filled([3]))
    patterns = (f"{folder}/{{name}}.jpg", f"{folder}/{{name}}.png")
    source = layouts.own(tmp_path / "recipe", pair(*patterns))
    assert [name for _, _, name in found(source, root)] == ["1", "2"]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("{split}/{city}/{name}.jpg", "{split}/{city}/{name}.png"),
        ("img/{split}_{city}_{name}.jpeg", "seg/{city}/{split}/{name}-mask.png"),
        ("{city}/a/{split}/{name}.png", "{city}/b/{split}/{name}.png"),
    ],
)
def test_a_pattern_may_name_the_split(tmp_path: Path, images: str, labels: str) -> None:
    source = layouts.own(tmp_path / "recipe", {"pairs": [{"images": images, "labels": labels}]})
    root = layouts.own_pictures(tmp_path / "pictures", pairs=(images, labels))
    assert found(source, root) == [
        *(("train", "north", f"north_frame_{number}") for number in range(1, 11)),
        *(("val", "south", f"south_frame_{number}") for number in range(1, 11)),
    ]
    assert len(prepared(source, root).index) == 20


def test_without_cities_the_start_of_a_name_bounds_the_shards(tmp_path: Path) -> None:
    pair = {"images": "photos/{name}.jpg", "labels": "masks/{name}.png"}
    root = tmp_path / "pictures"
    for name in ("aa1", "aa2", "ab1", "ab2"):
        layouts.write_photo(root / f"photos/{name}.jpg")
        layouts.write(root / f"masks/{name}.png", filled([3]))
    for characters, cities in ((0, ["all"] * 4), (2, ["aa", "ab", "aa", "ab"])):
        told = {"pairs": [pair], "city_from_name": characters, "val_share": 0.5}
        frames = found(layouts.own(tmp_path / "recipe", told), root)
        assert [city for _, city, _ in frames] == cities
        assert [split for split, _, _ in frames] == ["train", "train", "val", "val"]


def test_frames_of_one_name_are_told_apart_or_refused(tmp_path: Path) -> None:
    pairs = [
        {"images": f"{side}/{{name}}.jpg", "labels": f"{side}/{{name}}.png"}
        for side in ("left", "right")
    ]
    root = tmp_path / "pictures"
    for side, drawn in (("left", 3), ("right", 8)):
        layouts.write_photo(root / f"{side}/1.jpg")
        layouts.write(root / f"{side}/1.png", filled([drawn]))
    source = layouts.own(tmp_path / "recipe", {"pairs": pairs, "val_cities": ["all"]})
    try:
        dataset = prepared(source, root)
    except StreetsegError:
        return
    assert [dataset.label_ids(row)[0, 0] for row in range(2)] == [3, 8]


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    root = layouts.carla(tmp_path)
    (root / "CameraRGB/._F61-1.png").write_bytes(b"resource fork")
    assert len(found("carla-13", root)) == 12


def test_frames_without_a_partner_are_found_and_named(tmp_path: Path) -> None:
    root = layouts.bdd100k(tmp_path / "source", BDD_MAPS)
    (root / "drivable_maps/labels/train/0000f77c-6257be58.png").unlink()
    (root / "images/100k/train/0000f77c-cb820c98.jpg").unlink()
    assert len(found("bdd100k-drivable", root)) == 3
    with pytest.raises(StreetsegError, match=r"0000f77c-6257be58.jpg has no label .*on_error=skip"):
        prepared("bdd100k-drivable", root)
    dataset = prepared("bdd100k-drivable", root, prepare__on_error="skip")
    assert dataset.skipped["frame"].tolist() == ["0000f77c-6257be58", "0000f77c-cb820c98"]


@pytest.mark.parametrize("source", ["cityscapes", "bdd100k-drivable", "kitti-road"])
def test_a_missing_label_of_the_test_split_is_no_error(tmp_path: Path, source: str) -> None:
    writers = {"cityscapes": layouts.cityscapes, "bdd100k-drivable": layouts.bdd100k}
    root = writers.get(source, layouts.kitti_road)(tmp_path / "source")
    dataset = prepared(source, root, prepare__on_error="skip")
    assert set(dataset.index["split"]) == {"train", "val"}
    assert len(dataset.skipped) == 0


def test_names_that_two_splits_share_begin_with_the_split(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for split, count in (("train", 2), ("val", 3), ("test", 1)):
        for number in range(count):
            layouts.write_photo(root / f"rgb/{split}/{number:06d}.png")
            layouts.write(root / f"ids/{split}/{number:06d}.png", filled([3, 8]))
    settings = pair("rgb/{split}/{name}.png", "ids/{split}/{name}.png")
    dataset = prepared(layouts.own(tmp_path / "recipe", settings), root)
    assert dataset.index["frame"].tolist() == [
        "train_000000",
        "train_000001",
        "val_000000",
        "val_000001",
        "val_000002",
    ]
    assert dataset.label_ids(2).shape == layouts.SIZE


def test_several_images_of_one_label_are_frames_of_their_own(tmp_path: Path) -> None:
    root = layouts.foggy(tmp_path / "source")
    (root / "gtFine/train/aachen/aachen_000000_000010_gtFine_labelIds.png").unlink()
    settings = {
        "label_space": "cityscapes",
        "pairs": [{"images": layouts.FOG.format("{variant}"), "labels": layouts.FINE}],
    }
    source = layouts.own(tmp_path / "recipe", settings)
    dataset = prepared(source, root, prepare__on_error="skip")
    assert sorted(dataset.index["frame"]) == [
        f"{name}_{beta}"
        for name in ("aachen_000000_000009", "bad-honnef_000000_000000", "munster_000000_000000")
        for beta in layouts.BETAS
    ]
    assert dataset.index["label"].nunique() == 3
    assert dataset.index["image"].nunique() == 9
    assert len(dataset.skipped) == 3
    assert dataset.skip_summary.startswith("3 of 12 frames skipped: 3x cannot read the label: No")


def test_labels_of_frames_without_variants_are_left_out(tmp_path: Path) -> None:
    """Rainy Cityscapes has images of some frames alone, beside the annotations of all."""
    root = layouts.foggy(tmp_path / "source")
    for image in root.glob("leftImg8bit_foggy/train/aachen/aachen_000000_000010_*"):
        image.unlink()
    dataset = prepared("cityscapes-foggy", root)
    assert dataset.index["label"].nunique() == 3
    assert len(dataset.index) == 9


def test_images_of_one_label_are_in_one_split(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for number in range(5):
        for fog in ("a", "b", "c"):
            layouts.write_photo(root / f"rgb/{number}_{fog}.png")
        layouts.write(root / f"ids/{number}.png", filled([3]))
    settings = {**pair("rgb/{name}_{variant}.png", "ids/{name}.png"), "val_share": 0.3}
    frames = load_source(str(layouts.own(tmp_path / "recipe", settings))).find(root)
    assert [frame.name for frame in frames if frame.split == "val"] == [
        f"{number}_{fog}" for number in (3, 4) for fog in "abc"
    ]


def test_frames_that_nothing_uses_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = layouts.bdd100k(tmp_path / "source")
    prepared("bdd100k-drivable", root)
    assert "1 frames of test left out: only train and val are used" in capsys.readouterr().err
