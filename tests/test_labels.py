"""Label spaces."""

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official

from streetseg.errors import StreetsegError
from streetseg.labels import IGNORE, LabelSpace


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


def test_categories_have_the_ids_that_cityscapes_gives_them(space: LabelSpace) -> None:
    assert {label.category: label.categoryId for label in official} == {
        name: number for number, name in enumerate(space.names)
    }


def test_every_id_becomes_its_category_and_every_other_byte_is_ignored(space: LabelSpace) -> None:
    expected = np.full(256, IGNORE)
    for label in official:
        expected[label.id] = label.categoryId  # -1 is stored as 255
    np.testing.assert_array_equal(space.category_of, expected)
    assert space.category_of.dtype == np.uint8


def test_a_space_survives_being_written_down(space: LabelSpace) -> None:
    assert LabelSpace.from_dict(space.to_dict()) == space


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(StreetsegError, match="choose one of cityscapes"):
        LabelSpace.load("cityscape")
