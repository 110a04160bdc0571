"""What every request meets first: its id, the log, the metrics, and headers that browsers obey."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streetseg.serving.metrics import metrics
from streetseg.serving.tracing import span

REQUEST_ID = "X-Request-Id"
MODEL_VERSION = "X-Model-Version"
QUIET = ("/healthz", "/livez", "/readyz", "/metrics")
"""Asked all the time, by machines: not logged."""

SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of each answer that does not set its own (OWASP Secure Headers Project)."""

access = logging.getLogger("streetseg.access")


class AccessLogMiddleware:
    """Gives each request an id, and tells the log, Prometheus and OpenTelemetry how it went.

    Errors that a framework words in plain text become ``{"error": ...}``; an exception becomes a
    500 whose id leads to the traceback in the log.
    """

    def __init__(
        self, app: ASGIApp, routes: frozenset[str], version: Callable[[], str] = str
    ) -> None:
        """Stand before an app.

        Args:
            app: what is behind.
            routes: its paths; others are counted, and traced, as ``other``.
            version: tells which model answers, for answers that do not say so.
        """
        self._app = app
        self._routes = routes
        self._version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        headers = Headers(scope=scope)
        told = _Told(headers.get(REQUEST_ID, ""), self._version, send)
        route = scope["path"] if scope["path"] in self._routes else "other"
        asked = {"url.path": scope["path"]}
        with span(f"{scope['method']} {route}", headers, asked) as trace:
            try:
                await self._app(scope, receive, told.send)
            except Exception:
                if told.status:
                    raise
                logging.getLogger("streetseg.serving").exception("request %s failed", told.id)
                await told.fail()
            finally:
                self._log(scope, route, told, time.perf_counter() - began, trace)

    def _log(self, scope: Scope, route: str, told: _Told, seconds: float, trace: str) -> None:
        path, status = scope["path"], told.status or 499
        if path in QUIET:
            return
        metrics().requests.labels(route, str(status)).observe(seconds)
        if status >= 400:
            metrics().errors.labels(str(status)).inc()
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": told.id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            "model_version": told.version,
            "error": told.error,
            "trace_id": trace,
        }
        access.info(json.dumps({key: value for key, value in entry.items() if value != ""}))


class _Told:
    """An answer on its way back: what it says, made safe."""

    def __init__(self, request_id: str, version: Callable[[], str], send: Send) -> None:
        usable = re.fullmatch(r"[\w.-]{1,64}", request_id, re.ASCII)
        self.id = request_id if usable else uuid.uuid4().hex
        self.status, self.version, self.error = 0, "", ""
        self._model = version
        self._send = send
        self._held: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Send on, with the headers; an error waits for its words."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
            if version := headers.get(MODEL_VERSION) or self._model():
                headers[MODEL_VERSION] = self.version = version
            if self.status >= 400:
                self._held = message
                return
        elif self._held is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            return await self._send_error()
        await self._send(message)

    async def fail(self) -> None:
        """Answer with a 500."""
        await self.send({"type": "http.response.start", "status": 500, "headers": []})
        await self.send({"type": "http.response.body", "body": b""})

    async def _send_error(self) -> None:
        start, self._held = self._held, None
        assert start is not None
        self.error = self._words()
        self._body = json.dumps({"error": self.error}).encode()
        headers = MutableHeaders(scope=start)
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(self._body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body})

    def _words(self) -> str:
        """What to say of an error, from what was said."""
        if self.status == 500:
            return f"something is wrong in the service: its log has more under {self.id}"
        try:
            told = json.loads(self._body)
            if details := told.get("detail"):  # what pydantic said to BentoML
                return "; ".join(f"the field '{each['loc'][0]}': {each['msg']}" for each in details)
            return str(told["error"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return self._body.decode(errors="replace").strip() or "the request failed"


def log_lines() -> None:
    """Write what the service tells to standard error: requests as JSON, one a line."""
    for name, layout in (
        ("streetseg.access", "%(message)s"),
        ("streetseg.serving", "%(asctime)s %(levelname)s %(message)s"),
    ):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(layout))
            logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
