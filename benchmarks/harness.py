"""What the benchmarks share: source frames, timing side by side, and how a claim is reported."""

from __future__ import annotations

import json
import operator
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streetseg.core.program import set_up_environment
from streetseg.core.provenance import REPOSITORY, git_revision
from streetseg.synth import write_cityscapes

COLUMNS = {
    "claim": "claim",
    "ours": "ours",
    "peer": "peer",
    "bound": "bound",
    "ours / peer": "ratio_peer",
    "ours / bound": "ratio_bound",
    "goal": "goal",
    "reached": "reached",
    "unit": "unit",
}
"""Headings of a report, and the keys of a claim they stand for."""

PART_OF_GOAL = re.compile(r"ours(?: / (peer|bound))? (<=|>=|<) ([\d.]+)")
HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}

OUT = REPOSITORY / "outputs" / "bench"

set_up_environment()


@dataclass(frozen=True)
class Claim:
    """A figure of ours beside a peer's or a physical bound's, in one unit.

    A goal is made of parts such as ``ours <= 3`` and ``ours / peer >= 5``; ``-`` is none.
    """

    claim: str
    ours: float
    peer: float | None
    bound: float | None
    goal: str
    unit: str
    why: str = ""
    """What holds it back, and what would help: shown where the goal is missed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the ratios are ours to the other's, of times and of rates alike."""
        ratios = {
            "peer": self.ours / self.peer if self.peer else None,
            "bound": self.ours / self.bound if self.bound else None,
        }
        return asdict(self) | {
            "ratio_peer": ratios["peer"],
            "ratio_bound": ratios["bound"],
            "reached": reached(self.goal, self.ours, ratios),
        }


def reached(goal: str, ours: float, ratios: Mapping[str, float | None]) -> str | None:
    """``yes`` if every part of the goal holds, else ``no``; None without a goal."""
    if goal == "-":
        return None
    parts = [PART_OF_GOAL.fullmatch(part) for part in goal.split(", ")]
    holds = []
    for part in parts:
        assert part is not None, f"no goal that can be judged: {goal}"
        other, relation, bound = part.groups()
        figure = ratios[other] if other else ours
        assert figure is not None, f"nothing was measured for: {goal}"
        holds.append(HOLDS[relation](figure, float(bound)))
    return "yes" if all(holds) else "no"


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


def alternating(names: Iterable[str], number: int) -> list[str]:
    """The names in order in an even round, in reverse order in an odd one."""
    return list(names)[:: -1 if number % 2 else 1]


def seconds(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each task.

    They take turns, in reverse order in every other round, so that a busy moment or a machine that
    slows down hits all alike.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds):
        for name in alternating(tasks, number):
            began = time.perf_counter()
            tasks[name]()
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
