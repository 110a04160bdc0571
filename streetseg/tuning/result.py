"""The results of a search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trial:
    """A finished training of the search; ``reason`` says why it failed."""

    number: int
    state: str
    """``complete``, ``pruned`` or ``failed``."""
    miou: float | None
    """Held-out mIoU: the best of a complete trial, the last of a pruned one."""
    curve: dict[int, float]
    """Held-out mIoU by epoch."""
    settings: dict[str, Any]
    """Value by key path."""
    reason: str

    def describe(self, best_miou: float) -> str:
        """One line for the terminal, with the best score so far."""
        settings = " ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in self.settings.items()
        )
        score = "  -  " if self.miou is None else f"{self.miou:.3f}"
        return (
            f"trial {self.number:<3} {self.state:<8}  held-out mIoU {score}  "
            f"best {max(best_miou, 0):.3f}  {settings}  {self.reason}".rstrip()
        )


@dataclass(frozen=True)
class Search:
    """All trials of a search, and the files it has written."""

    trials: list[Trial]
    best: Trial
    recipe: Path
    page: Path
    run_id: str
    """The MLflow run whose children the trials are; empty for a search in many pods."""
