"""The verdict of the gate, as a page, as JSON and as tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Condition:
    """A requirement on a model, met if ``measured`` is at least ``required``."""

    name: str
    measured: float | None
    """A score or a probability, 0 to 1; None if it does not exist."""
    required: float | None
    """None if nothing is required; ``passed`` is None too."""
    passed: bool | None
    sentence: str
    advice: str = ""

    @property
    def failed(self) -> bool:
        """Whether it keeps the gate closed."""
        return self.passed is not None and not self.passed


@dataclass(frozen=True)
class Verdict:
    """Whether the gate is open, and why."""

    passed: bool
    reasons: list[str]
    """The sentences of all conditions if the gate is open, of the failed ones if it is closed."""
    conditions: list[Condition] = field(default_factory=list)
    about: str = ""
    """Which model was judged, on which data, in one sentence."""
    compared_with: str = ""
    """``version 3`` of the registry, or ``nothing: `` and why."""
    probability: float | None = None
    """The probability that the model is better than the champion; None if not compared."""

    @classmethod
    def of(cls, conditions: Iterable[Condition], **facts: Any) -> Verdict:
        """The gate is open if no condition fails."""
        conditions = list(conditions)
        failed = [condition for condition in conditions if condition.failed]
        reasons = [condition.sentence for condition in failed or conditions]
        return cls(not failed, reasons, conditions, **facts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def tags(self) -> dict[str, str]:
        """Tags of a run or of a version in the registry: short strings."""
        tags = {"gate": "passed" if self.passed else "failed"}
        if self.compared_with:
            tags["gate_compared_with"] = self.compared_with
        if self.probability is not None:
            tags["gate_probability"] = f"{self.probability:.4f}"
        return tags

    def to_markdown(self, version: str = "") -> str:
        """A page: the conditions, the reasons, and what to do next.

        ``version`` is the URI of a model that is registered already, which nothing follows for.
        """
        outcome = (
            "open: the model is registered" if self.passed else "closed: nothing is registered"
        )
        if version:
            outcome = f"{'open' if self.passed else 'closed'} for {version}"
        parts = [
            f"# Gate {outcome}",
            self.about,
            _table([("Condition", "Measured", "Required", "Verdict"), *map(_row, self.conditions)]),
            _bullets("Why", self.reasons),
            "" if version else _bullets("What to do next", self._next_steps()),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _next_steps(self) -> list[str]:
        if self.passed:
            return [
                "The model becomes the challenger. To answer with it, promote it "
                "(`streetseg promote`, or `registry.auto_promote`): the service then takes it."
            ]
        failed = [condition for condition in self.conditions if condition.failed]
        return list(dict.fromkeys(condition.advice for condition in failed))


def shown(value: float, limit: float | None = None) -> str:
    """Three decimals, or six if three would hide on which side of the limit the value is."""
    text = f"{value:.3f}"
    return f"{value:.6f}" if value != limit and text == f"{limit or 0:.3f}" else text


def _row(condition: Condition) -> tuple[str, str, str, str]:
    outcomes = {True: "passed", False: "**failed**", None: "not asked"}
    measured, required = condition.measured, condition.required
    return (
        condition.name,
        "-" if measured is None else shown(measured, required),
        "-" if required is None else f"at least {required:g}",
        outcomes[condition.passed],
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table that is aligned as plain text too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _bullets(title: str, sentences: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)
