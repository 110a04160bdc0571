"""What is wrong with a source, its labels or its folder is said in one line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.sources import LAYOUTS, load_source
from tests.support import source_layouts as layouts
from tests.support.source_layouts import (
    FINE,
    FOG,
    MAGENTA,
    OWN_LABELS,
    RED,
    foggy,
    pair,
    prepared,
)


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(StreetsegError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


SOURCE_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"val_citys": ["north"]}, "unknown key 'val_citys': .*'val_cities'"),
    "an unknown key of a pair": (
        pair("a/{name}.jpg", "b/{name}.png", image="c"),
        "unknown key 'pairs.0.image': .*'images'",
    ),
    "an unknown placeholder": (
        pair("a/{frame}.jpg", "b/{frame}.png"),
        r"pairs\.0.*{frame} is none of {split}, {condition}, .* and {variant}",
    ),
    "different placeholders": (
        pair("a/{city}/{name}.jpg", "b/{name}.png"),
        r"pairs\.0.*the same placeholders",
    ),
    "a variant of labels": (
        pair("a/{name}.jpg", "b/{name}_{variant}.png"),
        r"pairs\.0.*{variant} may be in images alone",
    ),
    "no name": (pair("a/{city}.jpg", "b/{city}.png"), r"pairs\.0.*{name} among them"),
    "an absolute path": (
        pair("/a/{name}.jpg", "b/{name}.png"),
        r"pairs\.0.*paths below data\.root",
    ),
    "an unknown split": (
        pair("a/{name}.jpg", "b/{name}.png", split="valid"),
        r"pairs\.0\.split = 'valid'.*'train', 'val' or 'test'",
    ),
    "no pairs": ({"pairs": []}, "pairs = .*at least 1 item"),
    "an impossible share": ({"val_share": 1}, "val_share = 1: .*less than 1"),
    "an unknown city": (
        {"val_cities": ["south", "east"]},
        "val_cities names 'east', .*none of north, south",
    ),
}


@pytest.mark.parametrize("mistake", SOURCE_MISTAKES)
def test_a_mistake_in_a_source_is_one_line_that_names_the_file(
    tmp_path: Path, mistake: str
) -> None:
    settings, said = SOURCE_MISTAKES[mistake]
    root = layouts.own_pictures(tmp_path / "pictures")
    source = layouts.own(tmp_path / "recipe", settings)
    message = error_of(lambda: load_source(str(source)).find(root))
    assert message.startswith(f"{source}: ")
    assert re.search(said, message)


def labels_with(**first: object) -> dict[str, Any]:
    return {"labels": [{**OWN_LABELS["labels"][0], **first}, *OWN_LABELS["labels"][1:]]}


LABEL_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"encodings": "red"}, "unknown key 'encodings': .*'encoding'"),
    "an unknown key of a label": (labels_with(colour=[1, 2, 3]), "'labels.0.colour': .*'color'"),
    "an unknown encoding": ({"encoding": "blue"}, "encoding = 'blue': .*'ids', 'red' or 'colors'"),
    "an unknown category": (
        labels_with(category="sea"),
        "label 'grass' has the unknown category 'sea': choose one of ground, rest",
    ),
    "a category without a label": (
        {"categories": [*OWN_LABELS["categories"], {"name": "sky", "color": [0, 0, 9]}]},
        "no label with an id of 0 to 255 is merged into the category 'sky'",
    ),
    "a category twice": (
        {"categories": [*OWN_LABELS["categories"], OWN_LABELS["categories"][0]]},
        "category ground occurs twice",
    ),
    "a category that MLflow takes in no metric's name": (
        {
            "categories": [
                {"name": "road (asphalt)", "color": [1, 2, 3]},
                {"name": "rest", "color": [4, 5, 6]},
            ],
            "labels": [
                {"id": 3, "name": "a", "category": "road (asphalt)"},
                {"id": 4, "name": "b", "category": "rest"},
            ],
        },
        r"category 'road \(asphalt\)' cannot name a metric in MLflow: use letters, digits, _ -",
    ),
    "an id twice": (labels_with(id=5), "label id 5 occurs twice"),
    "a colour twice": (
        {"encoding": "colors", **labels_with(color=[4, 5, 6])},
        r"colour \(4, 5, 6\) occurs twice",
    ),
    "an id that no byte holds": (labels_with(id=256), r"labels\.0\.id = 256: .*255"),
    "an impossible colour": (labels_with(color=[0, 0, 300]), r"labels\.0\.color\.2 = 300"),
    "only one category": ({"categories": OWN_LABELS["categories"][:1]}, "categories = "),
    "no labels": ({"labels": []}, "labels = "),
}


@pytest.mark.parametrize("mistake", LABEL_MISTAKES)
def test_a_mistake_in_a_label_space_is_one_line_that_names_the_file(
    tmp_path: Path, mistake: str
) -> None:
    settings, said = LABEL_MISTAKES[mistake]
    source = layouts.own(tmp_path, labels=settings)
    message = error_of(lambda: load_source(str(source)).labels)
    assert message.startswith(f"{tmp_path / 'labels.yaml'}: ")
    assert re.search(said, message)


def test_an_id_of_two_colours_has_one_category(tmp_path: Path) -> None:
    source = layouts.own(tmp_path, labels={"encoding": "colors", **labels_with(id=8)})
    assert "8" in error_of(lambda: load_source(str(source)).labels)


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    source.write_text("label_space: carla\n")
    assert error_of(lambda: load_source(str(source))) == f"{source}: the key 'pairs' is missing"


@pytest.mark.parametrize(("text", "said"), [("a: [", "not valid YAML"), ("- a\n", "not a list")])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str, said: str) -> None:
    source = tmp_path / "source.yaml"
    source.write_text(text)
    message = error_of(lambda: load_source(str(source)))
    assert str(source) in message
    assert said in message


def test_a_file_that_is_not_there_is_named() -> None:
    assert "cannot read nowhere/mine.yaml" in error_of(lambda: load_source("nowhere/mine.yaml"))


def test_splits_of_another_name_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    root = layouts.cityscapes(tmp_path / "source")
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "val").rename(root / folder / "validation")
    said = error_of(lambda: load_source("cityscapes").find(root))
    assert "labels of the split 'validation': name it train or val" in said


def test_a_source_with_the_test_split_alone_is_refused(tmp_path: Path) -> None:
    root = layouts.cityscapes(tmp_path / "source")
    for folder in ("leftImg8bit", "gtFine"):
        for split in ("train", "val"):
            shutil.rmtree(root / folder / split)
    said = error_of(lambda: load_source("cityscapes").find(root))
    assert "no frames in train or val" in said or "holds no leftImg8bit" in said


def test_a_folder_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    said = error_of(lambda: load_source("kitti-road").find(tmp_path / "nowhere"))
    assert "does not exist" in said
    assert "synth" not in said


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cityscape", "did you mean 'cityscapes'?"), ("nowhere", "choose one of a2d2, ")],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    tmp_path: Path, name: str, hint: str
) -> None:
    assert f"data.source = '{name}': {hint}" in error_of(lambda: load_source(name))
    source = layouts.own(tmp_path, {"label_space": name})
    said = error_of(lambda: load_source(str(source)).labels)
    assert f"no label space named '{name}': {hint}" in said


@pytest.mark.parametrize("source", sorted(path.stem for path in LAYOUTS.glob("*.yaml")))
def test_an_empty_root_is_answered_with_the_layout_that_was_looked_for(
    tmp_path: Path, source: str
) -> None:
    said = error_of(lambda: prepared(source, tmp_path))
    assert f"{tmp_path} holds no {load_source(source).pairs[0].images}" in said
    assert "data.root" in said
    assert f"data.source={source}" in said


def test_a_tag_of_a_later_carla_is_refused(tmp_path: Path) -> None:
    root = layouts.carla(tmp_path / "source", ids=[0, 1, 13])
    said = error_of(lambda: prepared("carla-13", root))
    assert "CameraSeg/F61-1.png holds label id 13, which the label space 'carla-13'" in said


def test_a_colour_of_no_label_is_refused(tmp_path: Path) -> None:
    root = layouts.kitti_road(tmp_path / "source", [MAGENTA, (0, 0, 255), RED])
    said = error_of(lambda: prepared("kitti-road", root))
    assert re.search(r"um_road_000000.png holds the colour \(0, 0, 255\).*'kitti-road'", said)


def test_several_images_of_one_label_in_plain_patterns_are_answered_with_variant(
    tmp_path: Path,
) -> None:
    root = foggy(tmp_path / "source")
    pairs = [{"images": FOG.format(beta), "labels": FINE} for beta in ("0.005", "0.02")]
    source = layouts.own(tmp_path / "recipe", {"label_space": "cityscapes", "pairs": pairs})
    said = error_of(lambda: load_source(str(source)).find(root))
    assert "_000000': write {variant} in the pattern of images for" in said


def test_a_name_twice_with_two_labels_is_answered_with_city(tmp_path: Path) -> None:
    root = tmp_path / "source"
    pairs = []
    for camera in ("left", "right"):
        layouts.write_photo(root / f"{camera}/rgb/000000.png")
        layouts.write(root / f"{camera}/ids/000000.png", layouts.filled([3]))
        pairs.append(
            {"images": f"{camera}/rgb/{{name}}.png", "labels": f"{camera}/ids/{{name}}.png"}
        )
    source = layouts.own(tmp_path / "recipe", {"pairs": pairs, "val_cities": ["all"]})
    said = error_of(lambda: load_source(str(source)).find(root))
    assert "both named '000000': write {city} in the pattern of images and labels" in said


def test_undefined_ids_of_all_frames_are_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    root = layouts.own_pictures(tmp_path / "pictures")
    layouts.write(root / "masks/north/frame_2.png", layouts.filled([3, 40]))
    layouts.write(root / "masks/south/frame_7.png", layouts.filled([8, 34, 40]))
    said = error_of(lambda: prepared(layouts.own(tmp_path / "recipe"), root))
    assert "north/frame_2.png holds label id 40, which the label space 'mine' does not" in said
    assert "in all, 2 of 20 frames hold label ids 34, 40: add them to the labels" in said
    assert "fix or remove" not in said
