"""Kill each stage at random points, run it again, and see that nothing is lost or done twice.

    python -m scripts.chaos [--rounds 5] [--seed 0] [--stages train demo]

Each stage runs once undisturbed in a scratch workspace. Then, from the same state, it is killed
(SIGKILL, with its children) after a random part of that time, as often as ``--rounds`` says, run
again to its end, and must leave what the undisturbed run left: the same data version, weights,
scores, masks; one version in the registry, promoted once. Status 1 if it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from streetseg.config.params import Params, load_params
from streetseg.core.provenance import REPOSITORY
from streetseg.core.telemetry import disable_telemetry
from streetseg.data.dataset import data_version
from streetseg.inference.artifact import weights_sha256
from streetseg.registry.promotion import history
from streetseg.registry.versions import versions
from streetseg.synth import write_cityscapes
from streetseg.tracking.store import connect

SETTINGS = {
    "data.root": "data/raw",
    "prepare.size": [64, 128],
    "model.encoder_weights": "none",
    "train.epochs": 6,
    "train.batch_size": 4,
    "train.checkpoint_minutes": 0.02,
    "tune.trials": 3,
    "gate.miou_floor": 0.01,
    "registry.tracking_uri": "sqlite:///outputs/mlflow.db",
}
DEMO = [
    "synth.frames={train: 16, val: 4}",
    "synth.size=[128, 256]",
    "synth.cities=2",
    "prepare.size=[64, 128]",
    "train.epochs=2",
    "gate.miou_floor=0.01",
]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True)
class Stage:
    """A command, and what it must leave."""

    name: str
    command: list[str]
    """Arguments of Python."""
    left: Callable[[Params], object]
    """Says what is there after it, in a form that can be compared."""


def prepared(params: Params) -> object:
    """The data version."""
    return data_version(params.data.prepared)


def trained(params: Params) -> object:
    """Weights, and how many trainings MLflow has seen through."""
    client = connect(params.registry)
    experiment = client.get_experiment_by_name(params.registry.experiment)
    assert experiment
    ended = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    return weights_sha256(Path("outputs/model")), len(ended)


def found(_: Params) -> object:
    """The best settings of a search, and their weights."""
    return Path("outputs/tune/best.yaml").read_text(), weights_sha256(Path("outputs/tune/best"))


def scores(_: Params) -> object:
    """Of the evaluation."""
    evaluation = json.loads(Path("outputs/evaluation/evaluation.json").read_text())
    return {key: evaluation[key] for key in ("miou", "miou_official", "iou")}


def masks(_: Params) -> object:
    """Names and content of all that was segmented."""
    files = sorted(Path("outputs/masks").rglob("*.png"))
    return [(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def registered(params: Params) -> object:
    """Versions, their aliases, what the gate said, and which became the champion."""
    known = [
        (each.version, each.aliases, each.tags.get("gate")) for each in versions(params.registry)
    ]
    return known, [(move.before, move.after, move.action) for move in history(params.registry)]


def shown(params: Params) -> object:
    """What the demo has made: data version, score, answer of the service, registry."""
    summary = json.loads(Path("demo/summary.json").read_text())
    answer = hashlib.sha256(Path("demo/answer.png").read_bytes()).hexdigest()
    store = params.registry.model_copy(update={"tracking_uri": "sqlite:///demo/mlflow.db"})
    there = params.model_copy(update={"registry": store})
    return summary["data_version"], summary["miou"], answer, registered(there)


def streetseg(*arguments: str) -> list[str]:
    """A command of streetseg."""
    return ["-m", "streetseg", *arguments]


STAGES = [
    Stage("prepare", streetseg("prepare"), prepared),
    Stage(
        "validate", streetseg("validate"), lambda _: Path("outputs/validation.html").read_bytes()
    ),
    Stage("train", streetseg("train"), trained),
    Stage("tune", streetseg("tune"), found),
    Stage("evaluate", streetseg("evaluate"), scores),
    Stage("register", streetseg("register"), registered),
    Stage("promote", streetseg("promote"), registered),
    Stage("batch", streetseg("batch", "data/raw/leftImg8bit/val", "outputs/masks"), masks),
    Stage(
        "demo",
        [
            "-m",
            "scripts.demo",
            "--out",
            "demo",
            *(word for each in DEMO for word in ("--set", each)),
        ],
        shown,
    ),
]
"""Gate and pipeline are parts of the last."""


def main() -> None:
    """Run all stages; status 1 if a killed one ends otherwise than an undisturbed one."""
    disable_telemetry()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each stage is killed")
    parser.add_argument("--seed", type=int, default=0)
    names = [stage.name for stage in STAGES]
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=names,
        default=names,
        help="which to kill; those before them run undisturbed",
    )
    wanted = parser.parse_args()
    random.seed(wanted.seed)
    # MLflow would go on reading a database that renew() has put another in the place of
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    console, table = Console(), Table("stage", "undisturbed", "killed at", "and run again")
    sound = True
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        here, before = Path(scratch, "workspace"), Path(scratch, "before")
        params = new_workspace(here)
        for stage in STAGES[: 1 + max(map(names.index, wanted.stages))]:
            shutil.copytree(here, before)
            began = time.perf_counter()
            run(stage)
            whole = time.perf_counter() - began
            expected = stage.left(params)
            for _ in range(wanted.rounds if stage.name in wanted.stages else 0):
                renew(here, before)
                share = random.random()
                if killed := run(stage, kill_after=share * whole):
                    run(stage)
                same = stage.left(params) == expected
                sound &= same
                verdict = "[green]the same" if same else f"[red]{stage.left(params)}"
                when = f"{share:.0%}" if killed else "not: it had ended"
                table.add_row(stage.name, f"{whole:.1f} s", when, verdict)
            shutil.rmtree(before)
    console.print(table)
    sys.exit(not sound)


def new_workspace(here: Path) -> Params:
    """Drawn streets and a params file, in the folder that this process works in from now on."""
    here.mkdir()
    os.chdir(here)
    frames = {"train": 24, "val": 12}
    write_cityscapes(Path("data/raw"), frames=frames, cities=2, size=(128, 256), seed=1)
    params = load_params(overrides=SETTINGS)
    Path("params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    return params


def renew(here: Path, before: Path) -> None:
    """Put the workspace back to what it was; it stays the same folder."""
    for path in here.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(before, here, dirs_exist_ok=True)


def run(stage: Stage, kill_after: float | None = None) -> bool:
    """Run a stage to its end, or kill it after so many seconds; whether it was killed."""
    with Path("stage.log").open("ab") as log:
        command = [sys.executable, *stage.command]
        process = psutil.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        status = process.wait(kill_after)
    except psutil.TimeoutExpired:
        process.suspend()  # it starts no more
        family = [process, *process.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family)
        return True
    if status:
        sys.exit(f"{stage.name} failed: {Path('stage.log').read_text()[-2000:]}")
    return False


if __name__ == "__main__":
    main()
