"""What is refused before an upload reaches its endpoint, and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streetseg.config.params import Serve
from streetseg.serving.access_log import AccessLogMiddleware
from streetseg.serving.tracing import set_up_tracing, span
from streetseg.serving.upload_guard import UploadFields, UploadMiddleware

FILES = {"image": ("a.png", b"image")}


def guarded(settings: Serve, tokens: tuple[str, ...] = ()) -> httpx.AsyncClient:
    """A client whose uploads, which ``client.waiting`` counts, wait for ``client.go``."""

    async def segment(request: Request) -> Response:
        (image,) = request.state.upload.images
        client.waiting += 1  # type: ignore[attr-defined]
        await go.wait()
        return JSONResponse({"bytes": len(image)})

    async def fail(_: Request) -> Response:
        raise RuntimeError("secret detail")

    go = asyncio.Event()
    routes = [
        Route("/segment", segment, methods=["POST"]),
        Route("/fail", fail),
        Route("/", lambda _: JSONResponse({})),
    ]
    app = UploadMiddleware(
        Starlette(routes=routes), {"/segment": UploadFields("image")}, settings, tokens
    )
    front = AccessLogMiddleware(app, frozenset(["/segment"]))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(front, raise_app_exceptions=False), base_url="http://x"
    )
    client.go, client.waiting = go, 0  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize(("count", "refused"), [(1, 0), (2, 0), (3, 1), (5, 3)])
def test_uploads_over_the_limit_get_503_and_may_retry(count: int, refused: int) -> None:
    async def crowd() -> list[httpx.Response]:
        async with guarded(Serve(max_concurrent_uploads=2)) as client:
            ask = [client.post("/segment", files=FILES) for _ in range(count)]
            posts = [asyncio.create_task(each) for each in ask]
            while sum(task.done() for task in posts) + client.waiting < count:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            client.go.set()  # type: ignore[attr-defined]
            answers = await asyncio.gather(*posts)
            return [*answers, await client.post("/segment", files=FILES)]

    *answers, later = asyncio.run(crowd())
    assert (
        sorted(answer.status_code for answer in answers)
        == [200] * (count - refused) + [503] * refused
    )
    for answer in answers:
        assert answer.headers.get("Retry-After") == ("1" if answer.status_code == 503 else None)
    assert later.status_code == 200


def test_an_upload_that_does_not_arrive_times_out() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.sleep(60)

    async def slow() -> httpx.Response:
        async with guarded(Serve(timeout=0.2)) as client:
            return await client.post(
                "/segment",
                content=trickle(),
                headers={"Content-Type": "multipart/form-data; boundary=x"},
            )

    answer = asyncio.run(slow())
    assert answer.status_code == 408
    assert "0.2 seconds" in answer.json()["error"]


def test_with_tokens_a_request_needs_one() -> None:
    async def ask(path: str, token: str | None) -> httpx.Response:
        async with guarded(Serve(), ("right",)) as client:
            client.go.set()  # type: ignore[attr-defined]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            if path == "/":
                return await client.get(path, headers=headers)
            return await client.post(path, files=FILES, headers=headers)

    assert asyncio.run(ask("/segment", "right")).status_code == 200
    for token in (None, "wrong"):
        refused = asyncio.run(ask("/segment", token))
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert "token" in refused.json()["error"]
    assert asyncio.run(ask("/", None)).status_code == 200, "the page asks for the token"


def test_an_exception_is_a_500_with_an_id_and_no_detail(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> httpx.Response:
        async with guarded(Serve()) as client:
            return await client.get("/fail", headers={"X-Request-Id": "r-1"})

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert "r-1" in answer.json()["error"]
    assert "secret" not in answer.text
    assert "request r-1 failed" in caplog.text, "the log has the traceback under that id"
    assert "secret" in caplog.text


def test_a_span_is_named_after_the_route_not_after_any_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = []

    @contextmanager
    def recorded(name: str, _: object, attributes: object) -> Iterator[str]:
        spans.append((name, attributes))
        yield ""

    async def ask() -> None:
        async with guarded(Serve()) as client:
            for path in ("/segment", "/wp-login.php"):
                await client.get(path)

    monkeypatch.setattr("streetseg.serving.access_log.span", recorded)
    asyncio.run(ask())
    assert spans == [
        ("GET /segment", {"url.path": "/segment"}),
        ("GET other", {"url.path": "/wp-login.php"}),
    ]


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest], Event]]:
    """A server that receives spans by OTLP over HTTP."""
    received: list[ExportTraceServiceRequest] = []
    come = Event()

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()
            come.set()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collect) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received, come
        server.shutdown()


def test_spans_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with span("nowhere", {}) as recorded:
        assert recorded == ""
    assert set_up_tracing({}) is False
    with collector() as (url, received, come):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        assert set_up_tracing() is True
        with span("POST /segment", {"traceparent": parent}) as recorded, span("decode"):
            assert recorded == "0af7651916cd43dd8448eb211c80319c"
        trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]
        assert come.wait(30)
    spans = received[0].resource_spans[0].scope_spans[0].spans
    inner, outer = sorted(spans, key=lambda each: each.name)[::-1]
    assert [outer.name, inner.name] == ["POST /segment", "decode"]
    assert inner.parent_span_id == outer.span_id
    assert outer.trace_id.hex() == recorded
