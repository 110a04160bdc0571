"""Steps in processes forked from one that has imported what most of them need.

A step that starts from nothing imports kfp and MLflow first, for longer than most steps work.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from unittest import mock

from streetseg.core.telemetry import disable_telemetry

PRELOADED = [
    "kfp.dsl.executor_main",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
]
"""No module of this project, so that a later step of this process runs code that was edited, and
none that starts threads or looks at GPUs when it is imported, which a fork would break."""

ONE_AT_A_TIME = threading.Lock()
"""Starting a process also asks for the exit status of all others. If two threads ask for the same
one, the second gets 255."""


@contextmanager
def forked_steps() -> Iterator[None]:
    """Let ``kfp.local.SubprocessRunner`` fork its processes, where forking is safe: on Linux."""
    if sys.platform != "linux":
        yield
        return
    disable_telemetry("mlflow")
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    with (
        mock.patch("kfp.local.subprocess_task_handler.run_local_subprocess", run_step),
        mock.patch("multiprocessing.spawn.get_preparation_data", _without_main),
    ):
        yield


def run_step(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """Run a component as ``kfp.local``'s function of processes does, and return its exit status.

    Args:
        full_command: kfp's ``sh -c SCRIPT``, the source of the component, and the arguments of
            ``kfp.dsl.executor_main``.
        env_vars: variables of the component.
    """
    _, _, _, source, *arguments = full_command
    variables = {**os.environ, **(env_vars or {}), "_KFP_RUNTIME": "true"}
    forkserver = multiprocessing.get_context("forkserver")
    reader, writer = forkserver.Pipe(duplex=False)
    step = forkserver.Process(target=_execute, args=(source, arguments, variables, writer))
    with ONE_AT_A_TIME:
        step.start()
    writer.close()
    with os.fdopen(os.dup(reader.fileno()), errors="replace") as printed:
        reader.close()
        for line in printed:
            print(line, end="")
    print("\n")
    wait([step.sentinel])
    with ONE_AT_A_TIME:
        step.join()
    return step.exitcode or 0


def _execute(
    source: str, arguments: list[str], variables: dict[str, str], output: Connection
) -> None:
    """Be ``python -m kfp.dsl.executor_main`` in this process."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    output.close()
    os.environ.clear()
    os.environ.update(variables)
    from kfp.dsl.executor_main import executor_main

    try:
        with tempfile.TemporaryDirectory() as folder:
            module = Path(folder) / "ephemeral_component.py"
            module.write_text(source)
            sys.argv = ["executor_main", "--component_module_path", str(module), *arguments]
            executor_main()
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


_preparation_data = spawn.get_preparation_data


def _without_main(name: str) -> dict[str, Any]:
    """What a process is told of its parent, but for the main module, which steps do not need."""
    told = _preparation_data(name)
    return {key: value for key, value in told.items() if not key.startswith("init_main")}
