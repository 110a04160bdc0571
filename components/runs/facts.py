"""What a step tells of its run for the webhook: a line of JSON in its log.

The step that reports the outcome runs after all others and can take no outputs of theirs, and
Kubeflow's API does not give any; logs it does give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "outcome: "


def tell(**facts: Any) -> None:
    """Print facts of the run: plain data, numbers finite."""
    print(PREFIX + json.dumps(facts, allow_nan=False), flush=True)


def facts_in(lines: list[str]) -> dict[str, Any]:
    """The facts in the lines of a log; a later one replaces an earlier one of its name."""
    facts: dict[str, Any] = {}
    for line in lines:
        if line.startswith(PREFIX):
            try:
                told = json.loads(line.removeprefix(PREFIX))
            except ValueError:
                continue
            facts |= told if isinstance(told, Mapping) else {}
    return facts
