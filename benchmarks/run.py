"""Run every benchmark and write what they found to ``benchmarks/RESULTS.md``.

python benchmarks/run.py [NAME ...]
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

from harness import COLUMNS, OUT, show

from streetseg.parallel import cores

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"harness", "run"}


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
    for name in every:
        path = OUT / f"{name}.json"
        if path.exists():
            claims = json.loads(path.read_text())
            lines += ["", f"## `python benchmarks/{name}.py`", ""]
            lines += [f"Measured {claims[0]['measured']} at {short(claims[0]['revision'])}.", ""]
            lines += table(claims)
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")
    print(HERE / "RESULTS.md")


def table(claims: list[dict[str, object]]) -> list[str]:
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
