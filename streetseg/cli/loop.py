"""Commands that close the loop: from what was served to the next champion."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from streetseg.cli.options import app


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
