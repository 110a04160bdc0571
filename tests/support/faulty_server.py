"""An HTTP server that misbehaves by a script, to test its clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class FaultyServer:
    """What it will answer, and the requests that it got."""

    url: str = ""
    script: list[Fault] = field(default_factory=list)
    """An answer for each request in turn; the last one stays."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, with ``path``."""
    bodies: list[bytes] = field(default_factory=list)
    """The body of each request."""


def say(status: int, body: dict | bytes = b"", **headers: str) -> Fault:
    """Answer with this; an underscore in the name of a header stands for a hyphen."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


def drop(request: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    request.close_connection = True


def drop_midway(request: BaseHTTPRequestHandler) -> None:
    """Announce more than is sent."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"{")
    request.close_connection = True


@contextmanager
def faulty_server(*script: Fault) -> Iterator[FaultyServer]:
    """A running server that answers by the script."""
    state = FaultyServer(script=list(script))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                state.bodies.append(body)
                state.requests.append({**dict(self.headers), "path": self.path})
                fault = state.script.pop(0) if len(state.script) > 1 else state.script[0]
            fault(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
