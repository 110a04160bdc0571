"""Dividing frames into train, val and test."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.sources import Source, load_source
from tests.support import source_layouts as layouts
from tests.support.source_layouts import filled, write, write_photo

CITIES = {"aachen": 2, "bonn": 1, "cologne": 3, "dortmund": 1}
"""The drives of each city, of four frames each."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames of several cities and drives, in no split."""
    for city, drives in CITIES.items():
        for drive in range(drives):
            for number in range(4):
                name = f"{city}_{drive:06}_{number:06}"
                write_photo(tmp_path / "data" / "rgb" / city / f"{name}.png")
                write(tmp_path / "data" / "ids" / city / f"{name}.png", filled([0, 1]))
    return tmp_path / "data"


def source_with(root: Path, fold: int = 0, **rules: Any) -> Source:
    """A source of these frames that divides them by ``rules``."""
    pairs = [{"images": "rgb/{city}/{name}.png", "labels": "ids/{city}/{name}.png"}]
    path = layouts.own(root.parent / "recipe", {"pairs": pairs, **rules})
    return load_source(str(path), fold=fold)


def names_of(source: Source, root: Path) -> dict[str, list[str]]:
    """The names of the frames of each split."""
    names = defaultdict(list)
    for frame in source.find(root):
        names[frame.split].append(frame.name)
    return names


def drives_of(names: list[str]) -> set[str]:
    return {name.rpartition("_")[0] for name in names}


def test_the_end_of_each_city_can_be_val_and_test(root: Path) -> None:
    names = names_of(source_with(root, val_share=0.25, test_share=0.25), root)
    assert Counter(name.split("_")[0] for name in names["val"]) == CITIES
    assert names["test"][0] == "aachen_000001_000002"
    assert names["val"][0] == "aachen_000001_000000"
    assert len(names["train"]) == 14


def test_whole_drives_are_val(root: Path) -> None:
    names = names_of(source_with(root, split_by="drive", val_share=0.3, test_share=0.15), root)
    assert drives_of(names["test"]) == {"dortmund_000000"}
    assert drives_of(names["val"]) == {"cologne_000001", "cologne_000002"}
    assert not drives_of(names["train"]) & drives_of(names["val"] + names["test"])
    assert sum(map(len, names.values())) == 28


def test_whole_cities_are_val(root: Path) -> None:
    names = names_of(source_with(root, split_by="city", val_share=0.5), root)
    assert {name.split("_")[0] for name in names["val"]} == {"cologne", "dortmund"}


def test_cities_by_name_are_val_and_test(root: Path) -> None:
    names = names_of(source_with(root, val_cities=["bonn"], test_cities=["dortmund"]), root)
    assert (len(names["train"]), len(names["val"]), len(names["test"])) == (20, 4, 4)
    wrong = source_with(root, test_cities=["dortmunt"])
    with pytest.raises(StreetsegError, match=r"test_cities names 'dortmunt'.*mean 'dortmund'\?"):
        wrong.find(root)


def test_every_city_is_val_in_one_fold(root: Path) -> None:
    validated: list[str] = []
    hashes = set()
    for fold in range(3):
        source = source_with(root, fold, folds=3)
        names = names_of(source, root)
        cities = {name.split("_")[0] for name in names["val"]}
        assert not cities & {name.split("_")[0] for name in names["train"]}
        validated += sorted(cities)
        hashes.add(source.fingerprint)
    assert sorted(validated) == sorted(CITIES)
    assert len(hashes) == 3, "folds are different data"
    with pytest.raises(StreetsegError, match=r"data\.fold = 3: .* has the folds 0 to 2"):
        source_with(root, 3, folds=3).find(root)
    with pytest.raises(StreetsegError, match="folds: 5 needs as many cities, and there are 4"):
        source_with(root, folds=5).find(root)


@pytest.mark.parametrize(
    "line",
    [
        "bonn_000000_000001",
        "rgb/bonn/bonn_000000_000001.png",
        "/bonn/bonn_000000_000001.png ids/bonn/bonn_000000_000001.png",
        "./bonn/bonn_000000_000001",
    ],
)
def test_lists_of_names_or_paths_say_the_splits(root: Path, line: str) -> None:
    source = source_with(root, split_files={"train": "train.txt", "val": "val.txt"})
    (root.parent / "recipe" / "train.txt").write_text("aachen_000000_000000\n\n")
    (root.parent / "recipe" / "val.txt").write_text(f"{line}\n")
    used, unused = source.find_with_unused(root)
    assert [(frame.split, frame.name) for frame in used] == [
        ("train", "aachen_000000_000000"),
        ("val", "bonn_000000_000001"),
    ]
    assert unused == {"unlisted": 26}


@pytest.mark.parametrize("columns", [1, 2])
def test_a_list_may_have_blanks_in_names_of_folders(columns: int, tmp_path: Path) -> None:
    """As those of ApolloScape, of which each line has an image and its label, by a tab."""
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for number, split in enumerate(("train", "train", "val")):
        image = f"road01_ins/ColorImage/Record001/Camera 5/17090{number}_Camera_5.jpg"
        label = image.replace("ColorImage", "Label").replace(".jpg", "_bin.png")
        layouts.write_photo(tmp_path / image)
        layouts.write(tmp_path / label, layouts.filled([49]))
        lists[split].append("\t".join([image, label][:columns]))
    pairs = layouts.pair(
        "{city}/ColorImage/{number}/Camera 5/{name}.jpg",
        "{city}/Label/{number}/Camera 5/{name}_bin.png",
    )
    for split, lines in lists.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    files = {split: f"{split}.txt" for split in lists}
    settings = {**pairs, "label_space": "apolloscape", "split_files": files}
    source = load_source(str(layouts.own(tmp_path, settings)))
    assert [frame.split for frame in source.find(tmp_path)] == ["train", "train", "val"]


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ("bonn_000000_000009", r"val.txt: 'bonn_000000_000009' is no frame of data\.root"),
        ("aachen_000000_000000", "'aachen_000000_000000' is in .*train.txt and in .*val.txt"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(root: Path, listed: str, problem: str) -> None:
    source = source_with(root, split_files={"train": "train.txt", "val": "val.txt"})
    (root.parent / "recipe" / "train.txt").write_text("aachen_000000_000000\n")
    (root.parent / "recipe" / "val.txt").write_text(f"{listed}\n")
    with pytest.raises(StreetsegError, match=problem):
        source.find(root)


def test_a_list_that_is_missing_is_refused(root: Path) -> None:
    with pytest.raises(StreetsegError, match=r"cannot read .*no\.txt: No such file"):
        source_with(root, split_files={"val": "no.txt"}).find(root)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"folds": 2, "val_cities": ["bonn"]}, "val_cities and folds both divide the frames"),
        ({"val_share": 0.6, "test_share": 0.4}, "leave nothing to train on"),
        ({"split_files": {"valid": "a.txt"}}, "valid"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(
    root: Path, rules: dict[str, Any], problem: str
) -> None:
    with pytest.raises(StreetsegError, match=problem):
        source_with(root, **rules)
