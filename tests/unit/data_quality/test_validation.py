"""Checks of a prepared dataset: each planted defect is reported by name."""

from __future__ import annotations

import base64
import copy
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from streetseg.config.params import Validate, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data.versions import reference
from streetseg.data_quality import validation
from streetseg.data_quality.validation import Validation, validate
from streetseg.images.decode import decode_ids, decode_image, read_image
from streetseg.images.encode import encode_png
from tests.support import source_layouts
from tests.support.cityscapes_layout import image_path, label_path, put, small_recipe, write_frames

SOUND = {"train": {"aachen": 9, "bochum": 9}, "val": {"munster": 3, "frankfurt": 3}}
SIZE = (64, 128)
FIRST, IN_VAL = "aachen_000000_000000", "munster_000000_000000"
IMAGE, LABEL = (str(path(Path(), "train", FIRST)) for path in (image_path, label_path))
VAL_IMAGE = str(image_path(Path(), "val", IN_VAL))


def nothing(source: Path) -> None:
    """Leave the source as it is."""


def prepared(
    folder: Path,
    spoil: Callable[[Path], object] = nothing,
    frames: Mapping[str, Mapping[str, int]] = SOUND,
    **settings: Any,
) -> PreparedDataset:
    source = write_frames(folder / "source", frames)
    spoil(source)
    return prepared_from(source, folder / "prepared", **settings)


def prepared_from(source: Path, folder: Path, **settings: Any) -> PreparedDataset:
    return PreparedDataset(prepare(small_recipe(source, folder, **settings)))


def check(dataset: PreparedDataset, **bounds: Any) -> Validation:
    return validation.check(dataset, Validate(**bounds))


def the_one(messages: list[str], text: str) -> str:
    """The only message that says ``text``."""
    (match,) = (message for message in messages if text in message)
    return match


def named(message: str) -> str:
    """What a message names in its brackets at the end."""
    return message[message.rindex(" (") + 2 : -1]


@pytest.fixture(scope="module")
def sound_dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepared(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def sound(sound_dataset: PreparedDataset) -> PreparedDataset:
    """Sound data, whose index may be edited."""
    dataset = copy.copy(sound_dataset)
    dataset.index = sound_dataset.index.copy()
    return dataset


def test_sound_data_passes(sound: PreparedDataset) -> None:
    result = check(sound)
    assert result.critical == []
    assert result.warnings == []
    result.require()


def test_synthetic_scenes_hold_no_near_duplicates(dataset: PreparedDataset) -> None:
    result = check(dataset)
    assert result.critical == []
    assert not any("nearly the same" in warning for warning in result.warnings)


# Frames that could not be used


@pytest.mark.parametrize("missing", [IMAGE, LABEL])
def test_half_a_pair_is_a_warning_that_names_what_is_missing(tmp_path: Path, missing: str) -> None:
    dataset = prepared(
        tmp_path, lambda source: (source / missing).unlink(), prepare__on_error="skip"
    )
    result = check(dataset, max_skipped=0.1)
    assert result.critical == []
    assert result.warnings == [
        f"a frame could not be used (cannot read {missing}: No such file or directory)"
    ]


def test_a_corrupt_image_is_a_warning_that_names_it(tmp_path: Path) -> None:
    dataset = prepared(
        tmp_path,
        lambda source: (source / IMAGE).write_bytes(b"no image"),
        prepare__on_error="skip",
    )
    result = check(dataset, max_skipped=0.1)
    assert result.warnings == [f"a frame could not be used ({IMAGE} is not an image)"]


def test_a_large_share_of_skipped_frames_is_critical(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, lambda source: (source / LABEL).unlink(), prepare__on_error="skip")
    assert check(dataset).critical == ["more than 1% of a split could not be used (train)"]


# Sizes


def resized(source: Path, split: str, name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 255, (*size, 3), np.uint8)
    put(source, split, name, rgb, rng.integers(0, 34, size, np.uint8))


def test_a_size_other_than_declared_is_critical(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, lambda source: resized(source, "train", FIRST, (32, 64)))
    assert check(dataset, source_size=SIZE).critical == [f"a frame is not 128x64 ({IMAGE})"]


def test_every_frame_of_another_size_than_declared_is_critical(sound: PreparedDataset) -> None:
    message = the_one(check(sound, source_size=(1024, 2048)).critical, "a frame is not 2048x1024")
    assert named(message).endswith("and 21 more")


def test_the_declared_size_passes(sound: PreparedDataset) -> None:
    assert check(sound, source_size=SIZE).critical == []


def test_frames_that_differ_in_size_are_a_warning(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, lambda source: resized(source, "train", FIRST, (32, 64)))
    result = check(dataset)
    assert result.critical == []
    assert result.warnings == [f"frames differ in size ({IMAGE})"]


def test_a_frame_of_another_aspect_is_a_warning(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, lambda source: resized(source, "train", FIRST, (64, 96)))
    message = the_one(check(dataset).warnings, "changes the aspect by more than 10%")
    assert named(message) == IMAGE


def test_a_changed_aspect_of_all_frames_is_a_warning(tmp_path: Path) -> None:
    result = check(prepared(tmp_path, prepare__size=[64, 64]))
    assert the_one(result.warnings, "changes the aspect ratio by 50%").endswith("and 21 more)")


# Labels


def test_ids_outside_the_label_space_are_critical(sound: PreparedDataset) -> None:
    row = sound.index.index[sound.index["image"] == IMAGE][0]
    sound.index.at[row, "label_ids"] = [7, 99, 200]
    assert check(sound).critical == [f"a label holds ids that are not defined ({LABEL})"]


def test_255_is_no_id_of_cityscapes(sound: PreparedDataset) -> None:
    row = sound.index.index[sound.index["image"] == IMAGE][0]
    sound.index.at[row, "label_ids"] = [7, 255]  # its license plate is -1, and never drawn
    assert check(sound).critical == [f"a label holds ids that are not defined ({LABEL})"]


def test_an_all_void_label_is_critical(tmp_path: Path) -> None:
    def void(source: Path) -> None:
        (source / LABEL).write_bytes(encode_png(np.zeros(SIZE, np.uint8)))

    assert check(prepared(tmp_path, void)).critical == [f"a label is all void ({LABEL})"]


def test_a_label_of_ignored_pixels_only_is_critical(tmp_path: Path) -> None:
    source = source_layouts.bdd100k(tmp_path / "source")
    spoilt = source_layouts.BDD_MASKS.format(split="train", name="0000f77c-6257be58")
    source_layouts.write(source / spoilt, source_layouts.filled([255]))
    dataset = prepared_from(source, tmp_path / "prepared", data__source="bdd100k-drivable")
    assert named(the_one(check(dataset).critical, "all void")) == spoilt


def test_a_mostly_void_label_is_a_warning(tmp_path: Path) -> None:
    def nearly_void(source: Path) -> None:
        ids = np.zeros(SIZE, np.uint8)
        ids[:2] = 7
        (source / LABEL).write_bytes(encode_png(ids))

    result = check(prepared(tmp_path, nearly_void))
    assert result.critical == []
    assert result.warnings == [f"more than 95% of a label is void ({LABEL})"]


def without_people(source: Path) -> None:
    for path in source.glob("gtFine/*/*/*.png"):
        ids = decode_ids(path.read_bytes())
        ids[(ids == 24) | (ids == 25)] = 26
        path.write_bytes(encode_png(ids))


def test_categories_and_scored_labels_that_never_occur_are_warnings(tmp_path: Path) -> None:
    warnings = check(prepared(tmp_path, without_people)).warnings
    few = the_one(warnings, "a category is in fewer than 3 frames")
    assert named(few) == "human in train, human in val"
    absent = the_one(warnings, "a label that the benchmark scores never occurs")
    assert named(absent) == "person, rider"


def test_labels_that_are_not_scored_may_be_absent(tmp_path: Path) -> None:
    def without_caravans(source: Path) -> None:
        for path in source.glob("gtFine/*/*/*.png"):
            ids = decode_ids(path.read_bytes())
            ids[ids == 29] = 26
            path.write_bytes(encode_png(ids))

    assert check(prepared(tmp_path, without_caravans)).warnings == []


# The same image, name or city twice


def leak(source: Path) -> None:
    shutil.copy(source / IMAGE, source / VAL_IMAGE)


def test_an_image_in_two_splits_is_critical(tmp_path: Path) -> None:
    result = check(prepared(tmp_path, leak))
    assert result.critical == [f"an image is in more than one split ({IMAGE}, {VAL_IMAGE})"]
    assert result.warnings == []
    with pytest.raises(StreetsegError, match=FIRST) as caught:
        result.require()
    assert "\n" not in str(caught.value)


def test_an_image_twice_in_one_split_is_no_leak(tmp_path: Path) -> None:
    twin = image_path(Path(), "train", "bochum_000000_000000")
    dataset = prepared(tmp_path, lambda source: shutil.copy(source / IMAGE, source / twin))
    assert check(dataset).critical == []


def reencoded(rgb: np.ndarray) -> np.ndarray:
    return cv2.imdecode(
        cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR
    )


def brightened(rgb: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(rgb, beta=20)


def cropped(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb[2:-2, 3:-3], rgb.shape[1::-1])


@pytest.fixture
def streets(tmp_path: Path, cityscapes: Path) -> Path:
    """A copy of the synthetic scenes, to spoil."""
    return Path(shutil.copytree(cityscapes, tmp_path / "source"))


def plant_near_duplicate(
    streets: Path, change: Callable[[np.ndarray], np.ndarray]
) -> tuple[str, str]:
    """Overwrite an image of val with a changed one of train; returns their paths."""
    original = sorted(streets.glob("leftImg8bit/train/*/*.png"))[3]
    copied = sorted(streets.glob("leftImg8bit/val/*/*.png"))[1]
    copied.write_bytes(encode_png(change(decode_image(original.read_bytes()))))
    in_train, in_val = (path.relative_to(streets).as_posix() for path in (original, copied))
    return in_train, in_val


@pytest.mark.parametrize("change", [reencoded, brightened, cropped])
def test_a_near_duplicate_across_splits_is_a_warning_that_names_both(
    tmp_path: Path, streets: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    original, copied = plant_near_duplicate(streets, change)
    result = check(prepared_from(streets, tmp_path / "prepared"))
    assert result.critical == []
    message = the_one(result.warnings, "an image is nearly the same as one in another split")
    assert named(message) == f"{copied} and {original}"


def test_the_search_for_near_duplicates_can_be_turned_off(tmp_path: Path, streets: Path) -> None:
    plant_near_duplicate(streets, reencoded)
    result = check(prepared_from(streets, tmp_path / "prepared"), near_duplicate_bits=-1)
    assert not any("nearly the same" in warning for warning in result.warnings)


def test_frames_that_share_a_name_are_critical(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)
    is_twin = dataset.index["frame"] == IN_VAL  # only data of release 0.1.0 has such frames
    dataset.index.loc[is_twin, "frame"] = FIRST
    assert check(dataset).critical == [f"frames share a name ({IMAGE}, {VAL_IMAGE})"]


def test_a_city_in_two_splits_is_a_warning(tmp_path: Path) -> None:
    dataset = prepared(
        tmp_path, lambda source: resized(source, "val", "aachen_000009_000009", SIZE)
    )
    result = check(dataset)
    assert result.critical == []
    assert result.warnings == ["a city is in more than one split (aachen)"]


def test_a_single_city_is_a_warning(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, frames={"train": {"aachen": 16}, "val": {"munster": 4, "ulm": 4}})
    assert check(dataset).warnings == [
        "a split has only one city, so its score holds for that city alone (train)"
    ]


def about_cities(result: Validation) -> list[str]:
    return [warning for warning in result.warnings if "city" in warning]


@pytest.mark.parametrize(
    ("name", "write"),
    [("kitti-road", source_layouts.kitti_road), ("bdd100k-drivable", source_layouts.bdd100k)],
)
def test_groups_that_are_no_places_are_not_held_against_the_data(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    source = write(tmp_path / "source")
    dataset = prepared_from(source, tmp_path / "prepared", data__source=name)
    assert about_cities(check(dataset)) == []


def test_recordings_are_places(tmp_path: Path) -> None:
    source = source_layouts.carla(tmp_path / "source")
    dataset = prepared_from(source, tmp_path / "prepared", data__source="carla-13")
    assert sorted(about_cities(check(dataset))) == [
        "a city is in more than one split (all)",
        "a split has only one city, so its score holds for that city alone (train, val)",
    ]


# Images


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "nearly black"), (255, "nearly white"), (128, "blank or blurred")]
)
def test_a_blank_image_is_a_warning(tmp_path: Path, value: int, expected: str) -> None:
    def blank(source: Path) -> None:
        (source / IMAGE).write_bytes(encode_png(np.full((*SIZE, 3), value, np.uint8)))

    assert named(the_one(check(prepared(tmp_path, blank)).warnings, expected)) == IMAGE


def changed_image(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    def spoil(source: Path) -> None:
        (source / IMAGE).write_bytes(encode_png(change(read_image(source / IMAGE))))

    return spoil


def test_a_blurred_image_is_a_warning(tmp_path: Path) -> None:
    blurred = changed_image(lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 8))
    result = check(prepared(tmp_path, blurred), max_deviation=1000)
    assert result.warnings == [f"an image is blank or blurred ({IMAGE})"]


DARKER = changed_image(lambda rgb: rgb // 2)
SOFTER = changed_image(lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 2))


@pytest.mark.parametrize(("spoil", "expected"), [(DARKER, "bright or dark"), (SOFTER, "sharp or")])
def test_an_image_unlike_the_rest_of_its_split_is_a_warning(
    tmp_path: Path, spoil: Callable[[Path], object], expected: str
) -> None:
    dataset = prepared(tmp_path, spoil)
    (message,) = check(dataset).warnings
    assert message.startswith(f"an image is far more {expected}")
    assert named(message) == IMAGE
    assert check(dataset, max_deviation=1000).warnings == []


def test_a_split_that_is_darker_as_a_whole_holds_no_outliers(tmp_path: Path) -> None:
    def night(source: Path) -> None:
        for path in source.glob("leftImg8bit/val/*/*.png"):
            path.write_bytes(encode_png(decode_image(path.read_bytes()) // 3))

    assert check(prepared(tmp_path, night)).warnings == []


# Splits


def test_too_few_frames_are_critical(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, frames={"train": {"aachen": 16}, "val": {"munster": 1}})
    assert check(dataset).critical == ["a split has too few frames (val)"]
    assert check(dataset, min_frames={"train": 16, "val": 1}).critical == []


@pytest.mark.parametrize(("present", "missing"), [("train", "val"), ("val", "train")])
def test_a_split_that_is_missing_is_critical(tmp_path: Path, present: str, missing: str) -> None:
    dataset = prepared(tmp_path, frames={present: {"aachen": 8, "bochum": 8}})
    assert check(dataset).critical == [f"a split has too few frames ({missing})"]


def test_a_missing_split_is_critical_whatever_is_asked_of_the_other(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, frames={"train": {"aachen": 8, "bochum": 8}})
    assert check(dataset, min_frames={"train": 8}).critical != []


def test_a_split_without_a_city_is_not_said_to_have_one(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, frames={"train": {"aachen": 8, "bochum": 8}})
    assert about_cities(check(dataset)) == []


# Class fractions compared with a reference


def check_against(dataset: PreparedDataset, usual: Path, **bounds: Any) -> Validation:
    settings = load_params(overrides={"validate.reference": str(usual)})
    with reference(settings) as opened:
        return validation.check(dataset, Validate(reference=str(usual), **bounds), opened)


def under_an_open_sky(source: Path) -> None:
    for path in source.glob("gtFine/val/munster/*.png"):
        ids = decode_ids(path.read_bytes())
        ids[: SIZE[0] // 2] = 23
        path.write_bytes(encode_png(ids))


def test_data_held_against_itself_gives_no_warning(sound: PreparedDataset) -> None:
    result = check_against(sound, sound.path, share_tolerance=0)
    assert (result.critical, result.warnings) == ([], [])


def test_a_share_outside_what_the_reference_holds_is_a_warning(
    tmp_path: Path, sound: PreparedDataset
) -> None:
    dataset = prepared(tmp_path, under_an_open_sky)
    result = check_against(dataset, sound.path)
    assert result.critical == []
    message = the_one(result.warnings, "the fraction of a category in a city is outside")
    rows = dataset.rows("val")[dataset.index["city"][dataset.rows("val")] == "munster"]
    sky = dataset.labels.category_id("sky")
    share = np.mean([(dataset.categories(row) == sky).mean() for row in rows])
    assert f"sky in val/munster: {share:.2%}, reference " in message
    assert "frankfurt" not in message
    wide = check_against(dataset, sound.path, share_tolerance=100)
    assert wide.warnings == []


def test_without_a_reference_no_share_is_unusual(tmp_path: Path) -> None:
    assert check(prepared(tmp_path, under_an_open_sky)).warnings == []


def test_a_reference_of_another_label_space_is_one_clear_error(
    tmp_path: Path, sound: PreparedDataset
) -> None:
    source = source_layouts.kitti_road(tmp_path / "source")
    other = prepared_from(source, tmp_path / "prepared", data__source="kitti-road")
    with pytest.raises(StreetsegError, match="the same label space") as caught:
        check_against(sound, other.path)
    assert "\n" not in str(caught.value)


# The page


def page_of(folder: Path, dataset: PreparedDataset, **bounds: Any) -> str:
    validate(dataset, Validate(**bounds), folder / "deep" / "page.html")
    return (folder / "deep" / "page.html").read_text()


def test_the_page_puts_failures_first_and_counts_them(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, leak)
    results = check(dataset, source_size=SIZE).results
    page = page_of(tmp_path, dataset, source_size=SIZE)
    counts = re.findall(r'<span class="mark [\w-]+">(\d+) ([\w ]+)</span>', page)
    assert counts == [
        ("1", "critical"),
        (str(len(results) - 2), "passed"),
        ("1", "not asked"),
    ]
    assert "1 critical failure: the pipeline stops here." in page
    assert "<td>train</td><td>18</td><td>2</td><td>0</td>" in page
    assert dataset.version in page
    assert page.index('<td class="mark critical">') < page.index('<td class="mark passed">')
    assert IMAGE in page
    assert VAL_IMAGE in page


def test_the_page_of_sound_data_says_that_nothing_stops_the_pipeline(
    tmp_path: Path, sound: PreparedDataset
) -> None:
    page = page_of(tmp_path, sound)
    assert "Nothing found: every check that was asked for passes." in page
    assert "stops" not in page


def test_what_passed_or_was_not_asked_is_folded(tmp_path: Path, sound: PreparedDataset) -> None:
    page = page_of(tmp_path, sound, near_duplicate_bits=-1)
    passed, not_asked = re.findall(r"<details><summary>(.*?)</details>", page, re.DOTALL)
    assert passed.count('<td class="mark passed">passed</td>') == int(passed.split()[0])
    assert not_asked.startswith("2 checks not asked: no reference or no limit is set for them")
    assert not_asked.count('<td class="mark not-asked">not asked</td>') == 2
    assert "outside the range of the reference&#39;s cities" in not_asked
    assert "nearly the same" in not_asked
    assert "nearly the same" in page_of(tmp_path, sound).split("not asked: ")[0], "asked, passed"


def test_frames_of_sequences_are_not_said_to_be_of_cities(
    tmp_path: Path, sound: PreparedDataset
) -> None:
    assert "<th>cities</th>" in page_of(tmp_path, sound)
    sound.cities_are_places = False
    page = page_of(tmp_path, sound)
    assert "<th>sequences</th>" in page
    assert "<th>cities</th>" not in page


def test_the_page_asks_for_nothing_but_itself(tmp_path: Path) -> None:
    page = page_of(tmp_path, prepared(tmp_path, leak))
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", page)
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"<link|<script|url\(|@import", page)


def test_the_page_shows_each_offending_frame_beside_its_labels(tmp_path: Path) -> None:
    page = page_of(tmp_path, prepared(tmp_path, leak))
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(shown) == 2
    for image in shown:
        pixels = np.frombuffer(base64.b64decode(image), np.uint8)
        assert cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape == (32, 2 * 64, 3)


def test_the_page_shows_both_images_of_a_near_duplicate(tmp_path: Path, streets: Path) -> None:
    original, copied = plant_near_duplicate(streets, reencoded)
    page = page_of(tmp_path, prepared_from(streets, tmp_path / "prepared"))
    assert f"<figcaption>{original}</figcaption>" in page
    assert f"<figcaption>{copied}</figcaption>" in page


def test_the_page_lists_many_offenders_and_shows_some(
    tmp_path: Path, sound: PreparedDataset
) -> None:
    page = page_of(tmp_path, sound, source_size=(1024, 2048))
    assert "24, the first: " in page
    assert page.count("<img ") == validation.SHOWN
    assert all(image in page for image in sound.index["image"])


def test_names_are_escaped_on_the_page(tmp_path: Path) -> None:
    name, broken = "aachen_<b>one", "aachen_<b>two"

    def spoil(source: Path) -> None:
        put(source, "train", name, np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 7, np.uint8))
        put(source, "train", broken, np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 7, np.uint8))
        image_path(source, "train", broken).write_bytes(b"no image")

    page = page_of(tmp_path, prepared(tmp_path, spoil, prepare__on_error="skip"))
    assert "<b>one" not in page
    assert "<b>two" not in page
    assert "&lt;b&gt;one_leftImg8bit.png" in page
    assert "&lt;b&gt;two_leftImg8bit.png is not an image" in page


# A large dataset


def grown(dataset: PreparedDataset, frames: int) -> None:
    """Give the dataset an index of so many frames, all of them different, 85 % of them train."""
    rng = np.random.default_rng(0)
    of_split = dataset.index["split"].to_numpy()
    train = round(0.85 * frames)
    rows = np.concatenate(
        [
            np.resize(np.flatnonzero(of_split == split), count)
            for split, count in (("train", train), ("val", frames - train))
        ]
    )
    numbers = pd.Series(np.arange(frames)).astype(str).str.zfill(6)
    hashes = rng.bytes(32 * frames).hex()
    dataset.index = (
        dataset.index.iloc[rows]
        .reset_index(drop=True)
        .assign(
            frame="frame_" + numbers,
            image="image_" + numbers,
            label="label_" + numbers,
            image_hash="a" + numbers,
            label_hash="b" + numbers,
            phash=[hashes[64 * row : 64 * (row + 1)] for row in range(frames)],
        )
    )


def test_one_leak_and_one_near_duplicate_are_found_among_20_000_frames(
    sound: PreparedDataset,
) -> None:
    grown(sound, 20_000)
    index = sound.index
    index.loc[18_000, ["image_hash", "phash"]] = index.loc[123, ["image_hash", "phash"]]
    near = int(index.at[14_000, "phash"], 16) ^ (1 << 200 | 1 << 77 | 1)
    index.at[19_999, "phash"] = f"{near:064x}"
    result = check(sound)
    assert result.critical == [
        "an image is in more than one split (image_000123, image_018000)",
    ]
    assert result.warnings == [
        "an image is nearly the same as one in another split, which flatters the score "
        "(image_019999 and image_014000)"
    ]
