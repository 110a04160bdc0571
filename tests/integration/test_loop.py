"""The loop once whole, as ``make demo LOOP=1`` goes through it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loop that was gone round once."""
    folder = tmp_path_factory.mktemp("loop")
    command = [sys.executable, "-m", "scripts.demo_loop", "--out", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_second_champion_knows_the_new_city_and_forgets_nothing(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert summary["labelled"] <= 40
    assert 0.02 < summary["corrected"] < 0.9
    second = summary["second"]
    assert second["passed"], second["reasons"]
    old, new = second["sources"]
    assert (old["name"], new["name"]) == ("cityscapes", "newcity")
    assert old["difference"] > -0.01, "no worse than the first champion on the old city"
    assert new["interval"][0] > 0, "surely better on the new one"
    assert any(reason.startswith("on newcity: ") for reason in second["reasons"])
    assert summary["champion"] == "models:/street-segmenter-loop/2"
    assert [each["name"] for each in summary["random"]["sources"]] == ["cityscapes", "newcity"]


def test_the_page_shows_a_loop_that_has_closed(out: Path) -> None:
    page = (out / "loop.html").read_text()
    assert "not yet" not in page
    assert "models:/street-segmenter-loop/1" in page, "what the training started from"
