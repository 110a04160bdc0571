"""Checks of a prepared dataset: each defect planted, each found by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from streetseg.config import Validate, load_params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.prepare import prepare
from streetseg.validation import Validation, validate
from tests.layout import image_path, label_path, put, write_frames

SOUND = {"train": {"aachen": 8, "bochum": 8}, "val": {"munster": 3, "frankfurt": 3}}
FIRST = "aachen_000000_000000"


def check(
    folder: Path,
    spoil: Callable[[Path], object] = lambda source: None,
    frames: Mapping[str, Mapping[str, int]] = SOUND,
    **params: object,
) -> Validation:
    source = write_frames(folder / "source", frames)
    spoil(source)
    settings = load_params(
        overrides={
            "data.root": str(source),
            "data.prepared": str(folder / "prepared"),
            "prepare.size": params.pop("size", [32, 64]),
            "prepare.workers": 1,
        }
    )
    dataset = PreparedDataset(prepare(settings))
    return validate(dataset, Validate(**params), folder / "report.html")


def test_sound_data_passes(tmp_path: Path) -> None:
    found = check(tmp_path)
    assert found.critical == []
    assert found.warnings == []
    found.require()


def leak(source: Path) -> None:
    shutil.copy(
        image_path(source, "train", FIRST), image_path(source, "val", "munster_000000_000000")
    )


def test_an_image_in_two_splits_is_critical(tmp_path: Path) -> None:
    found = check(tmp_path, leak)
    assert found.critical == [
        f"an image is in more than one split ({FIRST}, munster_000000_000000)"
    ]
    with pytest.raises(StreetsegError, match=FIRST) as caught:
        found.require()
    assert "\n" not in str(caught.value)


def test_too_few_frames_are_critical(tmp_path: Path) -> None:
    found = check(tmp_path, frames={"train": {"aachen": 16}, "val": {"munster": 1}})
    assert found.critical == ["a split has too few frames (val)"]


def test_a_split_that_is_missing_is_critical(tmp_path: Path) -> None:
    found = check(tmp_path, frames={"train": {"aachen": 16}})
    assert "a split has too few frames (val)" in found.critical


def test_a_city_in_two_splits_is_a_warning(tmp_path: Path) -> None:
    frames = {"train": {"aachen": 8, "bochum": 8}, "val": {"aachen": 0, "munster": 4}}

    def same_city(source: Path) -> None:
        rng = np.random.default_rng(9)
        rgb = rng.integers(0, 255, (64, 128, 3), np.uint8)
        put(source, "val", "aachen_000009_000009", rgb, rng.integers(0, 34, (64, 128), np.uint8))

    warnings = check(tmp_path, same_city, frames).warnings
    assert any("a city is in more than one split" in warning for warning in warnings)


def test_a_single_city_is_a_warning(tmp_path: Path) -> None:
    found = check(tmp_path, frames={"train": {"aachen": 16}, "val": {"munster": 4, "ulm": 4}})
    assert found.warnings == ["a split has one city only, so its score is of that city (train)"]


def test_labels_and_categories_that_never_occur_are_warnings(tmp_path: Path) -> None:
    def no_people(source: Path) -> None:
        for path in source.glob("gtFine/*/*/*.png"):
            from streetseg.imaging import decode_ids, encode_png

            ids = decode_ids(path.read_bytes())
            ids[(ids == 24) | (ids == 25)] = 26
            path.write_bytes(encode_png(ids))

    warnings = check(tmp_path, no_people).warnings
    assert any(w.endswith("(human in train, human in val)") for w in warnings)
    assert any(w.endswith("never occurs (person, rider)") for w in warnings)


@pytest.mark.parametrize(
    ("value", "said"), [(0, "nearly black"), (255, "nearly white"), (128, "blank or blurred")]
)
def test_a_blank_picture_is_a_warning(tmp_path: Path, value: int, said: str) -> None:
    from streetseg.imaging import encode_png

    def blank(source: Path) -> None:
        plain = encode_png(np.full((64, 128, 3), value, np.uint8))
        image_path(source, "train", FIRST).write_bytes(plain)

    assert any(said in w and FIRST in w for w in check(tmp_path, blank).warnings)


def test_a_frame_without_labels_is_a_warning(tmp_path: Path) -> None:
    from streetseg.imaging import encode_png

    def void(source: Path) -> None:
        empty = encode_png(np.zeros((64, 128), np.uint8))
        label_path(source, "train", FIRST).write_bytes(empty)

    assert any("is void" in w and FIRST in w for w in check(tmp_path, void).warnings)


def test_a_changed_aspect_is_a_warning(tmp_path: Path) -> None:
    warnings = check(tmp_path, size=[64, 64]).warnings
    assert any("changes the aspect" in w and "and 19 more" in w for w in warnings)


def test_the_page_names_the_offenders_and_asks_for_nothing_else(tmp_path: Path) -> None:
    check(tmp_path, leak)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert FIRST in page
    assert page.index("critical") < page.index(">passed<")
