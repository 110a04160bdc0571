"""MLflow's pages on this machine, opened on the experiment; ends with Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import io
import os
import socket
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout, suppress

import httpx

from streetseg.config.params import PARAMS, Registry, load_params
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, exit_on_error, one_line
from streetseg.core.program import set_up_environment
from streetseg.tracking.store import connect, find_experiment, store_of, translate_errors

HOST, PORT = "127.0.0.1", 5000
LEAN = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its workers take ten processes
    "PYTHONWARNINGS": "ignore",  # MLflow's server uses what Starlette deprecates
}
POLL_S = 0.2


def main() -> None:
    """Serve the pages; status 1 with one clear line if there is nothing to show."""
    set_up_environment()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    port = parser.parse_args().port
    with exit_on_error():
        registry = load_params(PARAMS if PARAMS.exists() else None).registry
        store = store_of(registry)
        if store.startswith(("http://", "https://")):
            print(f"MLflow runs elsewhere: {page(redact(store).rstrip('/'), registry)}")
            return
        refuse_busy(port)
        address = page(f"http://{HOST}:{port}", registry)
        serve(store, port, address)


def page(server: str, registry: Registry) -> str:
    """The address of the experiment's runs, or of all experiments if there is none yet.

    Raises:
        StreetsegError: the store does not exist or does not answer, or the experiment is deleted.
    """
    client = connect(registry)
    with translate_errors(f"cannot read the experiment '{registry.experiment}'"):
        experiment = find_experiment(client, registry)
    return f"{server}/#/experiments{f'/{experiment.experiment_id}/runs' if experiment else ''}"


def refuse_busy(port: int) -> None:
    """Raise a StreetsegError if another program has the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise StreetsegError(
                f"cannot listen on {HOST}:{port}: {one_line(error)}: choose another port, such as "
                "'make ui PORT=5001'"
            ) from None


def serve(store: str, port: int, address: str) -> None:
    """Run MLflow's server with one worker until it is stopped, and print ``address`` once it is up.

    MLflow passes SIGTERM and SIGINT on to the server, and waits for its end.

    Raises:
        StreetsegError: the server does not start.
    """
    from mlflow.cli import cli

    os.environ |= LEAN
    up = threading.Event()
    threading.Thread(target=_announce, args=(port, address, up), daemon=True).start()
    options = ["ui", "--host", HOST, "--port", str(port), "--workers", "1"]
    options += ["--uvicorn-opts", "--log-level warning", "--backend-store-uri", store]
    told = io.StringIO()  # among it advice to listen on all addresses, without a password
    with suppress(SystemExit), redirect_stdout(told), redirect_stderr(told):
        cli(options, standalone_mode=False)
    if not up.is_set():
        raise StreetsegError(
            f"MLflow ended before it was up: {redact(one_line(told.getvalue(), None))}"
        )


def _announce(port: int, address: str, up: threading.Event) -> None:
    while not up.is_set():
        with suppress(httpx.HTTPError):
            httpx.get(f"http://{HOST}:{port}/health", trust_env=False).raise_for_status()
            up.set()
            print(f"MLflow: {address} (Ctrl-C stops it)", file=sys.__stdout__, flush=True)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
