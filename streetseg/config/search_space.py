"""The search space of a tuning: choices or a range of numbers for each key path."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from streetseg.config.types import NUMBER
from streetseg.config.yaml_files import Section


class Range(Section):
    """A range of numbers, including both ends."""

    low: Annotated[float, NUMBER]
    high: Annotated[float, NUMBER]
    log: bool = False
    step: Annotated[float, Field(gt=0), NUMBER] | None = None

    @model_validator(mode="after")
    def _searchable(self) -> Range:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        if self.log and self.low <= 0:
            raise ValueError("with log, low must be above 0")
        if self.log and self.step:
            raise ValueError("log and step exclude each other")
        if self.step:
            steps = (self.high - self.low) / self.step
            if not (math.isfinite(steps) and math.isclose(steps, round(steps))):
                raise ValueError("high must be low and a whole number of steps")
        return self


def _choices_or_range(value: Any) -> str | None:
    if isinstance(value, list):
        return "choices"
    return "range" if isinstance(value, dict | Range) else None


SearchSpace = dict[
    str,
    Annotated[
        Annotated[list[Any], Field(min_length=1), Tag("choices")] | Annotated[Range, Tag("range")],
        Discriminator(
            _choices_or_range,
            custom_error_type="search_space",
            custom_error_message="Give a list of choices, or {low: ..., high: ...}",
        ),
    ],
]
