"""Running the pipeline on this machine: each component in a process or container of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from streetseg.core.provenance import REPOSITORY

CODE = ("streetseg", "components", "pipelines", "recipes", "requirements.lock")

COLOR = re.compile(r"\x1b\[\d+m")
STARTED = re.compile(r"Executing task '(?P<task>[\w-]+)'")
ENDED = re.compile(r"Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)")
CACHED = re.compile(r"Task (?P<task>[\w-]+) cache hit")
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d+ - ")
FROM_COMPONENT = "    "
NOISE = re.compile(r"\[KFP Executor|\S+\.py:\d+: \w*Warning|\d{4}/\d\d/\d\d |[\s{}\[\]\"]|$")


@dataclass
class LocalRun:
    """What happened in a run."""

    succeeded: bool = False
    tasks: dict[str, float] = field(default_factory=dict)
    """Seconds of each task that ran, in order; 0 for one whose outputs were still there."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """The outputs of the pipeline, if it succeeded."""
    error: str = ""
    """The line with which a component gave up."""


def run_locally(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    folder: Path,
    show: Callable[[str], object] | None = None,
    runner: Any = None,
    version: str = "",
) -> LocalRun:
    """Run a compiled pipeline function through ``kfp.local``, reusing what has not changed.

    A task is not run again while its inputs and the code of this project are the same.

    Args:
        pipeline: a function decorated with ``dsl.pipeline``.
        arguments: its parameters.
        folder: where artifacts, the cache and the whole log (``log.txt``) go.
        show: called with each line worth reading while it runs; None prints it.
        runner: of :mod:`kfp.local`; None means processes with the packages of this one.
        version: of what the runner runs, if that is not the code here.
    """
    from kfp import local

    folder.mkdir(parents=True, exist_ok=True)
    local.init(
        runner=runner or local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder.resolve()),
        enable_caching=True,
        cache_root=str(folder / ".cache" / (version or code_fingerprint()).replace(":", "-")),
    )
    terminal = sys.stdout
    show = show or (lambda line: terminal.write(f"{line}\n") and terminal.flush())
    run = LocalRun()
    with (folder / "log.txt").open("w") as log, _captured(_Reader(run, log, show)):
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


class _Reader(io.TextIOBase):
    """Takes what kfp prints: keeps all of it, shows what people read, notes what happened."""

    def __init__(self, run: LocalRun, log: IO[str], show: Callable[[str], object]) -> None:
        self.run, self.log, self.show = run, log, show
        self.began: dict[str, float] = {}
        self.rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self._note(COLOR.sub("", line))
        return len(text)

    def _note(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()
        if started := STARTED.search(line):
            self.began[started["task"]] = time.monotonic()
            self.show(f"» {started['task']}")
        elif ended := ENDED.search(line):
            task = ended["task"]
            if task in self.began:
                self.run.tasks[task] = round(time.monotonic() - self.began[task], 1)
        elif cached := CACHED.search(line):
            self.run.tasks[cached["task"]] = 0.0
            self.show(f"» {cached['task']} (unchanged)")
        elif line.startswith(FROM_COMPONENT) and not LOG_LINE.match(line):
            message = line.removeprefix(FROM_COMPONENT)
            if message.startswith("error: "):
                self.run.error = message.removeprefix("error: ")
            elif not NOISE.match(message) and self._is_running():
                self.show(f"  {message}")

    def _is_running(self) -> bool:
        return any(task not in self.run.tasks for task in self.began)


@contextlib.contextmanager
def _captured(reader: _Reader) -> Iterator[None]:
    """Send standard output and the root logger to ``reader``."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers[:] = [logging.StreamHandler(reader)]
    root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(reader), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
