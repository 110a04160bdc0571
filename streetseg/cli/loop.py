"""Commands that close the loop: from what was served to the next champion."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from streetseg.cli.options import PARAMS, AsJson, Overrides, ParamsFile, app, load


@app.command(context_settings={"allow_interspersed_args": False})
def webhook(
    command: Annotated[
        list[str], typer.Argument(help="The command to run and its arguments, after --.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8787,
) -> None:
    """Run a command whenever a labelling tool (CVAT, Label Studio) posts a webhook.

    The secret that the tool was given is in STREETSEG_WEBHOOK_SECRET. Nothing of a webhook reaches
    the command. Example: streetseg webhook -- ./next-version.sh
    """
    from streetseg.labelling.webhook import SECRET, WebhookServer

    with WebhookServer((host, port), os.environ.get(SECRET, ""), command) as server:
        print(f"webhooks to http://{host}:{server.server_port} run: {' '.join(command)}")
        server.run_when_called()


@app.command()
def loop(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    selection: Annotated[
        list[Path], typer.Option(help="Folder that 'select' wrote; may be repeated.")
    ] = [Path("outputs/selection")],  # noqa: B006
    url: Annotated[
        str | None, typer.Option(help="Address of a running service, to say what it answers.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("outputs/loop.html"),
    as_json: AsJson = False,
) -> None:
    """Write one page of the loop: served, kept, chosen, labelled, trained, judged, promoted.

    Counts, versions and dates come from DVC, MLflow, the registry and the files of each step. A
    stage that has not been reached shows the command that reaches it.

    Example: streetseg loop --selection outputs/selection
    """
    from streetseg.labelling.loop import Loop, write_loop

    state = Loop.read(load(params, set_), Path(), selection, url)
    write_loop(state, out)
    if as_json:
        print(json.dumps(state.to_dict()))
        return
    for stage in state.stages:
        print(f"{stage.name:9} {f'{stage.figure} {stage.unit}' if stage.figure else 'not yet'}")
    print(f"page: {out}")
