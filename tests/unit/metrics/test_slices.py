"""Scores of parts of a split."""

import numpy as np
import pandas as pd
import pytest

from streetseg.metrics.confusion import category_miou, plain_number
from streetseg.metrics.slices import MEASURES, score_slices, terciles


def index(brightness: list[float], cities: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"city": list(cities), "brightness": brightness, "sharpness": [5.0] * len(brightness)}
    )


def counts(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 50, (frames, 2, 2))


def names(drives: int) -> np.ndarray:
    """A drive for each frame."""
    return np.arange(drives).astype(str)


def test_a_slice_is_scored_as_if_its_frames_were_all() -> None:
    per_frame = counts(6)
    slices = score_slices(index([90, 10, 50, 20, 60, 80], "abbaab"), per_frame, names(6))
    assert [(each["name"], each["frames"]) for each in slices["city"]] == [("a", 3), ("b", 3)]
    assert slices["city"][0]["miou"] == plain_number(
        category_miou(per_frame[[0, 3, 4]].sum(axis=0))
    )
    dark, medium, bright = slices["brightness"]
    assert (dark["name"], medium["name"], bright["name"]) == MEASURES["brightness"]
    assert dark["miou"] == plain_number(category_miou(per_frame[[1, 3]].sum(axis=0)))
    assert bright["miou"] == plain_number(category_miou(per_frame[[0, 5]].sum(axis=0)))
    assert dark["interval"][0] <= dark["miou"] <= dark["interval"][1]


def test_frames_are_scored_by_the_condition_that_the_data_set_states() -> None:
    per_frame, conditions = counts(5), ["night", "rain", "night", "", "rain"]
    frames = index([1, 2, 3, 4, 5], "aabbb").assign(condition=conditions)
    slices = score_slices(frames, per_frame, names(5))
    night, rain = slices["condition"]
    assert (night["name"], night["frames"], rain["name"], rain["frames"]) == ("night", 2, "rain", 2)
    assert night["miou"] == plain_number(category_miou(per_frame[[0, 2]].sum(axis=0)))


def test_a_slice_of_one_frame_has_a_score_and_no_interval() -> None:
    single = score_slices(index([90, 10, 50], "aab"), counts(3), names(3))["city"][1]
    assert single["miou"] is not None
    assert single["interval"] is None


def test_a_slice_of_one_drive_has_no_interval_however_many_its_frames() -> None:
    drives = np.array(["x", "x", "x", "y", "z", "y"])
    one, two = score_slices(index([1, 2, 3, 4, 5, 6], "aaabbb"), counts(6), drives)["city"]
    assert (one["drives"], one["interval"]) == (1, None)
    assert two["drives"] == 2
    assert two["interval"] is not None


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 20])
def test_every_frame_is_in_one_slice_of_each_kind(frames: int) -> None:
    values = np.random.default_rng(frames).normal(size=frames).tolist()
    slices = score_slices(index(values, "a" * frames), counts(frames), names(frames))
    assert slices.keys() == {"city", *MEASURES}
    for each in slices.values():
        assert sum(part["frames"] for part in each) == frames
        assert all(part["frames"] for part in each)


def test_equally_bright_frames_share_a_slice() -> None:
    assert len(set(terciles(np.array([7.0, 7.0, 7.0, 7.0])))) == 1
    assert terciles(np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])).tolist() == [0, 0, 1, 1, 2, 2]
