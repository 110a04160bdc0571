"""Request ids, the access log, metrics, and safe headers for browsers."""

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
UNLOGGED = ("/healthz", "/livez", "/readyz", "/metrics")
"""Paths that machines poll all the time."""

SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Set on every response that does not set its own (OWASP Secure Headers Project)."""

access_log = logging.getLogger("streetseg.access")


class AccessLogMiddleware:
    """Gives each request an id, and reports it to the log, Prometheus and OpenTelemetry.

    Error responses of any framework become ``{"error": ...}``. An exception becomes a 500 whose id
    leads to the traceback in the log.
    """

    def __init__(
        self, app: ASGIApp, paths: frozenset[str], model_version: Callable[[], str] = str
    ) -> None:
        """Count and trace ``paths`` by name, all others as ``other``.

        ``model_version`` gives the version for responses that do not name one.
        """
        self._app = app
        self._paths = paths
        self._model_version = model_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its response back."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        headers = Headers(scope=scope)
        response = ResponseWrapper(headers.get(REQUEST_ID, ""), self._model_version, send)
        route = scope["path"] if scope["path"] in self._paths else "other"
        attributes = {"url.path": scope["path"]}
        with span(f"{scope['method']} {route}", headers, attributes) as trace_id:
            try:
                await self._app(scope, receive, response.send)
            except Exception:
                logger = logging.getLogger("streetseg.serving")
                logger.exception("request %s failed", response.request_id)
                if not response.status:
                    await response.send_internal_error()
                elif not response.is_complete:  # Starlette raises again what it has answered
                    raise
            finally:
                self._log(scope, route, response, time.perf_counter() - started, trace_id)

    def _log(
        self, scope: Scope, route: str, response: ResponseWrapper, seconds: float, trace_id: str
    ) -> None:
        path, status = scope["path"], response.status or 499
        if path in UNLOGGED:
            return
        metrics().requests.labels(route, str(status)).observe(seconds)
        if status >= 400:
            metrics().errors.labels(str(status)).inc()
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": response.request_id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            "model_version": response.model_version,
            "error": response.error,
            "trace_id": trace_id,
        }
        access_log.info(json.dumps({key: value for key, value in entry.items() if value != ""}))


class ResponseWrapper:
    """Passes a response on: adds headers, and turns any error body into ``{"error": ...}``.

    Attributes:
        status: 0 until the response has started.
        model_version: the version that the response names; empty if none.
        error: the message of an error response; empty for others.
        is_complete: whether the response has come to its end.
    """

    def __init__(self, request_id: str, current_version: Callable[[], str], send: Send) -> None:
        """Use the client's ``request_id`` if it is usable, else a new one."""
        is_usable = re.fullmatch(r"[\w.-]{1,64}", request_id, re.ASCII)
        self.request_id = request_id if is_usable else uuid.uuid4().hex
        self.status, self.model_version, self.error = 0, "", ""
        self.is_complete = False
        self._current_version = current_version
        self._send = send
        self._error_start: Message | None = None
        self._error_body = b""

    async def send(self, message: Message) -> None:
        """Send on; an error is held back until its body is complete."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.is_complete = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.request_id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
            if version := headers.get(MODEL_VERSION) or self._current_version():
                headers[MODEL_VERSION] = self.model_version = version
            if self.status >= 400:
                self._error_start = message
                return
        elif self._error_start is not None:
            self._error_body += message.get("body", b"")
            if message.get("more_body"):
                return
            return await self._send_error(self._error_start)
        await self._send(message)

    async def send_internal_error(self) -> None:
        """Answer with a 500."""
        await self.send({"type": "http.response.start", "status": 500, "headers": []})
        await self.send({"type": "http.response.body", "body": b""})

    async def _send_error(self, start: Message) -> None:
        self._error_start = None
        self.error = self._error_message()
        body = json.dumps({"error": self.error}).encode()
        headers = MutableHeaders(scope=start)
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _error_message(self) -> str:
        if self.status == 500:
            return f"something is wrong in the service: its log has more under {self.request_id}"
        try:
            return str(json.loads(self._error_body)["error"])
        except (ValueError, LookupError, TypeError):
            return self._error_body.decode(errors="replace").strip() or "the request failed"


def set_up_logging() -> None:
    """Log to standard error: one line of JSON per request, and the service's own messages."""
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
