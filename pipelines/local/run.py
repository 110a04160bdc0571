"""Running the pipeline on this machine: each component in a process or container of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from unittest import mock

from streetseg.core.atomic_files import lock_folder
from streetseg.core.provenance import REPOSITORY

CODE = ("streetseg", "components", "pipelines", "recipes", "requirements.lock")

COLOR = re.compile(r"\x1b\[\d+m")
TASK_EVENT = re.compile(
    r"Executing task '(?P<started>[\w-]+)'"
    r"|Task '(?P<ended>[\w-]+)' finished with status"
    r"|Task (?P<cached>[\w-]+) cache hit"
)
"""What kfp logs of a task, and the only way in which it tells which tasks ran."""
NOISE = re.compile(r"-{80}$|\[KFP Executor|\S+\.py:\d+: \w*Warning|\d{4}/\d\d/\d\d |[\s{}\[\]\"]|$")
"""Lines of a component that only its log needs."""


@dataclass
class LocalRun:
    """How a run went."""

    succeeded: bool = False
    tasks: dict[str, float] = field(default_factory=dict)
    """Seconds of each task that ran, in order, at least 0.1; 0 for one whose outputs were in the
    cache."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """The outputs of the pipeline, if it succeeded."""
    error: str = ""
    """The error line of the component that failed."""


def run_locally(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    folder: Path,
    show: Callable[[str], object] | None = None,
    runner: Any = None,
    version: str = "",
) -> LocalRun:
    """Run a compiled pipeline function through ``kfp.local``, reusing what has not changed.

    A task is not run again while its inputs, the code of this project and the bytes that it wrote
    are the same.

    Args:
        pipeline: a function decorated with ``dsl.pipeline``.
        arguments: its parameters.
        folder: where artifacts, the cache and the complete log (``log.txt``) go.
        show: called with each line worth reading while it runs; None prints it.
        runner: of :mod:`kfp.local`; None means processes with the packages of this one.
        version: of the code that the runner runs; empty for the code here.

    Raises:
        StreetsegError: another process runs a pipeline in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, folder):
        return _run(pipeline, arguments, folder, show, runner, version)


def _run(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    folder: Path,
    show: Callable[[str], object] | None,
    runner: Any,
    version: str,
) -> LocalRun:
    from kfp import local

    from pipelines.local.cache import VerifiedCache
    from pipelines.local.forked import forked_steps

    cache_root = folder / ".cache" / (version or code_fingerprint()).replace(":", "-")
    local.init(
        runner=runner or local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder.resolve()),
        enable_caching=True,
        cache_root=str(cache_root),
    )
    terminal = sys.stdout
    show = show or (lambda line: terminal.write(f"{line}\n") and terminal.flush())
    cache = VerifiedCache(str(cache_root), lambda line: show(f"  {line}"))
    run = LocalRun()
    studies = {"OPTUNA_STORAGE": f"sqlite:///{folder.resolve() / 'studies.db'}"}
    with (
        mock.patch.dict(os.environ, studies | os.environ),
        (folder / "log.txt").open("w") as log,
        _observed(_Observer(run, log, show)),
        forked_steps(),
        mock.patch("kfp.local.cache.get_local_cache", return_value=cache),
        # It replaces the built-in print, which tasks that run at the same time would leave so.
        mock.patch("kfp.local.logging_utils.indented_print", contextlib.nullcontext),
    ):
        try:
            run.outputs = dict(pipeline(**arguments).outputs)
            run.succeeded = not run.error  # kfp may miss the status of a container that has gone
        except RuntimeError as error:
            run.error = run.error or f"{COLOR.sub('', str(error))} See {folder / 'log.txt'}"
    return run


def code_fingerprint() -> str:
    """A hash of the code that components run."""
    digest = hashlib.sha256()
    for name in CODE:
        root = REPOSITORY / name
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            if path.suffix != ".pyc":
                digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class _Observer(io.TextIOBase):
    """Follows a run by kfp's log records and by what components print, and logs both.

    kfp.local offers neither callbacks nor results of tasks: all it has is its log, on the root
    logger, beside the output of the components, on standard output.
    """

    def __init__(self, run: LocalRun, log: IO[str], show: Callable[[str], object]) -> None:
        self.run, self.log, self.show = run, log, show
        self.started: dict[str, float] = {}
        """When each task began; of those of a loop, the first."""
        self.of_thread = threading.local()
        """The unfinished line of each: tasks of a loop run in threads."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a log record of kfp, and keep it from its handlers, which print it."""
        message = COLOR.sub("", record.getMessage())
        self._keep(f"{time.strftime('%H:%M:%S')} {message}")
        if event := TASK_EVENT.match(message):
            task = event[event.lastgroup or ""]
            if event.lastgroup == "started":
                self.started.setdefault(task, time.monotonic())
                self.show(f"» {task}")
            elif event.lastgroup == "ended":
                took = time.monotonic() - self.started[task]
                self.run.tasks[task] = max(0.1, round(took, 1))
            else:
                self.run.tasks[task] = 0.0
                self.show(f"» {task} (unchanged)")
        return False

    def write(self, text: str) -> int:
        """Take what is printed, which is the output of components but for some rules."""
        before = getattr(self.of_thread, "unfinished_line", "")
        *lines, self.of_thread.unfinished_line = (before + text).split("\n")
        for line in lines:
            message = COLOR.sub("", line)
            self._keep(message)
            if message.startswith("error: "):
                self.run.error = message.removeprefix("error: ")
            elif not NOISE.match(message):
                self.show(f"  {message}")
        return len(text)

    def _keep(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()


@contextlib.contextmanager
def _observed(observer: _Observer) -> Iterator[None]:
    """Send standard output and the records of the root logger to ``observer``."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addFilter(observer.filter)
    try:
        with contextlib.redirect_stdout(observer), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(observer.filter)
        root.setLevel(level)
