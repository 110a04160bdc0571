"""The gate: may this model be registered? A verdict with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streetseg.config import Gate


@dataclass(frozen=True)
class Verdict:
    """Whether the gate is open, and why."""

    passed: bool
    reasons: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_markdown(self) -> str:
        """A page for people."""
        outcome = (
            "open: the model is registered" if self.passed else "closed: nothing is registered"
        )
        return f"# Gate {outcome}\n\n" + "".join(f"- {reason}\n" for reason in self.reasons)


def judge(evaluation: Mapping[str, Any], params: Gate) -> Verdict:
    """Hold an evaluation (the content of ``evaluation.json``) against the gate's conditions."""
    miou, floor = evaluation["miou"], params.miou_floor
    passed = miou is not None and miou >= floor
    measured = "does not exist (no labelled pixel)" if miou is None else f"is {miou:.3f}"
    reason = (
        f"mean IoU over {len(evaluation['categories'])} categories {measured} on "
        f"{len(evaluation['frames'])} {evaluation['split']} frames: "
        f"{'at or above' if passed else 'below'} the floor of {floor:g}"
    )
    return Verdict(passed, [reason])
