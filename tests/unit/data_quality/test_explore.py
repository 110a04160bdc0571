"""The page about a data set: what it counts, shows, compares and leaves behind."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data_quality.explore import (
    AUGMENTED,
    DRAWS,
    HEAT_SIZE,
    SAMPLES,
    DataChanges,
    compare,
    explore,
    heat_maps,
    sampled,
)
from streetseg.images.encode import encode_png
from streetseg.reports.drawing import overlay
from tests.conftest import Command
from tests.support import source_layouts
from tests.support.cityscapes_layout import image_path, label_path, put, small_recipe, write_frames

SOURCE = {"train": {"aachen": 6, "bochum": 4}, "val": {"munster": 2, "frankfurt": 2}}
SIZE = (64, 128)
FIRST, SECOND, THIRD = (f"aachen_000000_{number:06d}" for number in range(3))
MARKUP = "aachen_<b>one"


def image_name(split: str, name: str) -> str:
    return str(image_path(Path(), split, name))


def void_label(source: Path) -> str:
    path = label_path(source, "train", SECOND)
    path.write_bytes(encode_png(np.zeros(SIZE, np.uint8)))
    return str(label_path(Path(), "train", SECOND))


def put_random(source: Path, split: str, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    put(source, split, name, rgb, rng.integers(0, 34, SIZE, np.uint8))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "source", SOURCE)


@pytest.fixture
def settings(source: Path, tmp_path: Path) -> Params:
    return small_recipe(source, tmp_path / "prepared")


def page_of_source(settings: Params, page: Path, frames: int = 100) -> str:
    with sampled(settings, frames) as (sample, survey):
        explore(sample, settings, page, survey)
    return page.read_text()


def page_of_prepared(
    dataset: PreparedDataset, settings: Params, page: Path, changes: DataChanges | None = None
) -> str:
    explore(dataset, settings, page, changes=changes)
    return page.read_text()


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next."""
    match = re.search(rf"<h2>{heading}(.*?)(?=<h2>|</body>)", page, re.DOTALL)
    assert match, heading
    return match[1]


def images_in(page: str) -> list[np.ndarray]:
    """The images on a page, decoded: RGB uint8[height, width, 3]."""
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR_RGB)
        for each in shown
    ]


# Where categories lie


def test_a_map_is_darkest_where_a_category_lies_most_often(
    settings: Params, source: Path, tmp_path: Path
) -> None:
    lower = np.full(SIZE, 23, np.uint8)  # sky
    lower[32:] = 7  # road
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    for split, cities in SOURCE.items():
        for city, frames in cities.items():
            for number in range(frames):
                put(source, split, f"{city}_000000_{number:06d}", rgb + np.uint8(number), lower)
    dataset = PreparedDataset(prepare(settings))
    maps = {category.name: (url, peak) for category, url, peak in heat_maps(dataset, range(14))}
    assert {name: peak for name, (_, peak) in maps.items() if peak} == {"flat": 1.0, "sky": 1.0}
    data = base64.b64decode(maps["flat"][0].removeprefix("data:image/png;base64,"))
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (*HEAT_SIZE, 3)
    assert (drawn[: HEAT_SIZE[0] // 2] == 255).all()
    assert drawn[HEAT_SIZE[0] // 2 :].max() < 130
    page = page_of_prepared(dataset, settings, tmp_path / "page.html")
    assert f'<img src="{maps["flat"][0]}" alt="Where flat lies">' in page
    assert "human (never)" in page


def test_ignored_pixels_are_hatched_not_white(settings: Params) -> None:
    space = LabelSpace.load("cityscapes-19")
    ids = np.full((32, 32), IGNORE, np.uint8)
    shown = overlay(np.full((32, 32, 3), 250, np.uint8), ids, space)
    colors = np.unique(shown.reshape(-1, 3), axis=0).tolist()
    assert colors == [[110, 110, 110], [255, 255, 255]]
    sky = overlay(shown, np.full_like(ids, space.names.index("sky")), space)
    assert len(np.unique(sky[:1, :3].reshape(-1, 3), axis=0)) == 1


def test_many_sequences_are_folded_the_largest_first(tmp_path: Path) -> None:
    frames = {f"place{number:02d}": 1 for number in range(15)} | {"large": 3}
    source = write_frames(tmp_path / "source", {"train": frames, "val": {"munster": 2}})
    settings = small_recipe(source, tmp_path / "prepared")
    dataset = PreparedDataset(prepare(settings))
    dataset.cities_are_places = False
    page = page_of_prepared(dataset, settings, tmp_path / "page.html")
    table = section(page, "Frames by sequence")
    listed = re.findall(r"<tr><td>(\w+)</td>", table)
    assert listed[:2] == ["large", "munster"]
    assert "<summary>5 smaller sequences</summary>" in table
    assert listed[-1] == "128x64"
    assert len(listed) == 17 + 1
    totals = re.findall(r"<b>([\d,]+)</b> (\w+)", page)
    assert totals[:4] == [("18", "train"), ("2", "val"), ("17", "sequences"), ("8", "categories")]
    assert page.index("Frames with their labels") < page.index("Frames by sequence")


# From a source


def test_counts_are_of_the_whole_source_and_measures_of_the_sample(
    settings: Params, tmp_path: Path
) -> None:
    with sampled(settings, 5) as (sample, survey):
        assert len(sample.index) == 5
        assert set(sample.index["split"]) == {"train", "val"}
        assert survey.counts.to_dict() == {
            "train": {"aachen": 6, "bochum": 4, "frankfurt": 0, "munster": 0},
            "val": {"aachen": 0, "bochum": 0, "frankfurt": 2, "munster": 2},
        }
    page = page_of_source(settings, tmp_path / "page.html", 5)
    assert re.search(r"measured on 5 frames sampled evenly from all\s+14, before preparing", page)
    assert "<td>aachen</td><td>6</td><td></td>" in page
    assert "<td>munster</td><td></td><td>2</td>" in page
    assert "<td><b>all</b></td><td><b>10</b></td><td><b>4</b></td>" in page
    assert "<td>128x64</td><td>5</td>" in page
    assert len(images_in(section(page, "Frames with their labels"))) == 5


def test_a_sample_larger_than_the_source_is_all_of_it(settings: Params) -> None:
    with sampled(settings, 1000) as (sample, survey):
        assert len(sample.index) == survey.counts.to_numpy().sum() == 14


def test_native_sizes_are_counted(source: Path, settings: Params, tmp_path: Path) -> None:
    put(
        source,
        "train",
        FIRST,
        np.full((32, 48, 3), 90, np.uint8),
        np.full((32, 48), 7, np.uint8),
    )
    page = page_of_source(settings, tmp_path / "page.html")
    assert "<td>128x64</td><td>13</td>" in page
    assert "<td>48x32</td><td>1</td>" in page


def test_class_shares_are_those_of_the_pixels(settings: Params, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings))
    page = section(
        page_of_prepared(dataset, settings, tmp_path / "page.html"), "Class distribution by split"
    )
    printed = np.array(re.findall(r"<td>([\d.]+) %</td>", page), float).reshape(-1, 2)
    for column, split in enumerate(("train", "val")):
        assert printed[:, column] == pytest.approx(100 * shares_of(dataset, split), abs=0.006)


def test_of_many_categories_the_most_frequent_are_shown_first_and_the_rest_folded(
    settings: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetseg.data_quality.explore.SHOWN_CATEGORIES", 3)
    dataset = PreparedDataset(prepare(settings))
    page = page_of_prepared(dataset, settings, tmp_path / "page.html")
    shares = (shares_of(dataset, "train") + shares_of(dataset, "val")) / 2
    names = [dataset.labels.names[number] for number in np.argsort(-shares, kind="stable")]
    for heading in ("Where each category lies", "Class distribution by split"):
        part = section(page, heading)
        assert re.findall(r'"swatch"[^>]*></i>([a-z]+)', part) == names
        assert part.count("<summary>5 rarer categories</summary>") == 1


def shares_of(dataset: PreparedDataset, split: str) -> np.ndarray:
    """The fraction of each category, counted in the arrays."""
    pixels = np.array([dataset.categories(row) for row in dataset.rows(split)])
    return np.bincount(pixels.ravel(), minlength=len(dataset.labels.names)) / pixels.size


@pytest.mark.parametrize("fails", [False, True])
def test_a_sample_leaves_nothing_behind(
    source: Path, settings: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")}

    if fails:
        for path in source.rglob("*_leftImg8bit.png"):
            path.write_bytes(b"no image")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = {path: content for path, content in state().items() if path != scratch}
    if fails:
        with pytest.raises(StreetsegError, match="can be used"), sampled(settings, 5):
            pass
    else:
        with sampled(settings, 5) as (sample, _):
            folder = sample.path
            assert folder.is_relative_to(scratch)
        assert not folder.exists()
    assert not any(scratch.iterdir())
    assert {path: content for path, content in state().items() if path != scratch} == before


def test_a_source_without_one_usable_frame_is_one_clear_line(
    source: Path, settings: Params
) -> None:
    for path in source.rglob("*_leftImg8bit.png"):
        path.write_bytes(b"no image")
    with (
        pytest.raises(StreetsegError, match=r"no frame of .* can be used") as caught,
        sampled(settings, 5),
    ):
        pass
    assert "\n" not in str(caught.value)


Writer = Callable[[Path], Path]

LAYOUTS: dict[str, Writer] = {
    "cityscapes": source_layouts.cityscapes,
    "cityscapes-coarse": source_layouts.cityscapes_coarse,
    "carla-13": source_layouts.carla,
    "carla-0.9.13": lambda root: source_layouts.carla(root, "Town01", ids=range(23)),
    "carla": lambda root: source_layouts.carla(root, ids=range(30)),
    "bdd100k-drivable": source_layouts.bdd100k,
    "bdd100k-drivable-2018": lambda root: source_layouts.bdd100k(
        root, source_layouts.BDD_MAPS_2018
    ),
    "kitti-road": source_layouts.kitti_road,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_has_its_page(name: str, tmp_path: Path) -> None:
    root = LAYOUTS[name](tmp_path / "source")
    settings = small_recipe(root, tmp_path / "prepared", data__source=name)
    with sampled(settings, 100) as (sample, survey):
        explore(sample, settings, tmp_path / "page.html", survey)
        page = (tmp_path / "page.html").read_text()
        assert len(sample.index) == survey.counts.to_numpy().sum()
        assert not len(sample.skipped)
        for category in sample.labels.names:
            assert category in section(page, "Class distribution by split")
        heading, _ = sample.place_words
        assert f"<thead><tr><th>{heading}</th><th>train</th><th>val</th></tr></thead>" in page
        for city in survey.counts.index:
            assert f"<td>{city}</td>" in section(page, f"Frames by {heading}")
        assert len(images_in(section(page, "Frames with"))) == min(SAMPLES, len(sample.index))
        assert "nan" not in re.sub(r'"data:[^"]*"', "", page)


def test_a_source_of_ones_own_has_its_page(tmp_path: Path) -> None:
    own = source_layouts.own(tmp_path / "mine")
    root = source_layouts.own_pictures(tmp_path / "source")
    settings = small_recipe(root, tmp_path / "prepared", data__source=str(own))
    page = page_of_source(settings, tmp_path / "page.html")
    assert "<td>north</td><td>8</td><td>2</td>" in page


def test_a_group_without_one_labelled_pixel_has_no_shares(tmp_path: Path) -> None:
    root = source_layouts.bdd100k(tmp_path / "source")
    blank = source_layouts.BDD_MASKS.format(split="val", name="b1c66a42-6f7d68ca")
    source_layouts.write(root / blank, source_layouts.filled([255]))
    settings = small_recipe(root, tmp_path / "prepared", data__source="bdd100k-drivable")
    page = page_of_source(settings, tmp_path / "page.html")
    assert "nan" not in re.sub(r'"data:[^"]*"', "", page)


# From prepared data


def test_prepared_data_is_shown_with_its_version(settings: Params, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings))
    page = page_of_prepared(dataset, settings, tmp_path / "deep" / "page.html")
    assert f"data version <code>{dataset.version}</code>, 64x32 pixels" in page
    assert "measured on" not in page
    assert "Since" not in page
    assert "<td>aachen</td><td>6</td><td></td>" in page


def test_drawn_streets_have_a_page(
    dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    page = page_of_prepared(dataset, params, tmp_path / "page.html")
    samples = images_in(section(page, "Frames with their labels"))
    assert len(samples) == SAMPLES
    rgb = samples[0][:, : dataset.size[1]].astype(int)
    assert abs(rgb - dataset.image(0)).mean() < 8


def test_a_dataset_of_one_split_has_a_page(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source", {"train": {"aachen": 1}})
    settings = small_recipe(source, tmp_path / "prepared")
    page = page_of_prepared(PreparedDataset(prepare(settings)), settings, tmp_path / "page.html")
    assert "<td>aachen</td><td>1</td></tr>" in page


def test_the_same_data_gives_the_same_page(settings: Params, tmp_path: Path) -> None:
    dataset = PreparedDataset(prepare(settings))
    pages = [
        page_of_prepared(dataset, settings, tmp_path / f"{number}.html") for number in range(2)
    ]
    assert pages[0] == pages[1]


# Compared with another version

Versions = tuple[PreparedDataset, PreparedDataset]


@pytest.fixture
def versions(source: Path, tmp_path: Path) -> Versions:
    """Data before and after: frames that were added, removed, moved and changed."""
    before = PreparedDataset(prepare(small_recipe(source, tmp_path / "before")))
    image_path(source, "train", FIRST).unlink()
    label_path(source, "train", FIRST).unlink()
    for path in (image_path, label_path):
        target = path(source, "val", "bochum_000000_000000")
        target.parent.mkdir(parents=True, exist_ok=True)
        path(source, "train", "bochum_000000_000000").rename(target)
    put_random(source, "val", "munster_000000_000009", 9)
    sky = encode_png(np.full(SIZE, 23, np.uint8))
    label_path(source, "train", SECOND).write_bytes(sky)
    rgb = np.random.default_rng(7).integers(0, 255, (*SIZE, 3), np.uint8)
    image_path(source, "train", THIRD).write_bytes(encode_png(rgb))
    return before, PreparedDataset(prepare(small_recipe(source, tmp_path / "after")))


def test_added_removed_and_changed_frames_are_named(versions: Versions) -> None:
    changes = compare(*versions, "v1")
    assert changes.added == ["val/bochum_000000_000000", "val/munster_000000_000009"]
    assert changes.removed == [f"train/{FIRST}", "train/bochum_000000_000000"]
    assert changes.changed == [f"train/{SECOND}", f"train/{THIRD}"]


def test_fractions_change_by_what_the_pixels_changed(versions: Versions) -> None:
    before, now = versions
    shares = compare(before, now, "v1").shares
    for split in ("train", "val"):
        of_split = shares.loc[split].loc[now.labels.names]
        assert of_split["change"].sum() == pytest.approx(0, abs=1e-9)
        change = shares_of(now, split) - shares_of(before, split)
        assert abs(change).max() > 0.001
        assert of_split["change"].to_numpy() == pytest.approx(change, abs=1e-9)
        assert of_split["now"].to_numpy() == pytest.approx(shares_of(now, split), abs=1e-9)


def test_nothing_changed_between_a_version_and_itself(versions: Versions) -> None:
    changes = compare(versions[0], versions[0], "v1")
    assert (changes.added, changes.removed, changes.changed) == ([], [], [])
    assert not changes.shares["change"].any()


def test_a_removed_split_is_compared_too(versions: Versions) -> None:
    before, now = versions
    now.index = now.index[now.index["split"] == "train"].reset_index(drop=True)
    changes = compare(before, now, "v1")
    assert not changes.added
    assert sum(name.startswith("val/") for name in changes.removed) == 4
    assert not changes.shares.loc["val"]["now"].any()


def test_the_comparison_is_on_the_page(
    versions: Versions, settings: Params, tmp_path: Path
) -> None:
    changes = compare(*versions, "<i>v1</i>")
    page = page_of_prepared(versions[1], settings, tmp_path / "page.html", changes)
    since = section(page, "Changes since")
    assert "&lt;i&gt;v1&lt;/i&gt;" in since
    for title in ("frames added", "frames removed", "frames changed"):
        assert f"{title}: <b>2</b>" in since
    assert f"<code>train/{FIRST}</code>" in since
    sky = changes.shares.loc[("train", "sky")]
    assert sky["change"] > 0.05
    numbers = f"<td>{sky['before']:.2%}</td><td>{sky['now']:.2%}</td>".replace("%", " %")
    assert f"<td>sky</td><td>train</td>{numbers}" in since
    assert f"<td>{sky['change'] * 100:+.2f}</td>" in since


def test_the_command_compares_with_an_index_alone(versions: Versions, tmp_path: Path) -> None:
    before, now = versions
    for path in before.path.rglob("*.npy"):
        path.unlink()
    out = tmp_path / "outputs" / "page.html"
    called = CliRunner().invoke(
        app,
        [
            *("explore", "--prepared", "--against", str(before.path), "--out", str(out)),
            *("--params", str(empty(tmp_path)), "--set", f"data.prepared={now.path}"),
        ],
        catch_exceptions=False,
    )
    assert called.exit_code == 0
    printed = called.stdout.splitlines()
    assert printed[-2:] == [
        f"since {before.path}: 2 frames added, 2 removed, 2 changed",
        str(out),
    ]
    assert f"<code>{before.path}</code>" in out.read_text()


def empty(folder: Path) -> Path:
    """A params file that leaves all at its default."""
    path = folder / "params.yaml"
    path.write_text("{}\n")
    return path


# What may go wrong in the data


def test_sound_frames_are_no_offenders(settings: Params, tmp_path: Path) -> None:
    page = page_of_source(settings, tmp_path / "page.html")
    assert "No frame fails a check." in section(page, "Failed checks")


def test_a_corrupt_frame_and_a_void_label_are_among_the_offenders(
    source: Path, settings: Params, tmp_path: Path
) -> None:
    image_path(source, "train", FIRST).write_bytes(b"no image")
    label = void_label(source)
    offenders = section(page_of_source(settings, tmp_path / "page.html"), "Failed checks")
    assert f"<code>{image_name('train', FIRST)} is not an image</code>" in offenders
    assert f"<code>{label}</code>" in offenders
    assert "a label is all void" in offenders
    assert f"<figcaption>{image_name('train', SECOND)}</figcaption>" in offenders


def test_half_a_pair_is_among_the_offenders(source: Path, settings: Params, tmp_path: Path) -> None:
    label_path(source, "train", FIRST).unlink()
    offenders = section(page_of_source(settings, tmp_path / "page.html"), "Failed checks")
    assert f"cannot read {label_path(Path(), 'train', FIRST)}: No such file" in offenders


def test_the_ends_of_the_scale_are_named(source: Path, settings: Params, tmp_path: Path) -> None:
    for name, value in ((FIRST, 0), (THIRD, 255)):
        plain = encode_png(np.full((*SIZE, 3), value, np.uint8))
        image_path(source, "train", name).write_bytes(plain)
    void_label(source)
    page = section(page_of_source(settings, tmp_path / "page.html"), "Extreme frames")
    first = dict(re.findall(r'<p class="soft">([^<]+)</p>.*?<figcaption>(\w+):', page, re.DOTALL))
    assert first["darkest"] == FIRST
    assert first["brightest"] == THIRD
    assert first["least sharp"] in (FIRST, THIRD)
    assert first["fewest labelled pixels"] == SECOND


# The page itself


def test_the_page_asks_for_nothing_but_itself(
    versions: Versions, settings: Params, tmp_path: Path
) -> None:
    page = page_of_prepared(versions[1], settings, tmp_path / "page.html", compare(*versions, "v1"))
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", page)
    assert addresses
    assert all(re.match("data:image/(jpeg|png);base64,", address) for address in addresses)
    assert not re.search(r"<link|<script|url\(|@import", page)


def test_names_are_escaped(source: Path, settings: Params, tmp_path: Path) -> None:
    put_random(source, "train", MARKUP, 3)
    put_random(source, "train", "<b>two_000000_000000", 4)
    put_random(source, "train", f"{MARKUP}_broken", 5)
    image_path(source, "train", f"{MARKUP}_broken").write_bytes(b"no image")
    page = page_of_source(settings, tmp_path / "page.html")
    assert "<b>one" not in page
    assert "<b>two" not in page
    assert "<td>&lt;b&gt;two</td><td>1</td>" in page
    assert "aachen_&lt;b&gt;one_broken_leftImg8bit.png is not an image" in page


def test_names_of_compared_frames_are_escaped(
    source: Path, settings: Params, tmp_path: Path
) -> None:
    before = PreparedDataset(prepare(small_recipe(source, tmp_path / "before")))
    put_random(source, "train", MARKUP, 3)
    now = PreparedDataset(prepare(settings))
    page = page_of_prepared(now, settings, tmp_path / "page.html", compare(before, now, "v1"))
    assert "<b>one" not in page
    assert "<code>train/aachen_&lt;b&gt;one</code>" in page


def galleries(page: str) -> list[str]:
    return section(page, "Augmentation").split('<div class="draws">')[1:]


def test_the_gallery_shows_frames_before_and_after_augmentation(
    settings: Params, tmp_path: Path
) -> None:
    dataset = PreparedDataset(prepare(settings))
    shown = galleries(page_of_prepared(dataset, settings, tmp_path / "page.html"))
    assert len(shown) == AUGMENTED
    for gallery in shown:
        alternatives = re.findall('alt="(Before|After) augmentation"', gallery)
        assert alternatives == ["Before", *["After"] * DRAWS]
        before, *draws = images_in(gallery)
        assert before.shape == (2 * 32, 64, 3)
        assert all(draw.shape == before.shape for draw in draws)
        assert all(not np.array_equal(draw, before) for draw in draws)
        assert len({draw.tobytes() for draw in draws}) == DRAWS


def test_the_gallery_follows_the_params(source: Path, tmp_path: Path) -> None:
    still: dict[str, Any] = {"flip": 0, "scale": [1, 1], "brightness": 0, "contrast": 0}
    still |= {"saturation": 0, "hue": 0, "blur": 0, "noise": 0}
    still = {f"train__augment__{key}": value for key, value in still.items()}
    settings = small_recipe(source, tmp_path / "prepared", **still)
    dataset = PreparedDataset(prepare(settings))
    for gallery in galleries(page_of_prepared(dataset, settings, tmp_path / "page.html")):
        before, *draws = images_in(gallery)
        assert all(abs(draw.astype(int) - before).max() < 8 for draw in draws)


def test_the_gallery_shows_crops(source: Path, tmp_path: Path) -> None:
    settings = small_recipe(source, tmp_path / "prepared", train__augment__crop=[32, 32])
    dataset = PreparedDataset(prepare(settings))
    for gallery in galleries(page_of_prepared(dataset, settings, tmp_path / "page.html")):
        before, *draws = images_in(gallery)
        assert before.shape == (2 * 32, 64, 3)
        assert all(draw.shape == (2 * 32, 32, 3) for draw in draws)


# On the command line


@pytest.fixture
def exploring(streetseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call 'streetseg explore' in a folder of its own, with its scratch space below that."""
    folder = tmp_path / "project"
    (folder / "scratch").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "scratch"))
    settings = ("--frames", "6", "--set", "prepare.size=[32, 64]")
    return lambda source: streetseg(
        "explore", *settings, "--set", f"data.root={source}", cwd=folder
    )


def test_the_command_writes_the_page_and_nothing_else(
    source: Path, exploring: Command, tmp_path: Path
) -> None:
    files = sorted(source.rglob("*"))
    called = exploring(source)
    assert called.returncode == 0, called.stderr
    assert called.stdout.splitlines() == ["outputs/explore.html"]
    assert "measured on 6 frames" in (tmp_path / "project/outputs/explore.html").read_text()
    assert sorted(source.rglob("*")) == files
    written = {path.relative_to(tmp_path / "project") for path in tmp_path.glob("project/**/*")}
    assert written == {Path("scratch"), Path("outputs"), Path("outputs/explore.html")}


def test_an_empty_folder_is_one_clear_line(exploring: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    called = exploring(tmp_path / "empty")
    assert called.returncode == 1
    assert called.stdout == ""
    (line,) = called.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'empty'} holds no leftImg8bit/")
    assert not (tmp_path / "project" / "outputs").exists()


def test_a_missing_partner_is_named_even_outside_the_sample(
    settings: Params, tmp_path: Path
) -> None:
    lost = sorted(settings.data.root.glob("gtFine/train/bochum/*.png"))[1]
    lost.unlink()
    page = page_of_source(settings, tmp_path / "page.html", 2)
    assert lost.relative_to(settings.data.root).as_posix() in section(page, "Failed checks")
