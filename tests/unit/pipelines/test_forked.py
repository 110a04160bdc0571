"""Steps of a local run: processes forked from one that has imported libraries."""

import itertools
import json
import multiprocessing.forkserver
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kfp import dsl

from components import component
from pipelines.local import forked
from pipelines.local.run import LocalRun, run_locally


@component
def describe(start: str) -> str:
    """What the process of a step is."""
    import atexit
    import json
    import os
    import sys
    import threading
    from pathlib import Path

    loaded = [name for name in ("mlflow", "torch") if name in sys.modules]
    atexit.register(print, "at the end")
    print("to standard error", file=sys.stderr)
    return json.dumps(
        {
            "process": os.getpid(),
            "parent": os.getppid(),
            "variable": os.environ.get("OF_THIS_RUN"),
            "folder": str(Path.cwd()),
            "loaded": loaded,
            "threads": threading.active_count(),
            "interactive": sys.stdout.isatty(),
        }
    )


@component
def end(how: str) -> None:
    """End as told."""
    import os
    import signal

    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError(how)


@dsl.pipeline(name="describing")
def describing(start: str) -> str:
    return describe(start=describe(start=start).output).output


@dsl.pipeline(name="ending")
def ending(how: str) -> None:
    end(how=how)


def ran(pipeline: object, folder: Path, **arguments: str) -> tuple[LocalRun, list[str]]:
    lines: list[str] = []
    return run_locally(pipeline, arguments, folder, lines.append), lines  # type: ignore[arg-type]


def test_each_step_is_a_process_of_its_own_that_begins_with_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = []
    for value in ("one", "two"):
        monkeypatch.setenv("OF_THIS_RUN", value)
        done, lines = ran(describing, tmp_path / value, start="")
        assert done.succeeded, done.error
        assert lines.count("  to standard error") == lines.count("  at the end") == 2
        steps.append(json.loads(done.outputs["Output"]))
    first, second = steps
    assert first["process"] != second["process"]
    assert first["parent"] == second["parent"] != os.getpid()
    assert [each["variable"] for each in steps] == ["one", "two"]
    for each in steps:
        assert each["loaded"] == ["mlflow"]
        assert (each["threads"], each["interactive"]) == (1, False)
        assert each["folder"] == str(tmp_path)


@pytest.mark.parametrize(("how", "told"), [("killed", ""), ("wrong", "ValueError: wrong")])
def test_a_step_that_crashes_fails_the_run(tmp_path: Path, how: str, told: str) -> None:
    done, lines = ran(ending, tmp_path, how=how)
    assert not done.succeeded
    assert "Inner task failed: 'end'" in done.error
    assert told in "\n".join(lines)
    assert told in (tmp_path / "log.txt").read_text()


def test_steps_that_start_and_end_at_the_same_time_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_slowly(fd: int) -> int:
        time.sleep(random.uniform(0, 0.06))
        return read_signed(fd)

    read_signed = multiprocessing.forkserver.read_signed
    monkeypatch.setattr("multiprocessing.forkserver.read_signed", read_slowly)
    monkeypatch.setattr(forked, "_execute", itertools.chain)  # does nothing with any arguments
    command = ["sh", "-c", "", ""]
    with forked.forked_steps(), ThreadPoolExecutor(4) as pool:
        assert set(pool.map(forked.run_step, [command] * 24)) == {0}
