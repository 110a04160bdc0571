"""Drift."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.config.params import Serve
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.images.resize import resize_rgb
from streetseg.inference.artifact import read_labels
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax
from streetseg.monitoring import drift_report
from streetseg.monitoring.drift import (
    DRIFTED,
    MINIMUM,
    MOVED,
    Distribution,
    DriftWatch,
    Observation,
    Reference,
    observe,
)
from streetseg.monitoring.drift_report import drift_page
from tests.conftest import SIZE, Trained

FRAMES = 300
"""The first third is the reference."""
MODEL = {"name": "street-segmenter", "version": "7"}


@pytest.fixture(scope="module")
def segmenter(trained: Trained) -> Segmenter:
    return Segmenter(trained.artifact)


@pytest.fixture(scope="module")
def labels(trained: Trained) -> LabelSpace:
    return read_labels(trained.artifact)


@pytest.fixture(scope="module")
def pictures(dataset: PreparedDataset) -> list[np.ndarray]:
    """Frames at the network's size: parts of the few that there are, lit a bit differently."""
    random = np.random.default_rng(0)
    height, width = SIZE

    def vary(rgb: np.ndarray) -> np.ndarray:
        top, left = random.integers(0, height // 8), random.integers(0, width // 8)
        part = rgb[top : top + height * 7 // 8, left : left + width * 7 // 8]
        lit = np.clip(part * random.uniform(0.85, 1.15), 0, 255).astype(np.uint8)
        return resize_rgb(lit[:, :: random.choice([-1, 1])], SIZE)

    rows = random.integers(0, len(dataset.index), FRAMES)
    return [vary(np.array(dataset.image(row))) for row in rows]


def watched(segmenter: Segmenter, pictures: list[np.ndarray]) -> list[Observation]:
    return [observe(rgb, segmenter.logits(rgb[None])[0]) for rgb in pictures]


@pytest.fixture(scope="module")
def reference(segmenter: Segmenter, labels: LabelSpace, pictures: list[np.ndarray]) -> Reference:
    return Reference.of(watched(segmenter, pictures[:100]), labels.names, "0.dir", "val")


@pytest.fixture(scope="module")
def usual(segmenter: Segmenter, pictures: list[np.ndarray]) -> list[Observation]:
    """Of frames of the same kind, which the reference has not seen."""
    return watched(segmenter, pictures[100:])


def watch(
    reference: Reference | None, labels: LabelSpace, observations: list[Observation]
) -> DriftWatch:
    kept = DriftWatch(labels.names, reference, Serve().drift_window)
    for each in observations:
        kept.add(each)
    return kept


def verdicts(state: dict) -> dict[str, str]:
    return {name: each["verdict"] for name, each in state["features"].items()}


def test_an_observation_is_what_the_index_and_the_calibration_say(
    segmenter: Segmenter, dataset: PreparedDataset
) -> None:
    row = int(dataset.rows("val")[0])
    rgb = np.array(dataset.image(row))
    logits = segmenter.logits(rgb[None])[0]
    seen = observe(rgb, logits)
    assert seen.brightness == dataset.index["brightness"][row]
    assert seen.sharpness == dataset.index["sharpness"][row]
    probabilities = softmax(logits)
    assert seen.confidence == pytest.approx(probabilities.max(axis=0).mean(), abs=0.02)
    grid = probabilities.argmax(axis=0)[2::4, 2::4]
    assert seen.shares.tolist() == [(grid == each).mean() for each in range(len(logits))]


def test_the_evaluation_keeps_the_reference_of_its_frames(
    trained: Trained, segmenter: Segmenter, dataset: PreparedDataset
) -> None:
    kept = json.loads((trained.evaluation / "evaluation.json").read_text())["reference"]
    rows = dataset.rows("val")
    own = watched(segmenter, [np.array(dataset.image(row)) for row in rows])
    expected = Reference.of(own, dataset.labels.names, dataset.version, "val")
    assert Reference.from_dict(kept) == expected
    assert kept["frames"] == len(rows)
    brightness = dataset.index["brightness"][rows].mean()
    assert kept["features"]["brightness"]["mean"] == pytest.approx(brightness)


def test_frames_of_the_same_kind_are_stable(
    reference: Reference, labels: LabelSpace, usual: list[Observation]
) -> None:
    state = watch(reference, labels, usual).state()
    assert set(verdicts(state).values()) == {"stable"}
    assert state["verdict"] == "stable"
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_dark_pictures_are_named(
    segmenter: Segmenter, reference: Reference, labels: LabelSpace, pictures: list[np.ndarray]
) -> None:
    dark = watched(segmenter, [rgb // 2 for rgb in pictures[100:]])
    state = watch(reference, labels, dark).state()
    assert state["verdict"] == verdicts(state)["brightness"] == "drifted"
    brightness = state["features"]["brightness"]
    assert brightness["window_mean"] < 0.6 * brightness["reference_mean"]
    assert brightness["psi"] > max(DRIFTED, brightness["psi_by_chance"])


def test_blurred_pictures_are_named_and_are_as_bright_as_before(
    segmenter: Segmenter, reference: Reference, labels: LabelSpace, pictures: list[np.ndarray]
) -> None:
    blurred = watched(segmenter, [cv2.GaussianBlur(rgb, (0, 0), 2) for rgb in pictures[100:]])
    found = verdicts(watch(reference, labels, blurred).state())
    assert found["sharpness"] == "drifted"
    assert found["brightness"] == "stable"


def test_another_mix_of_categories_is_named_alone(
    reference: Reference, labels: LabelSpace, usual: list[Observation]
) -> None:
    sky, construction = labels.names.index("sky"), labels.names.index("construction")

    def built_over(seen: Observation) -> Observation:
        shares = seen.shares.copy()
        shares[construction] += shares[sky]
        shares[sky] = 0
        return replace(seen, shares=shares)

    found = verdicts(watch(reference, labels, [built_over(each) for each in usual]).state())
    assert {name for name, verdict in found.items() if verdict != "stable"} == {
        "share_sky",
        "share_construction",
    }


def test_too_few_say_so_and_no_index_is_told(
    reference: Reference, labels: LabelSpace, usual: list[Observation]
) -> None:
    kept = watch(reference, labels, usual[: MINIMUM - 1])
    assert kept.state()["verdict"] == "too few"
    assert {each["psi"] for each in kept.state()["features"].values()} == {None}
    kept.add(usual[0])
    assert kept.state()["verdict"] == "stable"


def test_a_window_can_hold_what_a_verdict_takes() -> None:
    bounds = Serve.model_fields["drift_window"].metadata
    assert max(bound.ge for bound in bounds if hasattr(bound, "ge")) == MINIMUM


def test_without_a_reference_the_means_are_told(
    labels: LabelSpace, usual: list[Observation], trained: Trained
) -> None:
    assert Reference.load(trained.artifact) is None, "it was never registered"
    state = watch(None, labels, usual).state()
    assert state["verdict"] == "no reference"
    assert state["reference"] is None
    mean = np.mean([each.confidence for each in usual])
    assert state["features"]["confidence"]["window_mean"] == pytest.approx(mean, abs=1e-6)


def test_a_damaged_reference_is_one_clear_line(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"features": {"brightness": {}}}'):
        (tmp_path / "reference.json").write_text(content)
        with pytest.raises(StreetsegError, match=r"cannot read .*reference\.json") as caught:
            Reference.load(tmp_path)
        assert "\n" not in str(caught.value)


def test_the_window_rolls(reference: Reference, labels: LabelSpace) -> None:
    def lit(brightness: float) -> Observation:
        return Observation(np.zeros(len(labels.names)), brightness, 0, 1)

    kept = DriftWatch(labels.names, reference, MINIMUM)
    for brightness in range(MINIMUM + 50):
        kept.add(lit(brightness))
    state = kept.state()
    assert (state["seen"], state["window"]) == (MINIMUM + 50, MINIMUM)
    latest = np.mean(range(50, MINIMUM + 50))
    assert state["features"]["brightness"]["window_mean"] == latest


def test_threads_lose_nothing(
    reference: Reference, labels: LabelSpace, usual: list[Observation]
) -> None:
    kept = DriftWatch(labels.names, reference, 4 * len(usual))
    states = []

    def add() -> None:
        for each in usual:
            kept.add(each)
        states.append(kept.state())

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(states) == 4
    assert kept.state()["seen"] == 4 * len(usual)
    mean = np.mean([each.confidence for each in usual])
    assert kept.state()["features"]["confidence"]["window_mean"] == pytest.approx(mean, abs=1e-6)


def test_a_value_that_most_frames_share_has_a_bin_of_its_own() -> None:
    shares = np.array([0.0] * 70 + [*np.linspace(0.01, 0.3, 30)])
    kept = Distribution.of(shares)
    assert kept.edges[0] == 0
    assert kept.counts[0] == 70
    assert sum(kept.counts) == 100
    never = Distribution.of(np.zeros(100))
    assert never.counts == [100, 0]
    assert never.psi(np.zeros(500)) < MOVED
    assert never.psi(np.full(500, 0.1)) > DRIFTED


def test_the_index_is_that_of_the_formula() -> None:
    kept = Distribution(0.5, [0.5], [40, 60])
    p, q = np.array([40.5, 60.5]) / 101, np.array([90.5, 10.5]) / 101
    window = np.array([0.2] * 90 + [0.9] * 10)
    assert kept.psi(window) == pytest.approx(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize(("frames", "observations"), [(24, 1000), (500, 100), (500, MINIMUM)])
def test_what_chance_explains_is_what_chance_does(frames: int, observations: int) -> None:
    random = np.random.default_rng(0)
    found, by_chance = [], 0.0
    for _ in range(1000):
        kept = Distribution.of(random.normal(size=frames))
        found.append(kept.psi(random.normal(size=observations)))
        by_chance = kept.psi_by_chance(observations)
    assert np.mean(np.array(found) > by_chance) <= 0.005
    assert np.mean(found) == pytest.approx(
        (len(kept.counts) - 1) * (1 / frames + 1 / observations), rel=0.15
    )
    if observations == 100:
        assert np.mean(np.array(found) > MOVED) > 0.3, "the thresholds alone would cry wolf"
    if observations == MINIMUM:
        assert by_chance < DRIFTED


def test_the_page_tells_what_has_moved_and_asks_for_nothing_else(
    reference: Reference, labels: LabelSpace, usual: list[Observation]
) -> None:
    darker = [replace(each, brightness=each.brightness / 2) for each in usual]
    page = drift_page(watch(reference, labels, darker).state(), MODEL, labels)
    assert "The images have changed." in page
    (finding,) = re.findall(r"<li>brightness .*</li>", page)
    assert "darker" in finding
    assert "Look at the camera first" in page
    assert page.count("<svg") == len(reference.features)
    assert not re.search(r"<script|src=|href|url\(|@import", page)


def test_of_many_categories_the_stable_ones_are_folded(
    reference: Reference,
    labels: LabelSpace,
    usual: list[Observation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = watch(reference, labels, usual).state()
    assert "categories are stable" not in drift_page(state, MODEL, labels)
    monkeypatch.setattr(drift_report, "FOLDED_FROM", 3)
    state["features"]["share_flat"]["verdict"] = "drifted"
    page = drift_page(state, MODEL, labels)
    shown, folded = page.split(f"<summary>{len(labels.names) - 1} categories are stable</summary>")
    assert ("</i>flat</td>" in shown, "</i>flat</td>" in folded) == (True, False)
    assert ("</i>sky</td>" in shown, "</i>sky</td>" in folded) == (False, True)
    assert page.count("<svg") == len(reference.features)


@pytest.mark.parametrize(
    ("kept", "said"), [(300, "The images have not changed"), (57, "143 more"), (0, "200 more")]
)
def test_the_page_says_that_all_is_well_or_that_it_is_too_early(
    reference: Reference, labels: LabelSpace, usual: list[Observation], kept: int, said: str
) -> None:
    page = drift_page(watch(reference, labels, usual[:kept]).state(), MODEL, labels)
    assert said in page
    assert "What to do" not in page


def test_the_page_of_a_version_without_a_reference_says_so(
    labels: LabelSpace, usual: list[Observation]
) -> None:
    page = drift_page(watch(None, labels, usual).state(), MODEL, labels)
    assert "no reference to compare with" in page
