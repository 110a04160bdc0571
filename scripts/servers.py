"""A server on this machine for the length of a block."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY

STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running(
    command: list[str],
    health: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path = REPOSITORY,
) -> Iterator[Server]:
    """Start a server on a free port, wait until it is ready, and stop it when the block ends.

    Args:
        command: its program and arguments; an argument ``PORT`` or ``...:PORT`` gets the port.
        health: the path that answers with success once the server is ready.
        log: the file for its output.
        environment: variables on top of those of this process.
        folder: its working directory.

    Raises:
        StreetsegError: it ends before it is ready, or is not ready in ``STARTS_WITHIN_S``.
    """
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [re.sub(r"(^|:)PORT$", rf"\g<1>{port}", word) for word in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        server = Server(port, process)
        try:
            _wait(server, health, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: Server, health: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}{health}", timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    why = lines[-1].strip() if lines else "it does not answer"
    raise StreetsegError(f"the server did not start, {os.path.relpath(log)} ends with: {why}")


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
