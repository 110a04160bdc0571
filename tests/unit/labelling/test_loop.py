"""The page of the loop."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.labelling.loop import Loop, write_loop
from streetseg.labelling.loop_stages import Stage
from streetseg.registry.promotion import promote
from streetseg.tracking.judged import last_judged
from streetseg.tracking.store import connect
from tests.conftest import Command

NAMES = ["Served", "Kept", "Chosen", "Labelled", "Trained", "Judged", "Promoted"]
VERSION = f"{'a1' * 16}.dir"
MODEL = {"name": "street-segmenter", "version": "1", "run_id": "r", "data_version": VERSION}
REASONS = ["on cityscapes: 0.712 (champion 0.715, -0.003), 93.1 % sure", "mean IoU <fine>"]


@pytest.fixture
def settings(tmp_path: Path) -> Params:
    """Settings of a project in which nothing has been done."""
    return Params.model_validate(
        {
            "data": {"root": tmp_path / "raw", "prepared": tmp_path / "prepared"},
            "registry": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
    )


def read(settings: Params, folder: Path) -> dict[str, Stage]:
    loop = Loop.read(settings, folder, [folder / "selection"])
    assert [stage.name for stage in loop.stages] == NAMES
    return {stage.name: stage for stage in loop.stages}


def keep(folder: Path) -> None:
    folder.mkdir()
    for number, version in enumerate("112"):
        description = {"time": f"2026-11-{number + 1:02}T10:00:00+00:00", "confidence": 0.4}
        path = folder / f"{number}.json"
        path.write_text(json.dumps(description | {"model_version": version}))
        path.with_suffix(".png").write_bytes(bytes(1000))


def choose(folder: Path) -> None:
    folder.mkdir()
    summary = {"chosen": 40, "seen": 300, "by": "weighted", "model": MODEL}
    (folder / "selection.json").write_text(json.dumps(summary))


def label(folder: Path) -> None:
    folder.mkdir(parents=True)
    provenance = {
        "counts": {"exported": 40, "labelled": 38, "skipped": 2},
        "annotators": ["anna"],
        "corrected": 0.1234,
        "tool": "CVAT for images 1.1",
        "model": MODEL,
        "imported": "2026-11-30T17:20:31+00:00",
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))


def train(settings: Params, project: Path) -> str:
    """A data version, and a run on it that passed the gate; returns the id of the run."""
    lock = {"stages": {"prepare": {"outs": [{"path": "data/prepared", "md5": VERSION}]}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    client = connect(settings.registry, create=True)
    experiment = client.create_experiment("streetseg")
    tags = {"data_version": VERSION, "gate": "passed", "gate_compared_with": "version 1"}
    run_id = client.create_run(experiment, tags=tags, run_name="second").info.run_id
    for name, value in (("cityscapes", 0.712), ("newcity", 0.64)):
        client.log_metric(run_id, f"val/miou_on/{name}", value)
        client.log_metric(run_id, f"val/champion_miou_on/{name}", 0.41 if "new" in name else 0.715)
    client.log_text(run_id, json.dumps({"reasons": REASONS}), "gate/verdict.json")
    later = {"data_version": VERSION}  # a training that was not judged hides none that was
    client.create_run(experiment, tags=later, run_name="third")
    name = settings.registry.model_name
    client.create_registered_model(name)
    for number, run in ((1, "0" * 32), (2, run_id)):
        client.create_model_version(name, "outputs/model", run_id=run, tags={"gate": "passed"})
        client.set_registered_model_alias(name, "challenger", str(number))
    return run_id


def test_what_has_not_been_done_shows_the_command_that_does_it(
    settings: Params, tmp_path: Path
) -> None:
    stages = read(settings, tmp_path)
    assert [stage.figure for stage in stages.values()] == [""] * 7
    assert {name: stage.next.split(",")[0] for name, stage in stages.items()} == {
        "Served": "streetseg promote",
        "Kept": "make serve",
        "Chosen": "streetseg select FOLDER --out outputs/selection",
        "Labelled": "streetseg labels import EXPORT --prelabels outputs/to-label --out "
        "data/raw/NAME",
        "Trained": "dvc repro",
        "Judged": "streetseg evaluate && streetseg gate",
        "Promoted": "streetseg promote",
    }
    assert not list(tmp_path.iterdir()), "looking makes no registry"


def test_every_stage_tells_counts_versions_and_dates(
    settings: Params, tmp_path: Path, dataset: PreparedDataset
) -> None:
    keep(tmp_path / "hard")
    choose(tmp_path / "selection")
    label(tmp_path / "raw" / "north")
    run_id = train(settings, tmp_path)
    promote(settings.registry, "1", reason="the first")
    promote(settings.registry, reason="knows the north")
    shutil.copytree(dataset.path, tmp_path / "prepared")
    sources = [
        {"source": "cityscapes", "folder": "."},
        {"source": str(tmp_path / "raw/north/source.yaml"), "folder": "north"},
    ]
    changes = {"serve.hard_frames": str(tmp_path / "hard"), "data.sources": sources}
    stages = read(settings.override(changes), tmp_path)
    shown = {name: f"{stage.figure} {stage.unit}" for name, stage in stages.items()}
    assert shown == {
        "Served": "v2 champion",
        "Kept": "3 hard frames",
        "Chosen": "40 frames",
        "Labelled": "38 frames",
        "Trained": "16 train frames",
        "Judged": "open gate",
        "Promoted": "v2 from this data",
    }
    assert stages["Kept"].facts["by version"] == "1: 2, 2: 1"
    assert stages["Kept"].facts["until"] == "2026-11-03 10:00"
    assert stages["Chosen"].rows[0][1:4] == ("40 of 300", "weighted", "street-segmenter version 1")
    assert stages["Labelled"].rows == [
        (
            "north",
            "38 of 40",
            "12.3 %",
            "CVAT for images 1.1, by anna",
            "street-segmenter version 1",
            "2026-11-30 17:20",
        )
    ]
    assert stages["Trained"].facts["data version"] == VERSION
    assert stages["Trained"].facts["run"] == f"second ({run_id})"
    assert stages["Trained"].rows == [("cityscapes", "16", "4", "-")]
    assert stages["Judged"].rows == [
        ("cityscapes", "0.715", "0.712", "-0.003"),
        ("newcity", "0.410", "0.640", "+0.230"),
    ]
    assert [row[:2] for row in stages["Promoted"].rows] == [("2", "1"), ("1", "-")]
    assert stages["Promoted"].rows[0][4] == "knows the north"


def test_a_version_that_waits_for_a_person_is_told(settings: Params, tmp_path: Path) -> None:
    train(settings, tmp_path)
    promote(settings.registry, "1")
    stages = read(settings, tmp_path)
    assert stages["Promoted"].figure == ""
    assert stages["Promoted"].facts == {"waiting": "version 2, challenger"}
    assert stages["Promoted"].next == "streetseg promote"
    assert stages["Served"].figure == "v1"


def test_the_page_shows_every_stage_and_escapes_what_it_shows(
    settings: Params, tmp_path: Path
) -> None:
    train(settings, tmp_path)
    page = tmp_path / "loop.html"
    write_loop(Loop.read(settings, tmp_path, []), page)
    html = page.read_text()
    headings = [
        re.sub(r"^\d\. |: not yet$", "", text) for text in re.findall("<h2[^>]*>(.*)</h2>", html)
    ]
    assert headings == NAMES
    assert "mean IoU &lt;fine&gt;" in html
    assert html.count("not yet") == 2 * 5
    assert "<script" not in html
    assert last_judged(settings.registry, "other.dir") is None


@pytest.mark.parametrize("content", ["", "[]", '{"chosen": 3}'])
def test_a_damaged_file_is_one_clear_line(settings: Params, tmp_path: Path, content: str) -> None:
    (tmp_path / "selection").mkdir()
    (tmp_path / "selection" / "selection.json").write_text(content)
    with pytest.raises(StreetsegError, match=r"selection\.json is damaged: make it again, or move"):
        read(settings, tmp_path)


def test_the_command_writes_the_page(streetseg: Command, settings: Params, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings.to_dict()))
    done = streetseg("loop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Served    not yet"
    assert "Served: not yet" in (tmp_path / "outputs" / "loop.html").read_text()
    told = json.loads(streetseg("loop", "--json", cwd=tmp_path).stdout)
    assert [stage["name"] for stage in told["stages"]] == NAMES
