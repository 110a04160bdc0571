"""Label spaces."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cityscapesscripts.helpers.labels import labels as official

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LABEL_SPACES, LabelSpace


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load("cityscapes")


def test_the_table_is_that_of_cityscapes(space: LabelSpace) -> None:
    ours = [
        (a.id, a.name, a.train_id, a.category, a.instances, a.ignore_in_eval, a.color)
        for a in space.labels
    ]
    theirs = [
        (b.id, b.name, b.trainId, b.category, b.hasInstances, b.ignoreInEval, b.color)
        for b in official
    ]
    assert ours == theirs


def test_the_table_of_classes_is_that_of_cityscapes(space: LabelSpace) -> None:
    classes = LabelSpace.load("cityscapes-19")
    trained = sorted((b for b in official if 0 <= b.trainId < IGNORE), key=lambda b: b.trainId)
    assert [(c.name, c.color) for c in classes.categories] == [(b.name, b.color) for b in trained]
    for ours, theirs in zip(classes.labels, space.labels, strict=True):
        category = None if theirs.ignore_in_eval else theirs.name
        assert ours == replace(theirs, category=category)
    for label in official:
        if label.id >= 0:
            assert classes.category_of[label.id] == label.trainId


def test_categories_have_the_ids_that_cityscapes_gives_them(space: LabelSpace) -> None:
    assert {label.category: label.categoryId for label in official} == {
        name: number for number, name in enumerate(space.names)
    }


def test_every_id_becomes_its_category_and_every_other_byte_is_ignored(space: LabelSpace) -> None:
    expected = np.full(256, IGNORE)
    for label in official:
        if label.id >= 0:  # json2labelImg never draws -1
            expected[label.id] = label.categoryId
    np.testing.assert_array_equal(space.category_of, expected)
    assert space.category_of.dtype == np.uint8


def test_a_space_survives_being_written_down(space: LabelSpace) -> None:
    assert LabelSpace.from_dict(space.to_dict()) == space


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    known = "choose one of a2d2, .*, cityscapes, .*, kitti-road.*, or name a YAML file"
    with pytest.raises(StreetsegError, match=f"'nowhere': {known}"):
        LabelSpace.load("nowhere")


SHIPPED = sorted(path.stem for path in LABEL_SPACES.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_has_the_name_of_its_file(name: str) -> None:
    assert LabelSpace.load(name).name == name


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_space_survives_being_written_down(name: str) -> None:
    space = LabelSpace.load(name)
    assert LabelSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("cityscapes", "ids"),
        ("cityscapes-19", "ids"),
        ("bdd100k-drivable", "ids"),
        ("bdd100k-drivable-2018", "ids"),
        ("carla", "red"),
        ("carla-0.9.13", "red"),
        ("carla-13", "red"),
        ("kitti-road", "colors"),
    ],
)
def test_a_space_says_how_its_pictures_hold_ids(name: str, encoding: str) -> None:
    assert LabelSpace.load(name).encoding == encoding


@pytest.mark.parametrize("name", SHIPPED)
def test_an_id_is_known_if_the_space_has_a_label_of_it(name: str) -> None:
    space = LabelSpace.load(name)
    assert set(np.flatnonzero(space.known)) == {label.id for label in space.labels} - {-1}
    assert (space.category_of[~space.known] == IGNORE).all()
    assert space.ignored_in_eval[~space.known].all()


@pytest.mark.parametrize("name", SHIPPED)
def test_simulated_and_real_frames_share_the_categories_of_cityscapes(
    name: str, space: LabelSpace
) -> None:
    other = LabelSpace.load(name)
    if name.startswith("carla"):
        without_sky = [c for c in space.categories if c.name != "sky"]
        assert list(other.categories) in (list(space.categories), without_sky)


SMALL: dict[str, Any] = {
    "name": "small",
    "categories": [{"name": "ground", "color": [1, 1, 1]}, {"name": "rest", "color": [2, 2, 2]}],
    "labels": [
        {"id": 4, "name": "grass", "category": "ground"},
        {"id": 6, "name": "house", "category": "rest"},
        {"id": 9, "name": "hood"},
    ],
}


def test_a_label_without_a_category_is_known_but_ignored() -> None:
    space = LabelSpace.from_dict(SMALL)
    assert space.category_of[[4, 6, 9, 5]].tolist() == [0, 1, IGNORE, IGNORE]
    assert space.known[[4, 6, 9, 5]].tolist() == [True, True, True, False]


def test_a_space_holds_ids_unless_it_says_otherwise() -> None:
    space = LabelSpace.from_dict(SMALL)
    assert space.encoding == "ids"
    assert space.palette.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_a_negative_id_is_not_255() -> None:
    plate = {"id": -1, "name": "plate", "category": "rest"}
    labels = [*SMALL["labels"], plate]
    space = LabelSpace.from_dict({**SMALL, "labels": labels})
    assert (space.category_of[255], bool(space.known[255])) == (IGNORE, False)
    assert space.ignored_in_eval[255]
    labels.append({"id": 255, "name": "unlabelled", "category": "ground"})
    space = LabelSpace.from_dict({**SMALL, "labels": labels})
    assert (space.category_of[255], bool(space.known[255])) == (0, True)
    assert not space.ignored_in_eval[255]


def test_a_category_of_negative_ids_alone_is_refused() -> None:
    labels = [SMALL["labels"][0], {"id": -1, "name": "plate", "category": "rest"}]
    with pytest.raises(StreetsegError, match=r"mine: no label with an id of 0 .* category 'rest'"):
        LabelSpace.from_dict({**SMALL, "labels": labels}, "mine")


def test_a_colour_cannot_stand_for_a_negative_id(tmp_path: Path) -> None:
    plate = {"id": -1, "name": "plate", "color": [1, 2, 3]}
    colored = [{**label, "color": [9, 9, n]} for n, label in enumerate(SMALL["labels"])]
    table = {**SMALL, "encoding": "colors", "labels": [*colored, plate]}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(StreetsegError, match=r"small\.yaml: labels that are drawn as colours"):
        LabelSpace.load("small.yaml", tmp_path)


def test_a_space_is_read_from_a_file_beside_the_source(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert LabelSpace.load("small.yaml", tmp_path) == LabelSpace.from_dict(SMALL)
    assert LabelSpace.load(str(tmp_path / "small.yaml")) == LabelSpace.from_dict(SMALL)


@pytest.mark.parametrize("key", ["id", "color"])
def test_true_is_no_number_of_a_label(key: str) -> None:
    wrong = {"id": True, "color": [True, 0, 0]}[key]
    labels = [{"id": 0, "name": "a", "category": "a"}, {"id": 1, "name": "b", "category": "b"}]
    labels[1] |= {key: wrong}
    categories = [{"name": name, "color": [0, 0, 0]} for name in "ab"]
    with pytest.raises(StreetsegError, match=rf"labels\.1\.{key}.* = True: a number is needed"):
        LabelSpace.from_dict({"name": "x", "categories": categories, "labels": labels})
