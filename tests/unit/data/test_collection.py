"""Several sources in one dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from streetseg.config.params import Params, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.collection import load_sources
from streetseg.data.dataset import PreparedDataset
from streetseg.data.origin import open_prepared
from streetseg.data.places import KnownPlaces
from streetseg.data.prepare import prepare
from streetseg.data.sources import Frame
from streetseg.images.encode import encode_png
from tests.support.cityscapes_layout import write_frames
from tests.support.public_sets import public_set


def settings(root: Path, *sources: tuple[str, str], **data: Any) -> Params:
    """Settings that prepare frames of ``sources``, names and folders below ``root``."""
    listed = [{"source": name, "folder": folder} for name, folder in sources]
    return Params.model_validate(
        {
            "data": {"sources": listed, "root": root, "prepared": root.parent / "prepared", **data},
            "prepare": {"size": (32, 64), "workers": 1},
        }
    )


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """Night frames of ACDC and IDD's frames in 19 classes."""
    for name in ("acdc", "idd"):
        public_set(tmp_path / "sets" / name, name)
    return settings(tmp_path / "sets", ("acdc", "acdc"), ("idd", "idd"), target="cityscapes-19")


def test_frames_of_several_sources_are_told_apart(params: Params) -> None:
    dataset = PreparedDataset(prepare(params))
    rows = dataset.index[["split", "source", "city", "condition", "frame"]].to_numpy().tolist()
    assert rows == [
        [split, source, city, condition, name]
        for split in ("train", "val")
        for source, city, condition, name in (
            ("acdc", "acdc_GOPR0351", "night", f"acdc_{split}_GOPR0351_frame_000159"),
            ("idd", "idd_0", "", f"idd_{split}_0_005506"),
        )
    ]
    assert dataset.source == "acdc+idd"
    assert dataset.name == "acdc+idd"
    assert len(dataset.labels.names) == 19


def test_every_source_is_numbered_by_its_own_label_space(params: Params) -> None:
    """Label id 7 is road in ACDC and an animal in IDD; id 0 is unlabelled and road."""
    dataset = PreparedDataset(prepare(params))
    acdc, idd = (dataset.label_ids(row)[0, ::8] for row in dataset.rows("val"))
    assert [acdc[0], acdc[7], idd[0], idd[7]] == [0, 7, 7, 5]
    assert np.isin([7, 11, 23, 24], idd).all()


def test_the_dataset_is_known_by_its_sources(params: Params) -> None:
    prepare(params)
    assert open_prepared(params).source == "acdc+idd"
    alone = params.model_copy(update={"data": params.data.model_copy(update={"sources": ()})})
    with pytest.raises(StreetsegError, match=r"holds frames of acdc\+idd"):
        open_prepared(alone)
    other = settings(params.data.root, ("acdc", "acdc"), ("idd", "idd"), target="cityscapes")
    with pytest.raises(StreetsegError, match="its label space is not that of"):
        open_prepared(other)


def test_sources_of_different_label_spaces_need_a_target(tmp_path: Path) -> None:
    params = settings(tmp_path, ("acdc", "a"), ("kitti-road", "b"))
    with pytest.raises(StreetsegError, match=r"set data\.target for both"):
        _ = load_sources(params.data).labels


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    params = settings(tmp_path, ("acdc", "a"), ("acdc", "b"))
    with pytest.raises(StreetsegError, match="two are called 'acdc'"):
        load_sources(params.data)


@pytest.mark.parametrize("folder", ["/data", "../other"])
def test_a_folder_of_a_source_is_below_the_root(folder: str) -> None:
    sources = f"data.sources=[{{source: acdc, folder: {folder}}}]"
    with pytest.raises(StreetsegError, match=r"a folder below data\.root is needed"):
        load_params(overrides=[sources])


# Places that two sources show

RULES = {"images": "rgb/{name}.png", "labels": "ids/{name}.png"}


def labelled_later(root: Path, *names: str, **rules: Any) -> Params:
    """Settings of Cityscapes' frames, and of others that were labelled later, with their names."""
    write_frames(root / "cityscapes", {"train": {"aachen": 4}, "val": {"munster": 2}})
    for number, name in enumerate(names):
        photo = np.random.default_rng(number + 1).integers(0, 255, (64, 128, 3), np.uint8)
        for kind, pixels in (("rgb", photo), ("ids", photo[..., 0] % 34)):
            path = root / "later" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))
    source = root / "later" / "source.yaml"
    rules = {"name": "later", "label_space": "cityscapes", "pairs": [RULES], **rules}
    source.write_text(yaml.safe_dump(rules))
    return settings(root, ("cityscapes", "cityscapes"), (str(source), "later"))


def splits_of(params: Params, source: str) -> dict[str, str]:
    """The split of each frame of a source."""
    frames = load_sources(params.data).find(params.data.root)
    return {frame.name: frame.split for frame in frames if frame.source == source}


def test_frames_that_are_labelled_later_join_the_split_of_their_place(tmp_path: Path) -> None:
    names = (
        "aachen_000000_000009",
        "aachen_000007_000001_leftImg8bit",
        "munster_000000_000002_leftImg8bit",
        "munster_000009_000000",
        *(f"north_{drive:06}_000000" for drive in range(5)),
    )
    params = labelled_later(tmp_path / "raw", *names, joins_splits=True)
    splits = splits_of(params, "later")
    assert splits == {
        "later_aachen_000000_000009": "train",
        "later_aachen_000007_000001_leftImg8bit": "train",
        "later_munster_000000_000002_leftImg8bit": "val",
        "later_munster_000009_000000": "val",
        **{f"later_north_{drive:06}_000000": "train" for drive in range(3)},
        **{f"later_north_{drive:06}_000000": "val" for drive in (3, 4)},
    }
    dataset = PreparedDataset(prepare(params))
    index = dataset.index[dataset.index["source"] == "later"]
    assert dict(zip(index["frame"], index["split"], strict=True)) == splits


def test_the_origin_of_a_frame_tells_its_place(tmp_path: Path) -> None:
    names = ("000123-1f2e3d4c", "000124-1f2e3d4d", "000125-1f2e3d4e")
    params = labelled_later(tmp_path / "raw", *names, joins_splits=True, val_share=0.5)
    origins = ("leftImg8bit/val/munster/000123.png", "aachen/000124.png", "nowhere/000125.png")
    frames = {name: {"origin": path} for name, path in zip(names, origins, strict=True)}
    provenance = tmp_path / "raw" / "later" / "provenance.json"
    provenance.write_text(json.dumps({"frames": frames}))
    assert [*splits_of(params, "later").values()] == ["train", "val", "val"]
    assert splits_of(params, "later")[f"later_{names[1]}"] == "train"
    provenance.write_text("[]")
    with pytest.raises(StreetsegError, match=r"provenance\.json does not tell the origin"):
        load_sources(params.data).find(params.data.root)


def test_without_joins_splits_a_source_divides_its_frames_itself(tmp_path: Path) -> None:
    params = labelled_later(tmp_path / "raw", "aachen_000000_000009", "munster_000000_000009")
    assert [*splits_of(params, "later").values()] == ["train", "val"]
    names = [f"munster_000000_{number:06}" for number in (10, 11, 12)]
    params = labelled_later(tmp_path / "raw", *names)
    assert "train" in splits_of(params, "later").values(), "beside val frames of Cityscapes"


def test_an_earlier_evaluation_split_is_kept(tmp_path: Path) -> None:
    """Whatever is labelled later, the frames of val and train stay where they were."""
    root = tmp_path / "raw"
    params = labelled_later(root, "aachen_000000_000000", "munster_000000_000000")
    alone = splits_of(settings(root, ("cityscapes", "cityscapes")), "")
    together = splits_of(params, "cityscapes")
    assert {f"cityscapes_{name}": split for name, split in alone.items()} == together
    assert len(together) == 6


@pytest.mark.parametrize(
    ("number", "split"),
    [(0, "train"), (3, "train"), (8, "train"), (9, "val"), (11, "val"), (99, "val")],
)
def test_in_a_drive_of_two_splits_the_neighbours_decide(number: int, split: str) -> None:
    """Frames 0 to 8 are train, 10 to 14 val: frame 9, between both, must not be trained on."""
    places = KnownPlaces()
    earlier = [(each, "train" if each <= 8 else "val") for each in (0, 2, 4, 6, 8, 10, 12, 14)]
    places.add((frame_of(f"ulm_000003_{each:06}", side) for each, side in earlier), True)
    names = [f"ulm_000003_{number:06}", f"ulm_000003_{number:06}_leftImg8bit"]
    joined = places.join([frame_of(name, "train") for name in names], {})
    assert [frame.split for frame in joined] == [split, split]


def frame_of(name: str, split: str) -> Frame:
    return Frame(name, split, name.split("_")[0], Path(f"{name}.png"), Path(f"{name}.txt"))
