"""The place that the attempts of a step share: a retried one goes on where the last one was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECKPOINTS, WORKFLOW = "STREETSEG_CHECKPOINTS", "STREETSEG_WORKFLOW"
"""Variables with a folder or URL, and the name of the run's workflow, which all attempts have."""
FOLDER = "streetseg-attempts"
MAX_AGE_S = 7 * 24 * 3600
"""Age at which the files of another run are removed from a volume."""


def shared_place(step: str, inputs: Any, workspace: str = "") -> str | None:
    """A folder or URL for the attempts of one step in one run; None if they share nothing.

    Args:
        step: name of the step.
        inputs: plain data that tells tasks of the same step apart.
        workspace: folder of the run's workspace; empty for where ``STREETSEG_CHECKPOINTS`` says.
    """
    base, workflow = workspace or os.environ.get(CHECKPOINTS), os.environ.get(WORKFLOW)
    if not base or not workflow:
        return None
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    own = f"{base.rstrip('/')}/{FOLDER}/{workflow}"
    if "://" not in base:
        _remove_old(Path(base) / FOLDER, Path(own))
    return f"{own}/{step}-{digest}"


def _remove_old(root: Path, own: Path) -> None:
    """Remove what other runs have not written to for a week, by the clock of the volume."""
    with suppress(OSError):  # a volume that cannot be written is an error of the step itself
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root) as touched:
            now = Path(touched.name).stat().st_mtime
        for folder in root.iterdir():
            times = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
            if folder != own and now - max(times) > MAX_AGE_S:
                shutil.rmtree(folder, ignore_errors=True)
                print(f"{folder}, of an earlier run, is removed", flush=True)
