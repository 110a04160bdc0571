"""Kill each stage at random points, run it again, and check that nothing is lost or done twice.

    python -m scripts.chaos [--rounds 5] [--seed 0] [--stages train demo]

Each stage runs once undisturbed in a scratch workspace. Then, ``--rounds`` times from the same
state, it is killed (SIGKILL, with its children) after a random fraction of that time and run again
to its end. It must leave what the undisturbed run left: the same data version, weights, scores and
masks; one version in the registry, promoted once. Status 1 if it does not.
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
from streetseg.core.program import set_up_environment
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import data_version
from streetseg.inference.artifact import weights_sha256
from streetseg.registry.promotion import history
from streetseg.registry.versions import versions
from streetseg.synth import write_cityscapes
from streetseg.tracking.store import DEFAULT_STORE, connect

NEVER_PREDICTED = ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]
"""Categories that such short trainings may miss."""
SETTINGS = {
    "data.root": "data/raw",
    "prepare.size": [64, 128],
    "model.encoder_weights": "none",
    "train.epochs": 6,
    "train.batch_size": 4,
    "train.checkpoint_minutes": 0.02,
    "tune.trials": 3,
    "gate.miou_floor": 0.01,
    "gate.allow_never_predicted": NEVER_PREDICTED,
    "registry.tracking_uri": DEFAULT_STORE,
}
DEMO_MODEL = "demo"
"""The stages before the demo have a champion of the default name."""
DEMO = [
    f"registry.tracking_uri={DEFAULT_STORE}",
    f"registry.model_name={DEMO_MODEL}",
    "synth.frames={train: 16, val: 4}",
    "synth.size=[128, 256]",
    "synth.cities=2",
    "prepare.size=[64, 128]",
    "train.epochs=2",
    "gate.miou_floor=0.01",
    f"gate.allow_never_predicted=[{','.join(NEVER_PREDICTED)}]",
]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True)
class Stage:
    """A command, and the state that it must leave."""

    name: str
    command: list[str]
    """Arguments of Python."""
    state: Callable[[Params], object]
    """Reads the state after it, to be compared."""


def prepared(params: Params) -> object:
    """The data version."""
    return data_version(params.data.prepared)


def trained(params: Params) -> object:
    """Weights, and how many training runs MLflow has as finished."""
    client = connect(params.registry)
    experiment = client.get_experiment_by_name(params.registry.experiment)
    assert experiment
    ended = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    return weights_sha256(Path("outputs/model")), len(ended)


def best_trial(_: Params) -> object:
    """The best settings of a search, and their weights."""
    return Path("outputs/tune/best.yaml").read_text(), weights_sha256(Path("outputs/tune/best"))


def scores(_: Params) -> object:
    """The scores of the evaluation."""
    evaluation = json.loads(Path("outputs/evaluation/evaluation.json").read_text())
    return {key: evaluation[key] for key in ("miou", "miou_official", "iou")}


def masks(_: Params) -> object:
    """Name and hash of every mask."""
    files = sorted(Path("outputs/masks").rglob("*.png"))
    return [(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def registered(params: Params) -> object:
    """Versions with their aliases and verdicts, and the moves of the champion."""
    registered = [
        (each.version, each.aliases, each.tags.get("gate")) for each in versions(params.registry)
    ]
    return registered, [(move.before, move.after, move.action) for move in history(params.registry)]


def demonstrated(params: Params) -> object:
    """The demo's data version, score, answer of the service, and versions."""
    summary = json.loads(Path("demo/summary.json").read_text())
    answer = hashlib.sha256(Path("demo/answer.png").read_bytes()).hexdigest()
    params = params.override({"registry.model_name": DEMO_MODEL})
    return summary["data_version"], summary["miou"], answer, registered(params)


def command(*arguments: str) -> list[str]:
    """Python's arguments for a command of streetseg."""
    return ["-m", "streetseg", *arguments]


STAGES = [
    Stage("prepare", command("prepare"), prepared),
    Stage("validate", command("validate"), lambda _: Path("outputs/validation.html").read_bytes()),
    Stage("train", command("train"), trained),
    Stage("tune", command("tune"), best_trial),
    Stage("evaluate", command("evaluate"), scores),
    Stage("register", command("register"), registered),
    Stage("promote", command("promote"), registered),
    Stage("batch", command("batch", "data/raw/leftImg8bit/val", "outputs/masks"), masks),
    Stage(
        "demo",
        [
            "-m",
            "scripts.demo",
            "--out",
            "demo",
            *(word for each in DEMO for word in ("--set", each)),
        ],
        demonstrated,
    ),
]
"""The last includes gate and pipeline."""


def main() -> None:
    """Run all stages; status 1 if a killed one ends otherwise than an undisturbed one."""
    set_up_environment()
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Example: python -m scripts.chaos --rounds 1 --stages train",
    )
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
    options = parser.parse_args()
    random.seed(options.seed)
    # Else MLflow keeps reading the database that restore() has replaced.
    os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    console, table = Console(), Table("stage", "undisturbed", "killed at", "and run again")
    passed = True
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        workspace, backup = Path(scratch, "workspace"), Path(scratch, "backup")
        params = new_workspace(workspace)
        for stage in STAGES[: 1 + max(map(names.index, options.stages))]:
            shutil.copytree(workspace, backup)
            began = time.perf_counter()
            run(stage)
            duration = time.perf_counter() - began
            expected = stage.state(params)
            for _ in range(options.rounds if stage.name in options.stages else 0):
                restore(workspace, backup)
                fraction = random.random()
                if killed := run(stage, kill_after=fraction * duration):
                    run(stage)
                same = stage.state(params) == expected
                passed &= same
                verdict = "[green]the same" if same else f"[red]{stage.state(params)}"
                when = f"{fraction:.0%}" if killed else "not: it had ended"
                table.add_row(stage.name, f"{duration:.1f} s", when, verdict)
            shutil.rmtree(backup)
    console.print(table)
    sys.exit(not passed)


def new_workspace(folder: Path) -> Params:
    """Make a workspace of synthetic scenes and a params file, and change to it."""
    folder.mkdir()
    os.chdir(folder)
    frames = {"train": 24, "val": 12}
    write_cityscapes(Path("data/raw"), frames=frames, cities=2, size=(128, 256), seed=1)
    params = load_params(overrides=SETTINGS)
    Path("params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    return params


def restore(workspace: Path, backup: Path) -> None:
    """Restore the workspace from its backup; it stays the same folder."""
    for path in workspace.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(backup, workspace, dirs_exist_ok=True)


def run(stage: Stage, kill_after: float | None = None) -> bool:
    """Run a stage to its end, or kill it after so many seconds; returns whether it was killed."""
    with Path("stage.log").open("ab") as log:
        process = psutil.Popen(
            [sys.executable, *stage.command], env=ENVIRONMENT, stdout=log, stderr=log
        )
    try:
        status = process.wait(kill_after)
    except psutil.TimeoutExpired:
        process.suspend()  # so that it starts no more children
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
