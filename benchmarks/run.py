"""Run every benchmark and write what they found to ``benchmarks/RESULTS.md``.

python benchmarks/run.py [NAME ...]
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import COLUMNS, OUT, show

from streetseg.core.parallel import cores

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"harness", "older", "run"}
UNMEASURED = {
    "train U-Net EfficientNet-B3 at 1024x512 on a GPU: ours / peer >= 3": "a GPU",
    "train SegFormer-B3 at 1024x512 on a GPU: ours / peer >= 2": "a GPU",
    "mean IoU in int8, against float: ours / peer >= 0.98": "a trained model (`int8.py --model`)",
}
"""Goals, and for want of what they are not tried."""


def main() -> None:
    """Run those named on the command line, or all, and write the page from the newest of each."""
    every = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    for name in sys.argv[1:] or every:
        subprocess.run([sys.executable, HERE / f"{name}.py"], check=True)
    lines = [
        "# Results",
        "",
        f"Measured on {cores()} cores ({processor()}), Python {platform.python_version()}. "
        "Ours and the other take turns in one run; figures are medians. `make bench` measures "
        "anew.",
    ]
    paths = {name: OUT / f"{name}.json" for name in sorted([*every, "older"])}
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    lines += goals([claim for claims in found.values() for claim in claims])
    for name, claims in found.items():
        lines += ["", f"## `python benchmarks/{name}.py`", ""]
        lines += [f"Measured {claims[0]['measured']} at {short(claims[0]['revision'])}.", ""]
        lines += table(claims)
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")
    print(HERE / "RESULTS.md")


def goals(claims: list[dict[str, Any]]) -> list[str]:
    """How many goals were reached, which were not and why, and which could not be tried."""
    judged = [claim for claim in claims if claim["reached"]]
    missed = [claim for claim in judged if claim["reached"] == "no"]
    lines = ["", f"## Goals: {len(judged) - len(missed)} of {len(judged)} reached", ""]
    lines += [
        f"- **missed**: {each['claim']}. Goal {each['goal']}; "
        f"{' and '.join(ratios(each))}. Why: {each['why'] or 'not known'}."
        for each in missed
    ]
    return lines + [
        f"- **not measured**, for want of {what}: {goal}." for goal, what in UNMEASURED.items()
    ]


def ratios(claim: dict[str, Any]) -> list[str]:
    """What the parts of a goal are about, as measured."""
    keys = {"ours / peer": "ratio_peer", "ours / bound": "ratio_bound"}
    return [
        f"{what} = {show(claim[key])}"
        for what, key in keys.items()
        if what in claim["goal"] and claim[key] is not None
    ] or [f"ours = {show(claim['ours'])} {claim['unit']}"]


def table(claims: list[dict[str, Any]]) -> list[str]:
    """A Markdown table of claims."""
    rows = [[show(claim[key]) for key in COLUMNS.values()] for claim in claims]
    return [f"| {' | '.join(cells)} |" for cells in (list(COLUMNS), ["---"] * len(COLUMNS), *rows)]


def short(revision: str) -> str:
    """The start of a commit, and whether files differed from it."""
    commit, dash, dirty = revision.partition("-")
    return f"{commit[:12]}{dash}{dirty}"


def processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
