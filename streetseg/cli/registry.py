"""Commands of the registry: which version serves, why, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streetseg.cli.options import PARAMS, AsJson, Overrides, ParamsFile, app, load

if TYPE_CHECKING:
    from rich.table import Table

    from streetseg.registry.lineage import Trace, TracedRun
    from streetseg.registry.promotion import Move
    from streetseg.registry.versions import ModelVersion

Reason = Annotated[str, typer.Option(help="Reason, recorded in the history.")]
Which = Annotated[str, typer.Argument(help="Version number or alias.")]


@app.command()
def promote(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    version: Annotated[
        str | None, typer.Option(help="Version number or alias. Default: the challenger.")
    ] = None,
    reason: Reason = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if it did not pass the gate; needs --reason.")
    ] = False,
) -> None:
    """Make a version the champion, the one that services use.

    'streetseg history' shows who did it, when and why.

    Example: streetseg promote --version 3 --reason 'better on people'
    """
    from streetseg.registry.promotion import promote as promote_version

    promoted = promote_version(load(params, set_).registry, version, reason, force)
    print(f"{promoted.name} version {promoted.version} is the champion")


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
) -> None:
    """Copy the files of a registered model that a service needs into a folder.

    With serve.model=FOLDER a service uses this model instead of the champion.

    Example: streetseg pull models:/street-segmenter@champion outputs/served
    """
    from streetseg.registry.local_copies import copy_model, read_version_info

    copy = copy_model(model, load(params, set_).registry, folder)
    info = read_version_info(copy)
    print(f"{info.name} version {info.version} in {copy}")


@app.command()
def rollback(params: ParamsFile = PARAMS, set_: Overrides = None, reason: Reason = "") -> None:
    """Make the previous champion the champion again.

    Example: streetseg rollback --reason 'people are missed at night'
    """
    from streetseg.registry.promotion import rollback as roll_back

    promoted = roll_back(load(params, set_).registry, reason)
    print(f"{promoted.name} version {promoted.version} is the champion again")


@app.command(name="list")
def list_versions(
    params: ParamsFile = PARAMS, set_: Overrides = None, as_json: AsJson = False
) -> None:
    """List the registered versions, newest first.

    Example: streetseg list
    """
    from streetseg.core.terminal import print_table
    from streetseg.registry.versions import versions

    registered = versions(load(params, set_).registry)
    if as_json:
        print(json.dumps([version.to_dict() for version in registered]))
        return
    print_table(_table_of_versions(registered))


@app.command()
def history(params: ParamsFile = PARAMS, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Show every change of the champion: when, who, and why; latest last.

    Example: streetseg history --json
    """
    from streetseg.core.terminal import print_table
    from streetseg.registry.promotion import history as read_history

    moves = read_history(load(params, set_).registry)
    if as_json:
        print(json.dumps([move.to_dict() for move in moves]))
    elif moves:
        print_table(_table_of_moves(moves))
    else:
        print("no version was ever the champion")


@app.command()
def diff(
    first: Which,
    second: Which,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: data, code, scores, and the settings that differ.

    Example: streetseg diff 1 2
    """
    from streetseg.core.terminal import print_table
    from streetseg.registry.compare_versions import VersionDiff

    difference = VersionDiff(load(params, set_).registry, first, second)
    if as_json:
        print(json.dumps(difference.to_dict()))
        return
    if difference.comparison.warning:
        print(f"warning: {difference.comparison.warning}")
    print_table(difference.table())


@app.command()
def trace(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="Version number (the X-Model-Version of an answer), alias, models:/..., id or "
            "name of a run, data version, or id or URL of a Kubeflow run.",
        ),
    ],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    files: Annotated[bool, typer.Option("--files", help="List every frame.")] = False,
    as_json: AsJson = False,
) -> None:
    """Trace a model back to its training data, or data to the models trained on it.

    Example: streetseg trace champion
    """
    from streetseg.core.terminal import print_table
    from streetseg.registry.lineage import list_files
    from streetseg.registry.lineage import trace as trace_subject

    settings = load(params, set_)
    result = trace_subject(settings, subject)
    frames = None
    if files and result.data_version:
        frames = list_files(settings.data, result.data_version).to_dict("records")
    if as_json:
        print(json.dumps(result.to_dict() | ({} if frames is None else {"files": frames})))
        return
    print_table(_table_of_trace(result, settings.data.repository))
    for frame in frames or []:
        print(f"{frame['split']}/{frame['city']}  {frame['image']}  {frame['label']}")


def _table_of_versions(versions: list[ModelVersion]) -> Table:
    from rich.markup import escape

    from streetseg.core.terminal import table_of

    table = table_of("version", "alias", "data version", "mIoU", "gate", "registered", "by")
    for version in versions:
        tags = version.tags
        cells = [tags.get(key) or "-" for key in ("data_version", "miou", "gate")]
        table.add_row(
            version.version,
            ", ".join(version.aliases) or "-",
            *map(escape, cells),
            f"{version.registered.astimezone():%Y-%m-%d %H:%M}",
            escape(tags.get("registered_by") or "-"),
        )
    return table


def _table_of_moves(moves: list[Move]) -> Table:
    from rich.markup import escape

    from streetseg.core.terminal import table_of

    table = table_of("when (UTC)", "who", "what", "from", "to", "why")
    for move in moves:
        what = f"{move.action}, forced" if move.forced else move.action
        table.add_row(
            (move.when or "-").removesuffix("+00:00").replace("T", " "),
            escape(move.who or "-"),
            what or "moved in MLflow, not by streetseg",
            move.before or "-",
            move.after or "-",
            escape(move.reason or "-"),
        )
    return table


def _source(run: TracedRun) -> str | None:
    if run.source_name in (None, run.source):
        return run.source
    return f"{run.source_name} ({run.source})"


def _table_of_trace(trace: Trace, repository: str) -> Table:
    from rich.markup import escape

    from streetseg.core.credentials import redact
    from streetseg.core.terminal import table_of

    table = table_of("", "")
    for version in trace.versions:
        registered = f"registered {version.registered.astimezone():%Y-%m-%d %H:%M}"
        cell = f"{version.name} {version.title}, {registered}, run {version.run_id}"
        table.add_row("version", escape(cell))
        if weights := version.tags.get("weights_sha256"):
            table.add_row("", f"weights {weights}")
        name, *where = (version.tags.get(f"pipeline_run{each}") for each in ("", "_id", "_url"))
        if name:
            cell = " ".join(filter(None, (name, *where)))
            table.add_row("pipeline run", escape(cell))
    for run in trace.runs:
        started = f"started {run.started.astimezone():%Y-%m-%d %H:%M}"
        table.add_row("run", escape(f"{run.id} {run.name}, {started}, code {run.git_revision}"))
    for run_id in dict.fromkeys(version.run_id for version in trace.versions):
        if run_id not in {run.id for run in trace.runs}:
            table.add_row("run", f"{run_id} is gone from MLflow" if run_id else "none: a copy")
    table.add_row("data version", trace.data_version or "not recorded")
    sources = dict.fromkeys((_source(run), *run.frames.items()) for run in trace.runs if run.frames)
    for source, *frames in sources:
        counts = ", ".join(f"{count} {split} frames" for split, count in frames)  # type: ignore
        table.add_row("source", escape(f"{source}: {counts}"))
    for commit in trace.commits:
        origin = f"data.source {commit.source}, data.root {commit.root}"
        cell = f"commit {commit.commit[:10]} of {commit.date}, {commit.subject}: {origin}"
        table.add_row("dvc.lock", escape(cell))
    if trace.data_version and not trace.commits:
        cell = f"in no commit of {redact(repository)}: data.repository names another repository"
        table.add_row("dvc.lock", escape(cell))
    if trace.names:
        table.add_row("", escape(f"branches and tags: {', '.join(trace.names)}"))
    return table
