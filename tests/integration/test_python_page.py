"""The snippets of docs/python.md and the cells of the notebook run as they stand."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image

from streetseg.config.params import Params, Registry
from streetseg.core.provenance import REPOSITORY
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.register import log_model
from streetseg.tracking.store import connect
from tests.conftest import Trained

PAGE = REPOSITORY / "docs" / "python.md"
NOTEBOOK = REPOSITORY / "docs" / "streets.ipynb"
MAX_NOTEBOOK_BYTES = 20_000


@pytest.fixture
def project(
    trained: Trained, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with what the page names: images, frames with truth, and a champion."""
    shutil.copytree(params.data.root, tmp_path, dirs_exist_ok=True)
    frames = sorted((tmp_path / "leftImg8bit" / "val").rglob("*.png"))
    Image.open(frames[0]).resize((320, 160)).save(tmp_path / "street.jpg")
    (tmp_path / "drive").mkdir()
    for number, frame in enumerate(frames[:2]):
        shutil.copy(frame, tmp_path / "drive" / f"{number}.png")
    store = f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}"
    client = connect(Registry(tracking_uri=store), create=True)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "files").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.register_model(log_model(trained.artifact, None), "street-segmenter")
    client.set_registered_model_alias("street-segmenter", "champion", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_snippet_of_the_page_runs(
    project: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "__main__"}
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    model, probabilities = names["model"], names["probabilities"]
    assert model.aliases == ("champion",)
    assert names["mask"].shape == (160, 320)
    assert [mask.shape for mask in names["masks"]] == [(128, 256)] * 2
    assert 0 <= names["sky"] <= 1
    assert (probabilities.argmax(axis=0) == names["mask"]).mean() > 0.999
    assert 0 <= names["entropy"].min() <= names["entropy"].max() <= 1.001
    assert Image.open("shown.png").width == 320
    assert names["labels"].names[names["labels"].category_of[26]] == "vehicle"
    result = names["result"]
    assert result.frames == 4
    assert result.numberings == {"truth": "label", "predictions": "category"}
    assert Path("frames.csv").read_text().count("\n") == 5
    assert 0 < names["scores"].miou < 1
    assert capsys.readouterr().out == "cannot read nowhere.jpg: No such file or directory\n"
    np.testing.assert_array_equal(
        np.asarray(Image.open(f"masks/{names['frame'].name}_mask.png")),
        Segmenter(trained.artifact).predict(np.asarray(Image.open(names["frame"]))),
    )


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell in the namespace of the notebook; returns what the notebook shows below it."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), names)
    return last and eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_the_notebook_is_small_and_holds_no_outputs() -> None:
    assert NOTEBOOK.stat().st_size < MAX_NOTEBOOK_BYTES
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (NOTEBOOK.parent / target).exists(), target


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = [run_cell(source, names) for source in code_cells()]
    assert Path(shown[0]).is_relative_to(tmp_path)
    assert [line.split(":")[0] for line in shown[1]] == [
        "20 frames in data/raw",
        "outputs/preview.jpg",
        "outputs/model",
    ]
    assert "model, not registered" in shown[2]._repr_html_()
    assert shown[3] == [((128, 256), "uint8")] * 4
    assert [image.size for image in shown[4:7]] == [
        (768, 768),
        (768, names["model"].legend(768).shape[0]),
        (768, 384),
    ]
    table = dict(re.findall(r"^(\w+) +([\d.]+|nan)$", capsys.readouterr().out, re.MULTILINE))
    assert list(table) == names["model"].labels.names
    assert float(table["flat"]) > 0.4
    assert float(table["sky"]) > 0.4
