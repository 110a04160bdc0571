"""A dataset prepared in parts: the data version of one machine, whatever the number of parts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.parts.join import Joined, join
from streetseg.data.parts.part import prepare_part
from streetseg.data.parts.plan import cuts, plan
from streetseg.data.prepare import prepare
from streetseg.data.versions import fetch
from tests.support.cityscapes_layout import (
    digests,
    image_path,
    label_path,
    small_recipe,
    write_frames,
)
from tests.support.s3_server import s3_server

FRAMES = {"train": {"aachen": 5, "bochum": 2, "ulm": 1}, "val": {"munster": 3}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "source", FRAMES)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a server with the bucket ``frames``."""
    with s3_server("frames") as client:
        yield client


def upload(client: Any, source: Path, prefix: str) -> str:
    """Put the files of a folder into the bucket; returns their address."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        client.upload_file(str(path), "frames", f"{prefix}/source/{path.relative_to(source)}")
    return f"s3://frames/{prefix}/source"


def in_parts(url: str, parts: int, remote: str, **settings: object) -> Joined:
    """The data version of the frames at a URL."""
    recipe = small_recipe(Path("unused"), Path("unused"), data__remote=remote, **settings)
    addresses = plan(url, parts, recipe)
    assert sum(map(prepare_part, addresses)) > 0
    return join(addresses)


@pytest.mark.parametrize("parts", [1, 4, 50])
def test_the_parts_make_the_data_version_of_one_machine(
    source: Path, tmp_path: Path, parts: int
) -> None:
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    remote = str(tmp_path / "remote")
    joined = in_parts(str(source), parts, remote)
    assert joined.version == one.version
    assert joined.frames == {"train": 8, "val": 3}
    fetched = fetch(joined.version, remote, tmp_path / "fetched")
    assert digests(fetched) == digests(one.path)
    files = digests(one.path)
    assert joined.files == len(files)
    assert joined.size == sum((one.path / name).stat().st_size for name in files)
    assert not list((tmp_path / "remote/streetseg-parts").rglob("*.npy"))


@pytest.mark.slow
def test_frames_and_remote_may_be_in_a_bucket(source: Path, tmp_path: Path, s3: Any) -> None:
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    joined = in_parts(upload(s3, source, "plain"), 4, "s3://frames/plain/remote")
    assert joined.version == one.version
    fetched = fetch(joined.version, "s3://frames/plain/remote", tmp_path / "fetched")
    assert digests(fetched) == digests(one.path)


@pytest.mark.slow
def test_a_source_of_ones_own_may_lie_in_the_bucket(source: Path, tmp_path: Path, s3: Any) -> None:
    names = [f"{city}_000000_000000" for city in ("aachen", "bochum")]
    (source / "val.lst").write_text(f"{names[1]}\n")
    (source / "train.lst").write_text(f"{names[0]}\n")
    (source / "mine.yaml").write_text(
        "label_space: cityscapes\n"
        "split_files: {train: train.lst, val: val.lst}\n"
        "pairs:\n"
        "  - images: leftImg8bit/train/{city}/{name}_leftImg8bit.png\n"
        "    labels: gtFine/train/{city}/{name}_gtFine_labelIds.png\n"
    )
    own = {"data__source": str(source / "mine.yaml")}
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared", **own)))
    url = upload(s3, source, "own")
    joined = in_parts(url, 2, "s3://frames/own/remote", data__source=f"{url}/mine.yaml")
    assert joined.version == one.version
    assert joined.frames == {"train": 1, "val": 1}


def test_a_part_is_tried_again_alone_and_the_rest_is_kept(source: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    recipe = small_recipe(source, tmp_path / "unused", data__remote=remote)
    addresses = plan(str(source), 4, recipe)
    bad = image_path(source, "train", "bochum_000000_000001")
    good, times = bad.read_bytes(), bad.stat()
    bad.write_bytes(good[:99])
    with pytest.raises(StreetsegError, match="bochum_000000_000001"):
        prepare_part(addresses[2])
    for address in (*addresses[:2], addresses[3]):
        prepare_part(address)
    with pytest.raises(StreetsegError, match="is not finished: run the parts that prepare it"):
        join(addresses)
    bad.write_bytes(good)
    os.utime(bad, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = noted(remote)
    prepare_part(addresses[2])
    added = noted(remote).keys() - before.keys()
    assert sorted(noted(remote)[name] for name in added) == ["bochum", "ulm"]
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    assert join(addresses).version == one.version


def noted(remote: str) -> dict[str, str]:
    """The finished pieces, and the city of each."""
    notes = Path(remote, "streetseg-parts/shards").glob("*.json")
    return {path.name: json.loads(path.read_text())["rows"][0]["city"] for path in notes}


def test_a_later_plan_does_only_what_has_changed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = str(tmp_path / "remote")
    in_parts(str(source), 4, remote)
    capsys.readouterr()
    in_parts(str(source), 2, remote)
    assert capsys.readouterr().out.count("of them finished before") == 2
    image_path(source, "train", "ulm_000000_000000").write_bytes(
        image_path(source, "train", "aachen_000000_000000").read_bytes()
    )
    joined = in_parts(str(source), 3, remote)
    told = capsys.readouterr().out
    assert sum(map(int, re.findall(r"(\d+) of them finished before", told))) == 10
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    assert joined.version == one.version


def test_a_frame_that_moves_to_another_split_is_prepared_again(
    source: Path, tmp_path: Path
) -> None:
    remote = str(tmp_path / "remote")
    in_parts(str(source), 2, remote)
    for of in (image_path, label_path):
        old = of(source, "train", "ulm_000000_000000")
        new = of(source, "val", "ulm_000000_000000")
        new.parent.mkdir()
        old.rename(new)
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    assert in_parts(str(source), 2, remote).version == one.version


def test_skipped_frames_count_as_on_one_machine(source: Path, tmp_path: Path) -> None:
    for number in (1, 3):
        image_path(source, "train", f"aachen_000000_{number:06d}").write_bytes(b"none")
    image_path(source, "train", "ulm_000000_000000").write_bytes(b"none")
    skip = {"prepare__on_error": "skip"}
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared", **skip)))
    assert len(one.skipped) == 3
    joined = in_parts(str(source), 4, str(tmp_path / "remote"), **skip)
    assert joined.version == one.version
    assert joined.notes == [one.skip_summary]
    assert "3 of 11 frames skipped" in joined.to_markdown()


@pytest.mark.slow
def test_polygons_count_as_on_one_machine(source: Path, tmp_path: Path, s3: Any) -> None:
    """One label file for all images, which every part reads."""
    images = sorted((source / "leftImg8bit").rglob("*.png"))
    shapes = [
        {"id": n, "image_id": n, "category_id": 1, "iscrowd": 0, "bbox": [1, 1, 40, 30],
         "area": 1200, "segmentation": [[1, 1, 41, 1, 41, 31, 1, 31]]}
        for n, _ in enumerate(images, 1)
    ]  # fmt: skip
    names = [path.relative_to(source).as_posix() for path in images]
    export = {
        "images": [
            {"id": n, "file_name": name, "height": 64, "width": 128}
            for n, name in enumerate(names, 1)
        ],
        "annotations": shapes,
        "categories": [{"id": 1, "name": "road"}],
    }
    (source / "coco.json").write_text(json.dumps(export))
    (source / "mine.yaml").write_text(
        "label_space: cityscapes\n"
        "pairs:\n"
        "  - images: leftImg8bit/{split}/{city}/{name}_leftImg8bit.png\n"
        "    labels: coco.json\n"
        "    format: coco\n"
    )
    own = {"data__source": str(source / "mine.yaml")}
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared", **own)))
    assert one.shapes
    url = upload(s3, source, "polygons")
    joined = in_parts(url, 3, "s3://frames/polygons/remote", **own)
    assert joined.version == one.version
    assert joined.notes == [one.shape_summary]


def test_a_version_whose_files_are_gone_is_not_published(source: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    addresses = plan(str(source), 2, small_recipe(source, tmp_path, data__remote=str(remote)))
    for address in addresses:
        prepare_part(address)
    for path in (remote / "files").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(StreetsegError, match="files are gone from"):
        join(addresses)
    assert not list(remote.rglob("*.dir"))


@pytest.mark.slow
def test_errors_name_the_files_by_their_address(source: Path, s3: Any) -> None:
    image = "leftImg8bit/train/a/a_0_0_leftImg8bit.png"
    s3.put_object(Bucket="frames", Key=f"wrong/source/{image}")
    recipe = small_recipe(source, source, data__remote="s3://frames/wrong/remote")
    with pytest.raises(StreetsegError, match=f"s3://frames/wrong/source/{image} has no label"):
        plan("s3://frames/wrong/source", 2, recipe)
    with pytest.raises(StreetsegError, match="s3://frames/nothing holds no files"):
        plan("s3://frames/nothing", 2, recipe)
    with pytest.raises(StreetsegError, match="parts=0: give 1 to 1000"):
        plan(str(source), 0, recipe)


@pytest.mark.parametrize(
    ("sizes", "parts", "expected"),
    [
        ([10], 4, [0, 2, 5, 8, 10]),
        ([10, 10], 2, [0, 10, 20]),
        ([11, 9], 2, [0, 11, 20]),
        ([14, 6], 2, [0, 10, 20]),
        ([1, 1], 5, [0, 1, 2]),
        ([5] * 20, 3, [0, 35, 65, 100]),
    ],
)
def test_cuts_are_even_and_at_the_end_of_shards_that_are_near(
    sizes: list[int], parts: int, expected: list[int]
) -> None:
    assert cuts(sizes, parts) == expected
    assert np.all(np.diff(cuts(sizes, parts)) > 0)
