"""The command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from streetseg.config.params import Params, load_recipe
from streetseg.core.provenance import REPOSITORY
from tests.conftest import Command, Trained
from tests.support.loaded_modules import run_streetseg

COMMANDS = (
    "params",
    "synth",
    "adopt",
    "explore",
    "prepare",
    "validate",
    "train",
    "tune",
    "evaluate",
    "compare",
    "gate",
    "register",
    "promote",
    "rollback",
    "list",
    "history",
    "diff",
    "trace",
    "pull",
    "webhook",
    "loop",
    "predict",
    "batch",
    "ask",
    "video",
    "attention",
)


@pytest.fixture
def project(params: Params, tmp_path: Path) -> Path:
    """A folder with a params.yaml."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    return tmp_path


def test_help_lists_every_command_and_loads_no_heavy_library() -> None:
    shown, loaded = run_streetseg("--help")
    heavy = {"torch", "mlflow", "cv2", "kfp", "bentoml", "dvc", "numpy", "pydantic", "rich"}
    assert not loaded & heavy
    for command in COMMANDS:
        assert command in shown


def test_importing_the_package_loads_neither_torch_nor_mlflow() -> None:
    script = "import streetseg, sys; sys.exit(bool({'torch', 'mlflow'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_preparing_label_images_loads_no_reader_of_other_label_files() -> None:
    script = (
        "import sys, streetseg.data.prepare\n"
        "readers = {'coco', 'cvat', 'label_studio', 'draw', 'rasterize'}\n"
        "names = {f'streetseg.data.annotations.{name}' for name in readers} | {'PIL.ImageDraw'}\n"
        "print(sorted(names & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_setting_is_printed_with_its_default(streetseg: Command) -> None:
    done = streetseg("params", "train")
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout) == {"train": Params().to_dict()["train"]}
    assert yaml.safe_load(streetseg("params").stdout)["train"]["epochs"] == 60


def test_a_recipe_that_comes_with_streetseg_is_read_by_its_name(streetseg: Command) -> None:
    overrides = {"train.epochs": 2}
    done = streetseg("params", "--recipe", "demo", "--set", "train.epochs=2")
    assert yaml.safe_load(done.stdout) == load_recipe("demo", overrides).to_dict()


def test_a_file_that_spells_out_the_settings_is_printed_with_its_comments(
    streetseg: Command, tmp_path: Path
) -> None:
    text = (REPOSITORY / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("epochs: 60 ", "epochs: 7 "))
    printed = streetseg("params", cwd=tmp_path).stdout
    assert printed == (tmp_path / "params.yaml").read_text() != text
    (tmp_path / "params.yaml").write_text("train: {epochs: 7}")
    assert yaml.safe_load(streetseg("params", cwd=tmp_path).stdout) == yaml.safe_load(printed)


def test_wrong_usage_is_status_2(streetseg: Command) -> None:
    assert streetseg("train", "--nonsense").returncode == 2
    assert streetseg("evaluate", "--predictions", "x").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--set", "train.epochz=1"), "did you mean 'epochs'"),
        (("prepare", "--set", "data.root=nowhere"), "data.root = nowhere does not exist"),
        (("validate", "--set", "data.prepared=nowhere"), "streetseg prepare"),
        (
            ("train", "--set", "model.architecture=Unet", "--set", "model.encoder=resnet1818"),
            "did you mean 'resnet",
        ),
        (("evaluate", "--model", "nowhere"), "nowhere holds no model artifact"),
        (("gate", "--evaluation", "nowhere"), "streetseg evaluate"),
        (
            ("predict", "params.yaml", "--set", "registry.tracking_uri=sqlite:///nowhere.db"),
            "there is no registry at",
        ),
        (("predict", "nowhere.png"), "there is no image or folder nowhere.png"),
        (("train", "--params", "nowhere.yaml"), "cannot read nowhere.yaml"),
        (("train", "--set", "prepare.size=[96, 96]"), "ask for cityscapes of [96, 96]"),
        (("params", "trian"), "no section 'trian' in params.yaml: did you mean 'train'?"),
        (("params", "x"), "no section 'x' in params.yaml: choose one of data, synth"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_1(
    streetseg: Command, project: Path, dataset: object, arguments: tuple, message: str
) -> None:
    done = streetseg(*arguments, cwd=project)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_program_ends_with_that_line_and_status(project: Path) -> None:
    done = subprocess.run(
        ["streetseg", "train", "--set", "train.epochz=1"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_gate_judges_and_fails_only_if_asked_to(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    judge = ("gate", "--evaluation", trained.evaluation, "--json")
    opened = streetseg(*judge, cwd=project)
    assert opened.returncode == 0
    assert json.loads(opened.stdout)["passed"] is True
    closed = streetseg(*judge, "--set", "gate.miou_floor=0.99", cwd=project)
    assert closed.returncode == 0
    assert json.loads(closed.stdout)["passed"] is False
    failed = streetseg(
        *judge, "--set", "gate.miou_floor=0.99", "--set", "gate.fail_on_gate=true", cwd=project
    )
    assert failed.returncode == 1


def test_the_run_that_trained_the_model_keeps_the_last_verdict(
    streetseg: Command, project: Path, trained: Trained, params: Params
) -> None:
    from streetseg.evaluation.result import read_evaluation
    from streetseg.evaluation.verdict import Verdict
    from streetseg.tracking.results import record_verdict
    from streetseg.tracking.store import connect

    client = connect(params.registry)
    better = Verdict(True, ["better"], compared_with="version 3", probability=0.97)
    record_verdict(params.registry, read_evaluation(trained.evaluation), better)
    assert client.get_run(trained.run_id).data.tags["gate_probability"] == "0.9700"
    client.set_tag(trained.run_id, "gateway", "north")

    judge = ("gate", "--evaluation", trained.evaluation, "--set", "gate.miou_floor=0.99")
    page = streetseg(*judge, cwd=project).stdout
    tags = client.get_run(trained.run_id).data.tags
    assert tags["gate"] == "failed"
    assert "gate_probability" not in tags, "that of an earlier verdict"
    assert tags["gateway"] == "north", "which is no verdict's"
    kept = Path(client.download_artifacts(trained.run_id, "gate", str(project)))
    assert (kept / "verdict.md").read_text().strip() == page.strip()
    verdict = json.loads((kept / "verdict.json").read_text())
    assert "below the floor of 0.99" in verdict["reasons"][0]


def test_a_verdict_is_printed_even_if_mlflow_cannot_be_reached(
    streetseg: Command, project: Path, trained: Trained
) -> None:
    nowhere = "registry.tracking_uri=sqlite:////proc/none/mlflow.db"
    done = streetseg("gate", "--evaluation", trained.evaluation, "--set", nowhere, cwd=project)
    assert done.returncode == 0
    assert done.stdout.startswith("# Gate open")
    (warning,) = done.stderr.strip().splitlines()
    assert warning.startswith("warning: there is no registry at /proc/none/mlflow.db")


def test_predict_writes_masks_and_overlays(
    streetseg: Command, project: Path, cityscapes: Path, trained: Trained
) -> None:
    frame = next(cityscapes.rglob("*_leftImg8bit.png"))
    done = streetseg(
        "predict", frame, "--model", trained.artifact, "--out", "predicted", cwd=project
    )
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(project / "predicted" / f"{frame.name}_mask.png"))
    overlay = cv2.imread(str(project / "predicted" / f"{frame.name}_overlay.png"))
    assert mask.shape == overlay.shape == cv2.imread(str(frame)).shape


def test_without_a_model_it_is_the_champion_of_the_name_in_the_settings(
    streetseg: Command, project: Path, cityscapes: Path, trained: Trained
) -> None:
    frame = next(cityscapes.rglob("*_leftImg8bit.png"))
    done = streetseg("predict", frame, "--set", "registry.model_name=seven", cwd=project)
    assert done.returncode == 1
    assert "has no model 'seven' with alias 'champion'" in done.stderr


def test_anyones_masks_can_be_scored(streetseg: Command, project: Path, cityscapes: Path) -> None:
    from streetseg.data.labels import LabelSpace

    space = LabelSpace.load("cityscapes")
    masks = project / "masks"
    masks.mkdir()
    for path in (cityscapes / "gtFine" / "val").rglob("*_labelIds.png"):
        categories = cv2.LUT(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), space.category_of)
        perfect = space.representative_ids[categories]
        cv2.imwrite(str(masks / path.name.replace("_gtFine_labelIds", "_pred")), perfect)
    done = streetseg(
        "evaluate", "--predictions", masks, "--truth", cityscapes / "gtFine", "--json", cwd=project
    )
    assert done.returncode == 1, "the train frames have no prediction"
    truth = cityscapes / "gtFine" / "val"
    done = streetseg("evaluate", "--predictions", masks, "--truth", truth, "--json", cwd=project)
    scores = json.loads(done.stdout)
    assert scores["miou"] == scores["miou_official"] == 1
    assert scores["frames"] == 4
    assert np.array(scores["confusion"]).shape == (8, 8)


def test_a_misspelt_protected_category_is_found_before_anything_is_trained(
    streetseg: Command, project: Path
) -> None:
    done = streetseg("validate", "--set", "gate.protected=[humna]", cwd=project)
    assert done.returncode == 1
    assert "gate.protected names 'humna'" in done.stderr
    assert "did you mean 'human'?" in done.stderr
