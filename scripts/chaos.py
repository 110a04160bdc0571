"""Kill each stage at random points, run it again, and see that nothing is lost or done twice.

    python -m scripts.chaos [--rounds 5] [--seed 0]

Each stage runs once undisturbed in a scratch workspace. Then, from the same state, it is killed
(SIGKILL, with its children) after a random part of that time, as often as ``--rounds`` says, run
again to its end, and must leave what the undisturbed run left: the same data version, weights,
scores, masks; one version in the registry. Status 1 if it does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from streetseg.artifact import weights_sha256
from streetseg.config import Params, load_params
from streetseg.dataset import data_version
from streetseg.registry import versions
from streetseg.synth import write_cityscapes

SETTINGS = {
    "data.root": "data/raw",
    "prepare.size": [64, 128],
    "model.encoder_weights": "none",
    "train.epochs": 6,
    "train.batch_size": 4,
    "train.checkpoint_minutes": 0.02,
    "gate.miou_floor": 0.01,
    "registry.tracking_uri": "sqlite:///outputs/mlflow.db",
}


@dataclass(frozen=True)
class Stage:
    """A command, and what it must leave."""

    name: str
    arguments: list[str]
    left: Callable[[Params], object]
    """Says what is there after it, in a form that can be compared."""


def scores(_: Params) -> object:
    """Of the evaluation."""
    found = json.loads(Path("outputs/evaluation/evaluation.json").read_text())
    return {key: found[key] for key in ("miou", "miou_official", "iou")}


def masks(_: Params) -> object:
    """Names and content of all that was segmented."""
    files = sorted(Path("outputs/masks").rglob("*.png"))
    return [(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def registered(params: Params) -> object:
    """Versions and their aliases."""
    return [(each.version, each.aliases) for each in versions(params.registry)]


STAGES = [
    Stage("prepare", ["prepare"], lambda params: data_version(params.data.prepared)),
    Stage("train", ["train"], lambda _: weights_sha256(Path("outputs/model"))),
    Stage("evaluate", ["evaluate"], scores),
    Stage("register", ["register"], registered),
    Stage("promote", ["promote"], registered),
    Stage("batch", ["batch", "data/raw/leftImg8bit/val", "outputs/masks"], masks),
]


def main() -> None:
    """Run all stages; status 1 if a killed one ends otherwise than an undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each stage is killed")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    random.seed(wanted.seed)
    console, table = Console(), Table("stage", "undisturbed", "killed at", "and run again")
    sound = True
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        here, before = Path(scratch, "workspace"), Path(scratch, "before")
        params = new_workspace(here)
        for stage in STAGES:
            shutil.copytree(here, before)
            began = time.perf_counter()
            run(stage)
            whole = time.perf_counter() - began
            expected = stage.left(params)
            for _ in range(wanted.rounds):
                renew(here, before)
                share = random.random()
                run(stage, kill_after=share * whole)
                run(stage)
                same = stage.left(params) == expected
                sound &= same
                verdict = "[green]the same" if same else f"[red]{stage.left(params)}"
                table.add_row(stage.name, f"{whole:.1f} s", f"{share:.0%}", verdict)
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


def run(stage: Stage, kill_after: float | None = None) -> None:
    """Run a stage to its end, or kill it after so many seconds."""
    with Path("stage.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streetseg", *stage.arguments],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        status = process.wait(kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return
    if status:
        sys.exit(f"{stage.name} failed: {Path('stage.log').read_text()[-2000:]}")


if __name__ == "__main__":
    main()
