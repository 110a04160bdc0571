"""How long short commands take, beside an older build.

python benchmarks/start.py [--revision REVISION]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import Claim, report, seconds
from older import checkout

from streetseg.config.params import Registry
from streetseg.core.provenance import REPOSITORY
from streetseg.tracking.store import connect

VERSIONS, ROUNDS = 20, 11
COMMANDS = {"--help": "ours / peer <= 0.5", "list": "ours / peer <= 0.35"}
"""Arguments of streetseg, and the goal: ratios, which a busy machine does not change."""


def registry(folder: Path) -> str:
    """The address of a registry in SQLite with some versions."""
    params = Registry(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    client = connect(params, create=True)
    client.create_registered_model(params.model_name)
    for _ in range(VERSIONS):
        client.create_model_version(params.model_name, "file:///model", tags={"miou": "0.6"})
    return str(params.tracking_uri)


def call(build: Path, argument: str, store: str) -> None:
    """Run ``streetseg ARGUMENT`` of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(build), "MLFLOW_TRACKING_URI": store}
    command = [sys.executable, "-m", "streetseg", argument]
    subprocess.run(command, check=True, cwd=build, env=environment, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--revision", default="aa65827", help="git revision of the older build")
    revision = parser.parse_args().revision
    claims = []
    with tempfile.TemporaryDirectory() as folder, checkout(revision) as older:
        store = registry(Path(folder))
        for argument, goal in COMMANDS.items():
            builds = {"ours": REPOSITORY, "older": older}
            took = seconds(
                {name: partial(call, build, argument, store) for name, build in builds.items()},
                ROUNDS,
            )
            title = f"streetseg {argument}; peer: {revision}"
            claims.append(Claim(title, took["ours"], took["older"], None, goal, "s"))
    report("start", claims)


if __name__ == "__main__":
    main()
