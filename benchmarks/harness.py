"""What the benchmarks share: source frames, timing side by side, and how a claim is reported."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streetseg.provenance import REPOSITORY, git_revision
from streetseg.synth import write_cityscapes

COLUMNS = {
    "claim": "claim",
    "ours": "ours",
    "peer": "peer",
    "bound": "bound",
    "ours / peer": "ratio_peer",
    "ours / bound": "ratio_bound",
    "goal": "goal",
    "unit": "unit",
}
"""Headings of a report, and the keys of a claim they stand for."""

OUT = REPOSITORY / "outputs" / "bench"


@dataclass(frozen=True)
class Claim:
    """A figure of ours beside a peer's or a physical bound's, in one unit."""

    claim: str
    ours: float
    peer: float | None
    bound: float | None
    goal: str
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the ratios are ours to the other's, of times and of rates alike."""
        return asdict(self) | {
            "ratio_peer": self.ours / self.peer if self.peer else None,
            "ratio_bound": self.ours / self.bound if self.bound else None,
        }


def source_frames(frames: int, size: tuple[int, int] = (1024, 2048)) -> Path:
    """A Cityscapes folder of so many frames: 16 drawn ones, each under many names."""
    drawn = OUT / f"drawn-{size[1]}x{size[0]}"
    write_cityscapes(drawn, frames={"train": 12, "val": 4}, cities=2, size=size, seed=0)
    root = OUT / f"cityscapes-{frames}-{size[1]}x{size[0]}"
    for folder, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        for split, share in (("train", 0.75), ("val", 0.25)):
            originals = sorted((drawn / folder / split).glob(f"*/*_{suffix}.png"))
            for number in range(round(frames * share)):
                city = f"{split}city{number % 4}"
                link = root / folder / split / city / f"{city}_{number:06d}_000019_{suffix}.png"
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    os.link(originals[number % len(originals)], link)
    return root


def seconds(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each task; they take turns, so that a busy moment hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def report(name: str, claims: list[Claim]) -> None:
    """Print the claims as a table and write them to ``outputs/bench/<name>.json``."""
    table = Table(*COLUMNS)
    for claim in claims:
        table.add_row(*(show(claim.to_dict()[key]) for key in COLUMNS.values()))
    Console(width=140).print(table)
    OUT.mkdir(parents=True, exist_ok=True)
    origin = {"measured": str(date.today()), "revision": git_revision()}
    found = [claim.to_dict() | origin for claim in claims]
    (OUT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def show(value: object) -> str:
    """A figure with three digits, a dash for what does not exist."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
