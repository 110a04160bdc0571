"""The packaged sources of public data sets: each in its published layout, every id in its category.

The expected categories are a second reading of each set's own table, written down by hand beside
the label spaces: IDD's ``anue_labels.py``, the configurations of Mapillary Vistas and the label
policy of WildDash 2, ``class_list.json`` of A2D2, the tables of SYNTHIA's, CamVid's, RailSem19's
and ApolloScape's readers, the tags in CARLA's ``ref_sensors.md``,
and the instructions of nuScenes and nuImages.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data.sources import LAYOUTS, load_source
from streetseg.data.targets import label_ids_in, target_space
from tests.support.public_sets import PUBLISHED, public_set

CODES = {
    "V": "void",
    "F": "flat",
    "C": "construction",
    "O": "object",
    "N": "nature",
    "S": "sky",
    "H": "human",
    "Ve": "vehicle",
    "-": None,
}
"""How the tables below call the categories; ``-`` are pixels that are ignored."""

CATEGORIES = {
    "idd": "F 0-4; N 5 32; H 6 8; Ve 9-18 39; C 20-22 29-31; O 24-27; S 33; "
    "V 7 23 28 34-38; - 19 255",
    "mapillary-1.2": "F 2 7-15 23 24 36 41 43; C 3-6 16-18; H 19-22; N 29 30; S 27; O 45-48 50; "
    "Ve 52 54-58 60 61; V 0 1 25 26 28 31-35 37-40 42 44 49 51 53 59 62-65",
    "mapillary-2.0": "F 4 13-25 35-58 69 74 77; C 2 3 5-12 26-29; H 30-34; N 63 64; S 61; "
    "O 85-88 90-103; Ve 105 107-111 113-115; "
    "V 0 1 59 60 62 65-68 70-73 75 76 78-84 89 104 106 112 116-123",
    "wilddash-2": "V 0-6 36 37 39 40 42 44 50 51 53-55 57 59 60 62 63 66-69 71-73; "
    "F 7-10 38 41 43 52 61 64 65 70 74-77 79 80; C 11-16 56; O 17-20 45 46; N 21 22 78; S 23; "
    "H 24 25 47-49; Ve 26-35 58",
    "kitti-step": "F 0 1; C 2-4; O 5-7; N 8 9; S 10; H 11 12; Ve 13-18; - 255",
    "synthia": "S 1; C 2 5 21; F 3 4 13 22; N 6 16; O 7 9 15; Ve 8 11 12 18-20; H 10 17; V 0; - 14",
    "camvid-11": "S 0; C 1 7; O 2 6; F 3 4; N 5; Ve 8; H 9; V 11; - 10",
    "railsem19": "F 0 1 3 12 15 17 18; C 2 4; O 5-7; N 8 9; S 10; H 11; Ve 13 14 16; - 255",
    "apolloscape": "V 0 1 85 86 255; S 17; Ve 33-35 38-40 161-163 166-168; H 36 37 164 165; "
    "F 49 50; O 65 66 81-83; C 67 84 97-100; N 113",
    "carla": "V 0 20-23 25; F 1 2 24 27; C 3-5 26 28; O 6-8; N 9 10 29; S 11; H 12 13; Ve 14-19",
    "carla-0.9.13": "V 0 3 14 19-21; F 6-8 16; C 1 2 11 15 17; O 5 12 18; N 9 22; S 13; H 4; Ve 10",
    "nuimages": "V 1 11 31; H 2-6; C 9; O 12; Ve 15-20 22 23; F 24; - 0 7 8 10 13 14 21",
    "carla-13": "- 0; V 3; F 6-8; C 1 2 11; O 5 12; N 9; H 4; Ve 10",
}
"""By label space, the label ids of each category of Cityscapes."""

COLORS = {
    "camvid-32": "V 000000 408040 804040; C c00080 008040 800000 404080 400040 40c000 40c080; "
    "F 8000c0 c00040 804080 8080c0 0000c0; O c0c080 808040 c08080 000040 004040; N 808000 c0c000; "
    "S 808080; H 404000 c08040; Ve 400080 4080c0 c080c0 c04080 c000c0; - 0080c0 4000c0",
    "a2d2": "Ve ff0000 c80000 960000 800000 b65906 963204 5a1e01 5a1e1e ff8000 c88000 968000 "
    "00ff00 00c800 009600 ffff00 ffffc8 000064; H cc99ff bd499b ef59bf; O 0080ff 1e1c9e 3c1c64 "
    "00ffff 1edcdc 3c9dc7 fff68f 212cb1 ff46b9 400040 9f79ee; F ff00ff ffc125 8000ff d23273 b432b4 "
    "eee9bf 9696c8 c87dd2 8b636c 960096 6e6e00 808000 b496c8; C f1e6ff e96400 eea2ad b97a57; "
    "N 93fdc2; S 87ceff; V ccff99 ff0080 48d1cc 60458f 352e52",
}
"""By label space, the colours of each category of Cityscapes."""

UNMAPPABLE = {"camvid-11": "SignSymbol"}
"""Sets that 19 classes refuse, and a label that joins two of them."""


def ids_of(table: str) -> dict[str, str | None]:
    """The category of each id or colour in a table above."""
    categories: dict[str, str | None] = {}
    for group in table.split("; "):
        code, *members = group.split()
        for member in members:
            first, _, last = member.partition("-")
            names = map(str, range(int(first), int(last) + 1)) if last else [first]
            categories |= dict.fromkeys(names, CODES[code])
    return categories


def categories_of(labels: LabelSpace) -> dict[int, str | None]:
    """The category of Cityscapes that each label id of a space becomes."""
    target = target_space(labels, "cityscapes")
    table = target.category_of[label_ids_in(target, labels)]
    names = dict(enumerate(target.names)) | {IGNORE: None}
    return {label.id: names[int(table[label.id])] for label in labels.drawn}


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_id_of_a_set_becomes_its_category(name: str) -> None:
    expected = {int(number): category for number, category in ids_of(CATEGORIES[name]).items()}
    assert categories_of(LabelSpace.load(name)) == expected


@pytest.mark.parametrize("name", COLORS)
def test_every_colour_of_a_set_becomes_its_category(name: str) -> None:
    labels = LabelSpace.load(name)
    of_id, expected = categories_of(labels), ids_of(COLORS[name])
    colors = {
        "".join(f"{part:02x}" for part in label.color): of_id[label.id] for label in labels.drawn
    }
    assert colors == expected


@pytest.mark.parametrize("name", [*CATEGORIES, *COLORS])
def test_labels_of_one_class_alone_become_that_class(name: str) -> None:
    """A label is ignored exactly if the classes that it covers differ or are none."""
    labels, cityscapes = LabelSpace.load(name), LabelSpace.load("cityscapes")
    if name in UNMAPPABLE:
        with pytest.raises(StreetsegError, match=f"'{UNMAPPABLE[name]}' covers"):
            label_ids_in(target_space(labels, "cityscapes-19"), labels)
        return
    train_id = {label.name: label.train_id for label in cityscapes.labels}
    target = target_space(labels, "cityscapes-19")
    table = target.category_of[label_ids_in(target, labels)]
    for label in labels.drawn:
        classes = {train_id[each] for each in label.cityscapes}
        expected = classes.pop() if len(classes) == 1 else IGNORE
        assert table[label.id] == (expected if 0 <= expected < IGNORE else IGNORE), label.name


def test_a_set_that_joins_categories_is_refused_with_the_reason() -> None:
    labels = LabelSpace.load("idd-lite")
    with pytest.raises(StreetsegError) as caught:
        label_ids_in(target_space(labels, "cityscapes"), labels)
    message = str(caught.value)
    assert message.startswith(
        "'idd-lite' cannot be mapped onto 'cityscapes', because it joins what"
    )
    for label in ("non-drivable", "living things", "road-side objects", "far objects"):
        assert f"'{label}' covers" in message
    assert "'living things' covers person (human), rider (human), dynamic (void)" in message


def test_a_target_that_the_labels_do_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        StreetsegError, match=r"^data\.target = 'cityscapes': 'cityscapes' has no label"
    ):
        target_space(LabelSpace.load("kitti-road"), "cityscapes")


@pytest.mark.parametrize(
    ("name", "digest"), [("carla", "305dc7aa8ee242d9"), ("carla-13", "23a2ffc605cacad7")]
)
def test_what_labels_cover_is_no_part_of_data_in_their_own_categories(
    name: str, digest: str
) -> None:
    """Data and models made before the labels of CARLA named those of Cityscapes stay usable."""
    source = load_source(name)
    assert source.fingerprint.startswith(digest)
    assert not any(label.cityscapes for label in source.labels.labels)
    assert load_source(name, "cityscapes").labels == LabelSpace.load("cityscapes")


def test_own_classes_are_those_that_the_set_evaluates() -> None:
    labels = LabelSpace.load("mapillary-1.2")
    own = target_space(labels, "own")
    assert len(own.names) == 65  # the classes of its benchmark, without unlabeled
    assert own.category_of[65] == IGNORE
    assert own.names[own.category_of[13]] == "construction--flat--road"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_in_its_published_layout_is_prepared(name: str, tmp_path: Path) -> None:
    frames = public_set(tmp_path / "set", name)
    params = Params.model_validate(
        {
            "data": {"source": name, "root": tmp_path / "set", "prepared": tmp_path / "prepared"},
            "prepare": {"size": (32, 64), "workers": 1},
        }
    )
    dataset = PreparedDataset(prepare(params))
    assert {*dataset.index["image"]} == {*frames}
    assert {*dataset.index["split"]} == ({"val"} if name == "dark-zurich" else {"train", "val"})
    source = load_source(name)
    ids = frames[dataset.index["image"][0]][0, ::8]
    val = int(dataset.rows("val")[0])
    kept = dataset.label_ids(val)[0, ::8]
    if source.ids == "train":
        expected = np.array([*dataset.labels.category_of[7:34], IGNORE])
        evaluated = [label.id for label in dataset.labels.drawn if 0 <= label.train_id < IGNORE]
        np.testing.assert_array_equal(kept, [*evaluated, IGNORE])
        assert expected.size
    elif source.labels.labels == source.file_labels.labels:
        np.testing.assert_array_equal(kept, ids)
    else:
        table = label_ids_in(source.labels, source.file_labels)
        np.testing.assert_array_equal(kept, table[ids])


def test_a_set_states_the_condition_of_its_frames(tmp_path: Path) -> None:
    public_set(tmp_path, "acdc")
    public_set(tmp_path, "cityscapes-foggy")
    assert {frame.condition for frame in load_source("acdc").find(tmp_path)} == {"night"}
    assert {frame.condition for frame in load_source("cityscapes-foggy").find(tmp_path)} == {"fog"}


def test_every_packaged_source_is_tried_here_or_beside() -> None:
    older = {
        "cityscapes",
        "cityscapes-19",
        "cityscapes-coarse",
        "cityscapes-polygons",
        "carla",
        "carla-0.9.13",
        "carla-13",
    }
    older |= {"bdd100k-drivable", "bdd100k-drivable-2018", "kitti-road"}
    older |= {"nuimages", "nuimages-mini"}
    assert {path.stem for path in LAYOUTS.glob("*.yaml")} <= older | PUBLISHED.keys()
