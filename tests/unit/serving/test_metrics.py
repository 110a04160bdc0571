"""Metrics of worker processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streetseg.serving.metrics import WorkerProcesses

MEMORY = "process_resident_memory_bytes"


def test_each_living_worker_has_process_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    sleep = [sys.executable, "-c", "input()"]
    workers = [subprocess.Popen(sleep, stdin=subprocess.PIPE) for _ in range(3)]
    try:
        for worker in workers:
            for mode in ("livesum", "livemostrecent"):
                (tmp_path / f"gauge_{mode}_{worker.pid}.db").touch()
        workers[2].communicate(b"\n")
        families = {family.name: family for family in WorkerProcesses().collect()}
        memory = {each.labels["pid"]: each.value for each in families[MEMORY].samples}
        assert set(memory) == {str(worker.pid) for worker in workers[:2]}
        for pid, size in memory.items():
            assert size == pytest.approx(psutil.Process(int(pid)).memory_info().rss, rel=0.5)
        assert {"process_cpu_seconds", "process_open_fds"} < set(families)
    finally:
        for worker in workers[:2]:
            worker.communicate(b"\n")
