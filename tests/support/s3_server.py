"""An S3 server for tests, which the environment leads to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import s3fs
from botocore.config import Config

from scripts.servers import free_port

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server(bucket: str) -> Iterator[Any]:
    """A client of a running server with an empty bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with (
        subprocess.Popen(command, stdout=quiet, stderr=quiet) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        url = f"http://127.0.0.1:{port}"
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            environment.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of a server before this one
        patient = Config(retries={"mode": "standard", "max_attempts": 12})
        try:
            client = boto3.client("s3", endpoint_url=url, config=patient)
            client.create_bucket(Bucket=bucket)
            yield client
        finally:
            server.terminate()
