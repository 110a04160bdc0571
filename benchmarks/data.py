"""What a person waits for: validating a large index, and a dvc repro with nothing to do.

python benchmarks/data.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from harness import OUT, Claim, report, seconds, source_frames

from streetseg.config.params import Validate, load_params
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data_quality.validation import validate

ROWS = 100_000


def large_index(dataset: PreparedDataset) -> PreparedDataset:
    """The dataset with an index of so many frames, all different, in 40 cities."""
    random = np.random.default_rng(0)
    index = dataset.index.iloc[random.integers(0, len(dataset.index), ROWS)].reset_index(drop=True)
    split = np.where(np.arange(ROWS) < 0.85 * ROWS, "train", "val")
    hashes = random.integers(0, 256, (ROWS, 32), dtype=np.uint8)
    dataset.index = index.assign(
        frame=[f"frame_{row:06d}" for row in range(ROWS)],
        image=[f"frame_{row:06d}.png" for row in range(ROWS)],
        image_hash=[f"{row:032x}" for row in range(ROWS)],
        phash=[row.tobytes().hex() for row in hashes],
        split=split,
        city=[f"{of}_{row % 20}" for row, of in enumerate(split)],
    )
    return dataset


def dvc_project(folder: Path, root: Path) -> None:
    """The project's stage in a folder of its own, run once."""
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    shutil.copytree(REPOSITORY / "streetseg", folder / "streetseg")
    params = load_params(overrides={"data.root": str(root)})
    (folder / "params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    dvc(folder, "init", "--no-scm")
    dvc(folder, "repro")


def dvc(folder: Path, *arguments: str) -> None:
    """Run DVC in a folder."""
    command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)


def main() -> None:
    """Measure and report."""
    root = source_frames(64)
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        folder = Path(scratch)
        dvc_project(folder, root)
        settings = load_params(
            overrides={"data.root": str(root), "data.prepared": str(folder / "prepared")}
        )
        dataset = large_index(PreparedDataset(prepare(settings)))
        tasks = {
            "validate": lambda: validate(dataset, Validate(), folder / "validation.html"),
            "repro": lambda: dvc(folder, "repro"),
        }
        took = seconds(tasks, rounds=3)
    report(
        "data",
        [
            Claim(f"validate {ROWS:,} frames", took["validate"], None, None, "ours < 60", "s"),
            Claim("dvc repro with nothing to do", took["repro"], None, None, "ours <= 3", "s"),
        ],
    )


if __name__ == "__main__":
    main()
