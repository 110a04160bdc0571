"""Repositories of git and DVC, as their users make them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml


def run(folder: Path, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; the test fails with what it said if it ends otherwise."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def git(folder: Path, *arguments: str) -> str:
    """What git prints, asked by somebody whose name it knows."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return run(folder, "git", *identity, *arguments).stdout.strip()


def dvc(folder: Path, *arguments: str) -> str:
    """What DVC prints."""
    return run(folder, sys.executable, "-m", "dvc", *arguments).stdout


def commit_data(repository: Path, version: str, subject: str) -> str:
    """A commit whose dvc.lock names a data version."""
    lock = {"stages": {"prepare": {"outs": [{"path": "data/prepared", "md5": version}]}}}
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock))
    (repository / "params.yaml").write_text("data: {source: cityscapes, root: data/raw}\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(repository, "rev-parse", "HEAD")


def fill_remote(root: Path, folder: Path) -> None:
    """Make a DVC remote that holds a folder."""

    def put(data: bytes, ending: str = "") -> str:
        md5 = hashlib.md5(data).hexdigest()
        target = root / "files" / "md5" / md5[:2] / f"{md5[2:]}{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return md5

    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    listing = [{"md5": put((folder / name).read_bytes()), "relpath": name} for name in names]
    put(json.dumps(listing, sort_keys=True).encode(), ".dir")
