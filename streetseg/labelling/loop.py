"""One page of the loop: served, kept, chosen, labelled, trained, judged, promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streetseg.config.params import Params
from streetseg.labelling.loop_registry import judged, promoted, registered, served, trained
from streetseg.labelling.loop_stages import Stage, chosen, kept, labelled
from streetseg.reports.html import write_page


@dataclass(frozen=True)
class Loop:
    """How far each stage of the loop is."""

    model_name: str
    looked: datetime
    """When this was read, in UTC."""
    stages: list[Stage]

    @classmethod
    def read(
        cls, params: Params, project: Path, selections: Sequence[Path], url: str | None = None
    ) -> Loop:
        """Read the stages from DVC, MLflow, the registry and the files of each step.

        Args:
            params: ``data``, ``registry`` and ``serve.hard_frames``.
            project: the folder of ``dvc.lock``.
            selections: folders of ``streetseg select``; those that do not exist count as not yet.
            url: of a running service, to say what it has answered lately.

        Raises:
            StreetsegError: a server does not answer, or a file is damaged.
        """
        known, training = registered(params.registry), trained(params, project)
        return cls(
            params.registry.model_name,
            datetime.now(UTC),
            [
                served(known, url),
                kept(params.serve.hard_frames),
                chosen(selections),
                labelled(params.data),
                training.stage,
                judged(training.run),
                promoted(params.registry, known, training.run),
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"looked": self.looked.isoformat(timespec="seconds")}


def write_loop(loop: Loop, path: Path) -> None:
    """Write the page as a self-contained HTML file."""
    write_page(path, "loop.html.j2", loop_=loop)
