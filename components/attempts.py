"""The place that the attempts of a step share: a retried one goes on where the last one was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage

CHECKPOINTS, WORKFLOW = "STREETSEG_CHECKPOINTS", "STREETSEG_WORKFLOW"
"""Variables with a folder, a URL or ``remote``, and the name of the run's workflow, which all
attempts have."""
REMOTE = "remote"
"""The bucket of the data."""
FOLDER, STARTED = "streetseg-attempts", "started"
MAX_AGE = timedelta(days=7)
"""Age at which the files of another run are removed."""


def shared_place(step: str, inputs: Any, workspace: str = "", remote: str = "") -> str | None:
    """A folder or URL for the attempts of one step in one run; None if they share nothing.

    Args:
        step: name of the step.
        inputs: plain data that tells tasks of the same step apart.
        workspace: folder of the run's workspace; empty for where ``STREETSEG_CHECKPOINTS`` says.
        remote: the DVC remote of the data, where that variable is ``remote``. A folder is not
            shared, and a bucket that cannot be written is a warning.
    """
    base, workflow = workspace or os.environ.get(CHECKPOINTS), os.environ.get(WORKFLOW)
    optional = base == REMOTE
    if optional:
        base = remote if "://" in remote else None
    if not base or not workflow:
        return None
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    own = f"{base.rstrip('/')}/{FOLDER}/{workflow}"
    if "://" not in base:
        _remove_old(Path(base) / FOLDER, Path(own))
        return f"{own}/{step}-{digest}"
    try:
        _remove_old_objects(f"{base.rstrip('/')}/{FOLDER}", workflow)
    except StreetsegError as error:
        if optional:
            print(f"warning: a lost attempt starts over: {error}", flush=True)
            return None
        raise
    return f"{own}/{step}-{digest}"


def _remove_old(root: Path, own: Path) -> None:
    """Remove what other runs have not written to for a week, by the clock of the volume."""
    with suppress(OSError):  # a volume that cannot be written is an error of the step itself
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root) as touched:
            now = Path(touched.name).stat().st_mtime
        for folder in root.iterdir():
            times = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
            if folder != own and now - max(times) > MAX_AGE.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)
                print(f"{folder}, of an earlier run, is removed", flush=True)


def _remove_old_objects(url: str, workflow: str) -> None:
    """The same in a bucket, by its own clock: of an object that is written now.

    Raises:
        StreetsegError: the bucket cannot be written.
    """
    storage = Storage(url)
    storage.write(f"{workflow}/{STARTED}", b"")
    times = storage.times()
    now = times[f"{workflow}/{STARTED}"]
    newest: dict[str, datetime] = {}
    for path, time in times.items():
        run = path.partition("/")[0]
        newest[run] = max(time, newest.get(run, time))
    old = [path for path in times if now - newest[path.partition("/")[0]] > MAX_AGE]
    try:
        for path in old:
            storage.remove(path)
    except StreetsegError as error:  # a key may write but not delete: nothing is lost by that
        print(f"warning: checkpoints of earlier runs stay: {error}", flush=True)
