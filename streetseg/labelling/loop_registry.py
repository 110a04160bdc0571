"""The stages of the loop that DVC, MLflow and the registry know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streetseg.config.params import Params, Registry
from streetseg.core.errors import NoRegistryError, NoSuchVersionError
from streetseg.data.dataset import DESCRIPTION, PreparedDataset
from streetseg.data.versions import locked_version
from streetseg.labelling.loop_stages import Stage, frames_by_source
from streetseg.registry.promotion import Move, history
from streetseg.registry.versions import CHALLENGER, CHAMPION, ModelVersion, versions
from streetseg.tracking.judged import JudgedRun, last_judged


@dataclass(frozen=True)
class Trained:
    """The present data version, and the last training on it."""

    stage: Stage
    run: JudgedRun | None


def registered(params: Registry) -> list[ModelVersion]:
    """The versions of the model; none if there is no registry."""
    try:
        return versions(params)
    except (NoRegistryError, NoSuchVersionError):
        return []


def served(known: Sequence[ModelVersion], url: str | None) -> Stage:
    """The champion of the known versions, and what a service has answered lately."""
    champion = _with_alias(known, CHAMPION)
    if champion is None:
        return Stage("Served", next="streetseg promote")
    facts = {"model": champion.name, "data version": champion.tags.get("data_version", "-")}
    if url:
        from streetseg.client import Client

        with Client(url, retries=0) as client:
            model, drift = client.model().value, client.drift().value
        facts["service"] = f"{url} answers with version {model['version']}"
        facts["lately"] = f"{drift['seen']} images since its start, drift: {drift['verdict']}"
    return Stage("Served", f"v{champion.version}", CHAMPION, facts)


def trained(params: Params, project: Path) -> Trained:
    """The data version in ``dvc.lock``, its frames by source, and the last training on it."""
    lock = project / "dvc.lock"
    if not lock.exists():
        return Trained(Stage("Trained", next="dvc repro"), None)
    version = locked_version(lock)
    facts, rows = {"data version": version}, []
    if (params.data.prepared / DESCRIPTION).exists():
        dataset = PreparedDataset(params.data.prepared)
        index = dataset.index
        sources = index["source"] if "source" in index else [dataset.name] * len(index)
        rows = frames_by_source(zip(sources, index["split"], strict=True))
    columns = ("source", "train", "val", "test") if rows else ()
    try:
        run = last_judged(params.registry, version)
    except NoRegistryError:
        run = None
    if run is None:
        stage = Stage("Trained", "", "", facts, columns, rows, next="streetseg train")
        return Trained(stage, None)
    facts |= {"run": f"{run.name} ({run.id})", "when": f"{run.started:%Y-%m-%d %H:%M}"}
    if start := run.settings.get("model.init_from"):
        facts["started from"] = start
    n_frames = sum(int(count) for row in rows for count in row[1:2] if count != "-")
    figure, unit = (str(n_frames), "train frames") if rows else (run.id[:8], "run")
    return Trained(Stage("Trained", figure, unit, facts, columns, rows), run)


def judged(run: JudgedRun | None) -> Stage:
    """The verdict on that training, and where it gained and lost."""
    if run is None or run.gate is None:
        return Stage("Judged", next="streetseg evaluate && streetseg gate")
    rows = [
        (source, _score(champion), _score(miou), _score(miou - champion, "+.3f"))
        for source, (miou, champion) in run.sources.items()
    ]
    return Stage(
        "Judged",
        "open" if run.gate == "passed" else "closed",
        "gate",
        {"compared with": run.compared_with or "-"},
        ("mean IoU on", "champion", "this model", "difference") if rows else (),
        rows,
        run.reasons,
    )


def promoted(params: Registry, known: Sequence[ModelVersion], run: JudgedRun | None) -> Stage:
    """Who made which version the champion, and whether the last training is it."""
    champion = _with_alias(known, CHAMPION)
    moves = history(params) if champion else []
    rows = [_row(move) for move in reversed(moves)]
    columns = ("champion", "before", "when (UTC)", "by", "reason")
    if champion is None or run is None:
        return Stage("Promoted", columns=columns, rows=rows, next="streetseg promote")
    if champion.run_id == run.id:
        return Stage("Promoted", f"v{champion.version}", "from this data", {}, columns, rows)
    waiting = _with_alias(known, CHALLENGER)
    ours = waiting is not None and waiting.run_id == run.id
    facts = {"waiting": f"version {waiting.version}, challenger"} if ours and waiting else {}
    command = "streetseg promote" if ours else "streetseg register && streetseg promote"
    return Stage("Promoted", facts=facts, columns=columns, rows=rows, next=command)


def _row(move: Move) -> tuple[str, ...]:
    when = (move.when or "-")[:16].replace("T", " ")
    return (move.after or "-", move.before or "-", when, move.who or "-", move.reason or "-")


def _with_alias(known: Sequence[ModelVersion], alias: str) -> ModelVersion | None:
    return next((each for each in known if alias in each.aliases), None)


def _score(value: float, form: str = ".3f") -> str:
    return f"{value:{form}}"
