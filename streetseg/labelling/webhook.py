"""Running a fixed command when a labelling tool posts a webhook."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import which

from streetseg.core.errors import StreetsegError

SECRET = "STREETSEG_WEBHOOK_SECRET"
MIN_SECRET = 16
"""Characters."""
MAX_BODY = 2**20
"""Bytes."""
TIMEOUT_S = 10.0
"""For a request to arrive."""


class WebhookServer(ThreadingHTTPServer):
    """A receiver of webhooks that starts a command, one run at a time.

    A webhook proves itself by the secret: ``Authorization: Bearer SECRET`` (Label Studio sends
    headers that one sets) or ``X-Signature-256: sha256=HEX``, the HMAC-SHA256 of its body (CVAT).
    Nothing else of it is looked at, and nothing of it reaches the command. Webhooks that arrive
    during a run cause one more run.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], secret: str, command: Sequence[str]) -> None:
        """Listen at an address; port 0 takes a free one.

        Raises:
            StreetsegError: the address cannot be used, the secret is short, or there is no such
                command.
        """
        if len(secret) < MIN_SECRET:
            raise StreetsegError(
                f"{SECRET} has {len(secret)} characters, fewer than {MIN_SECRET}: put what "
                "'openssl rand -hex 32' prints there, and into the labelling tool"
            )
        if not command or which(command[0]) is None:
            given = f"'{command[0]}' is no command" if command else "no command"
            raise StreetsegError(f"{given}: write the one to run after --, such as -- ./next.sh")
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as error:
            host, port = address
            raise StreetsegError(f"cannot listen at {host}:{port}: {error}") from None
        self.secret, self.command = secret, list(command)
        self.called = threading.Event()

    def run_when_called(self) -> None:
        """Serve for ever: run the command after each webhook, and tell how it ended."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        environment = {name: value for name, value in os.environ.items() if name != SECRET}
        while self.called.wait():
            self.called.clear()
            status = subprocess.run(self.command, env=environment, check=False).returncode
            print(f"{self.command[0]} ended with status {status}", file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    server: WebhookServer
    timeout = TIMEOUT_S

    def do_POST(self) -> None:
        """Take a webhook: 202 if the command will run."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self._answer(413, f"a webhook has a Content-Length of at most {MAX_BODY}")
            return
        if not is_genuine(self.rfile.read(int(length)), self.headers, self.server.secret):
            self._answer(401, f"the webhook does not carry the secret in {SECRET}")
            return
        self.server.called.set()
        self._answer(202, "the command will run")

    def _answer(self, status: int, message: str) -> None:
        body = f"{message}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """One line on standard error, as ``127.0.0.1 "POST / HTTP/1.1" 202 -``."""
        print(self.address_string(), ascii(format % arguments), file=sys.stderr)


def is_genuine(body: bytes, headers: Message, secret: str) -> bool:
    """Whether a webhook carries the secret, or is signed with it."""
    signature = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    proofs = {"Authorization": f"Bearer {secret}", "X-Signature-256": signature}
    return any(
        hmac.compare_digest(headers.get(name, "").encode(), proof.encode())
        for name, proof in proofs.items()
    )
