"""Webhooks of labelling tools, posted over HTTP."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.conftest import Command

NAME, VALUE = "STREETSEG_WEBHOOK_SECRET", "0123456789abcdef-secret"
BODY = b'{"event": "update:job", "note": "$(touch reached); `touch reached`"}'
BEARER = {"Authorization": f"Bearer {VALUE}"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A receiver whose command adds a line to ``runs.txt``."""
    script = tmp_path / "next.py"
    script.write_text(
        f"import os, sys\nprint(sys.argv[1:], '{NAME}' in os.environ, file=open('runs.txt', 'a'))\n"
    )
    command = ["webhook", "--port", "0", "--", sys.executable, str(script), "a b", "$HOME"]
    receiver = subprocess.Popen(
        [sys.executable, "-m", "streetseg", *command],
        cwd=tmp_path,
        env=os.environ | {NAME: VALUE, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert receiver.stdout
        line = receiver.stdout.readline()
        found = re.match(r"webhooks to (http://127\.0\.0\.1:\d+) run: ", line)
        assert found, line
        yield found[1]
    finally:
        receiver.terminate()
        receiver.wait()


def runs(folder: Path, wanted: int) -> list[str]:
    """The runs of the command, once there are as many as wanted."""
    path, lines = folder / "runs.txt", []
    for _ in range(200):
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= wanted:
            break
        time.sleep(0.05)
    return lines


def test_a_webhook_of_either_tool_runs_the_fixed_command(url: str, tmp_path: Path) -> None:
    assert httpx.post(url, content=BODY, headers=BEARER).status_code == 202
    assert runs(tmp_path, 1) == ["['a b', '$HOME'] False"], "as given, and without the secret"
    signature = hmac.new(VALUE.encode(), BODY, hashlib.sha256).hexdigest()
    signed = httpx.post(url, content=BODY, headers={"X-Signature-256": f"sha256={signature}"})
    assert signed.status_code == 202
    assert len(runs(tmp_path, 2)) == 2
    assert not (tmp_path / "reached").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": VALUE},
        {"X-Signature-256": f"sha256={'0' * 64}"},
        {"X-Signature-256": VALUE},
    ],
)
def test_without_the_secret_nothing_runs(url: str, tmp_path: Path, headers: dict) -> None:
    answer = httpx.post(url, content=BODY, headers=headers)
    assert answer.status_code == 401
    assert NAME in answer.text
    assert httpx.get(url, headers=BEARER).status_code == 501
    assert not (tmp_path / "runs.txt").exists()


def test_a_long_webhook_is_not_read(url: str, tmp_path: Path) -> None:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/", headers=BEARER | {"Content-Length": str(2**20 + 1)})
    assert connection.getresponse().status == 413
    assert not (tmp_path / "runs.txt").exists()


@pytest.mark.parametrize(
    ("secret", "command", "error"),
    [
        ("", "true", "has 0 characters, fewer than 16"),
        ("short", "true", "has 5 characters, fewer than 16"),
        (VALUE, "no-such-command", "'no-such-command' is no command"),
    ],
)
def test_a_receiver_that_could_not_work_does_not_start(
    streetseg: Command, monkeypatch: pytest.MonkeyPatch, secret: str, command: str, error: str
) -> None:
    monkeypatch.setenv(NAME, secret)
    done = streetseg("webhook", "--port", "0", "--", command)
    assert done.returncode == 1
    assert error in done.stderr
