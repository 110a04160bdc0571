"""MLflow as a team runs it: its server, PostgreSQL behind it, and artifacts in S3."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

BUCKET = "models"
PATIENCE = 120
"""Seconds that a server may take to start."""
S3_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def mlflow_server(log: Path) -> Iterator[str]:
    """The address of a running server; the test is skipped where PostgreSQL is not installed.

    With ``STREETSEG_REQUIRE_POSTGRES`` in the environment it fails instead.
    """
    with ExitStack() as running:
        database = running.enter_context(_postgres(_binaries(), log))
        s3 = running.enter_context(_s3(log))
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", database, "--artifacts-destination", f"s3://{BUCKET}"]
        environment = {**os.environ, **S3_CREDENTIALS, "MLFLOW_S3_ENDPOINT_URL": s3}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        process = running.enter_context(_process(command, log, environment))
        _wait_for(f"{url}/health", process, log)
        yield url


@contextmanager
def _postgres(binaries: Path, log: Path) -> Iterator[str]:
    """The URI of a new database. PostgreSQL refuses to be root: then it is the user postgres."""
    owner = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if owner:
            shutil.chown(folder, owner)
        data, port = folder / "data", _free_port()
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
            deadline = time.monotonic() + PATIENCE
            while subprocess.run(ready, check=False).returncode:
                _check(process, deadline, log)
                time.sleep(0.1)
            yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@contextmanager
def _s3(log: Path) -> Iterator[str]:
    port = _free_port()
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
    deadline = time.monotonic() + PATIENCE
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
    """Where Debian keeps the programs of the newest PostgreSQL, or the path leads to them."""
    if (found := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if installed:
        return installed[-1]
    missing = "PostgreSQL is not installed: apt-get install postgresql"
    if "STREETSEG_REQUIRE_POSTGRES" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
