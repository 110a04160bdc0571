"""MLflow as a team runs it: its server, PostgreSQL behind it, and artifacts in S3.

Also a server that can be killed and started again, and a proxy of it that can break.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from botocore.config import Config

from scripts.servers import free_port
from tests.support.s3_server import CREDENTIALS

BUCKET = "models"
STARTS_WITHIN_S = 120
"""Seconds in which a server must start."""
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def mlflow_server(log: Path) -> Iterator[str]:
    """The address of a running server; the test is skipped where PostgreSQL is not installed.

    With ``STREETSEG_REQUIRE_POSTGRES`` in the environment it fails instead.
    """
    with ExitStack() as running:
        database = running.enter_context(_postgres(_binaries(), log))
        s3 = running.enter_context(_s3(log))
        port = free_port()
        command = _mlflow(port, database, f"s3://{BUCKET}")
        environment = {**os.environ, **CREDENTIALS, "MLFLOW_S3_ENDPOINT_URL": s3, **NO_JOBS}
        process = running.enter_context(_process(command, log, environment))
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health", process, log)
        yield url


@contextmanager
def postgres(log: Path) -> Iterator[str]:
    """The address of a new database; skipped or failed as :func:`mlflow_server`."""
    with _postgres(_binaries(), log) as database:
        yield database


class KillableServer:
    """A server on SQLite that is killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        """Keep the database, the files and the log in ``folder``."""
        self.store = folder / "store"
        self.store.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "log"
        self._command = _mlflow(self.port, f"sqlite:///{folder / 'mlflow.db'}", str(self.store))
        self._life = ExitStack()

    def start(self) -> None:
        """Start without waiting for an answer."""
        running = _process(self._command, self._log, {**os.environ, **NO_JOBS}, stop=signal.SIGKILL)
        self._process = self._life.enter_context(running)

    def wait(self) -> None:
        """Wait until it answers."""
        _wait_for(f"{self.url}/health", self._process, self._log)

    def kill(self) -> None:
        """Kill it, without a chance to say goodbye."""
        self._life.close()


class BreakableProxy(ThreadingHTTPServer):
    """A proxy of a server, which breaks on command.

    It drops a request without an answer while it is broken.
    """

    def __init__(self, port: int) -> None:
        """To the server on ``port`` of this machine."""
        super().__init__(("127.0.0.1", 0), _Request)
        self.target = port
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.broken = False
        self.breaks_at: str | None = None
        """Text in the path or body of the first request to drop."""
        self.loses: str | None = None
        """Text in the path of a request that is passed on once, without returning its answer."""
        self.dropped = 0

    def repair(self) -> None:
        """Pass everything on again."""
        self.broken, self.breaks_at, self.dropped = False, None, 0


@contextmanager
def proxy_of(server: KillableServer) -> Iterator[BreakableProxy]:
    """Run a proxy of a server."""
    with BreakableProxy(server.port) as proxy:
        Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        proxy.shutdown()


class _Request(BaseHTTPRequestHandler):
    server: BreakableProxy

    def _forward(self) -> None:
        proxy = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if proxy.breaks_at and (proxy.breaks_at in self.path or proxy.breaks_at.encode() in body):
            proxy.broken = True
        if proxy.broken:
            proxy.dropped += 1
            return
        onward = HTTPConnection("127.0.0.1", proxy.target)
        onward.request(self.command, self.path, body, dict(self.headers))
        answer = onward.getresponse()
        content = answer.read()
        if proxy.loses and proxy.loses in self.path:
            proxy.loses = None
            return
        self.send_response(answer.status)
        for name in ("Content-Type", "Content-Disposition"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        onward.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _mlflow(port: int, database: str, files: str) -> list[str]:
    """The command of a server."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", database, "--artifacts-destination", files]


@contextmanager
def _postgres(binaries: Path, log: Path) -> Iterator[str]:
    """The URI of a new database. PostgreSQL refuses to be root: then it is the user postgres."""
    owner = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if owner:
            shutil.chown(folder, owner)
        data, port = folder / "data", free_port()
        make = [binaries / "initdb", "--pgdata", data, "--username", "mlflow", "--auth", "trust"]
        subprocess.run(
            [*make, "--no-sync"], user=owner, cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        serve = [
            binaries / "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-p",
            str(port),
            "-c",
            "fsync=off",
        ]
        with _process(serve, log, os.environ, owner, folder, signal.SIGINT) as process:
            ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            deadline = time.monotonic() + STARTS_WITHIN_S
            while subprocess.run(ready, check=False).returncode:
                _check(process, deadline, log)
                time.sleep(0.1)
            yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@contextmanager
def _s3(log: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, log, os.environ) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/moto-api/", process, log)
        bucket_of(url).create_bucket(Bucket=BUCKET)
        yield url


def bucket_of(url: str) -> Any:
    """A client of the S3 server."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=Config(retries={"mode": "standard", "max_attempts": 12}),
    )


@contextmanager
def _process(
    command: list,
    log: Path,
    environment: Mapping[str, str],
    user: str | None = None,
    folder: Path | None = None,
    stop: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen]:
    """Run a command with its children, and stop them all."""
    with (
        log.open("a") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=environment,
            user=user,
            cwd=folder,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, stop)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            _check(process, deadline, log)
            time.sleep(0.1)


def _check(process: subprocess.Popen, deadline: float, log: Path) -> None:
    """Stop waiting for a server that has ended, or takes too long."""
    assert process.poll() is None, log.read_text()
    assert time.monotonic() < deadline, log.read_text()


def _binaries() -> Path:
    """The folder of the programs of PostgreSQL: on the PATH, else the newest of Debian."""
    if (program := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(program).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if installed:
        return installed[-1]
    missing = "PostgreSQL is not installed: apt-get install postgresql"
    if "STREETSEG_REQUIRE_POSTGRES" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)
