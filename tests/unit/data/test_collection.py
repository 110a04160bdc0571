"""Several sources in one dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetseg.config.params import Params, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.collection import load_sources
from streetseg.data.dataset import PreparedDataset
from streetseg.data.origin import open_prepared
from streetseg.data.prepare import prepare
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
