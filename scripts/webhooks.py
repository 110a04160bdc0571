"""A receiver of the webhooks that runs on Kubeflow send."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from streetseg.core.errors import StreetsegError

SECRET = "streetseg-walk-webhook"
WAIT_S = 300.0
"""A webhook is posted within this time."""


class Hooks:
    """A receiver of webhooks."""

    def __init__(self, url: str) -> None:
        """Listen on the port of a URL, at loopback or else at every address of this machine."""
        self.posts: list[dict[str, Any]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with suppress(ValueError):
                    posts.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname in ("127.0.0.1", "localhost") else ""
        server = ThreadingHTTPServer((host, parts.port or 80), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def of(self, run_id: str) -> dict[str, Any]:
        """The last post on a run, which is waited for; empty if none comes."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            for post in reversed(self.posts):
                if post.get("run_id") == run_id:
                    return post
            time.sleep(1)
        return {}


def make_secret(namespace: str, url: str) -> None:
    """Put the URL of the webhook into the namespace of the runs.

    Raises:
        StreetsegError: kubectl is not there, or refuses.
    """
    kubectl = ["kubectl", *(("-n", namespace) if namespace else ())]
    delete = [*kubectl, "delete", "secret", SECRET, "--ignore-not-found"]
    create = [*kubectl, "create", "secret", "generic", SECRET, f"--from-literal=url={url}"]
    try:
        for command in (delete, create):
            subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise StreetsegError("--webhook needs kubectl: install it, or leave it out") from None
    except subprocess.CalledProcessError as error:
        raise StreetsegError(f"kubectl: {error.stderr.strip()}") from None
