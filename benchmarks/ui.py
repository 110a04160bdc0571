"""Processes and memory of ``make ui``, beside MLflow's own command on the same store.

    python benchmarks/ui.py [--rounds 3]

The two take turns. Memory is resident memory, summed over all processes, some seconds after the
first page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from harness import OUT, Claim, alternating, report
from serve import resident

from scripts.servers import running
from streetseg.config.params import Registry
from streetseg.tracking.store import connect, experiment_id

SETTLES_IN_S = 20.0
"""Seconds after the first answer until MLflow has started its workers."""
OURS = [sys.executable, "-m", "scripts.ui", "--port", "PORT"]
THEIRS = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", "PORT"]


def footprint(command: list[str], environment: Mapping[str, str]) -> tuple[int, float]:
    """The number of processes of a server that is up, and their memory in GB."""
    with running(command, "/health", OUT / "ui.log", environment) as server:
        time.sleep(SETTLES_IN_S)
        first = psutil.Process(server.process.pid)
        return 1 + len(first.children(recursive=True)), resident(first) / 1e3


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        store = f"sqlite:///{Path(scratch) / 'mlflow.db'}"
        registry = Registry(tracking_uri=store)
        experiment_id(connect(registry, create=True), registry)
        commands = {"ours": OURS, "peer": [*THEIRS, "--backend-store-uri", store]}
        found: dict[str, list[tuple[int, float]]] = {name: [] for name in commands}
        for number in range(rounds):
            for name in alternating(commands, number):
                environment = {"MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
                found[name].append(footprint(commands[name], environment))
    counts, sizes = (
        {name: statistics.median(each[part] for each in found[name]) for name in found}
        for part in (0, 1)
    )
    report(
        "ui",
        [
            Claim("make ui", counts["ours"], counts["peer"], None, "ours <= 2", "processes"),
            Claim("make ui, memory", sizes["ours"], sizes["peer"], None, "ours <= 0.6", "GB"),
        ],
    )


if __name__ == "__main__":
    main()
