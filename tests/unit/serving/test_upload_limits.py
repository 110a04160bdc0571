"""The limits of an upload: each is set low, and tried below, at and above it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streetseg.config.params import Serve
from streetseg.serving import upload_guard
from streetseg.serving.access_log import AccessLogMiddleware
from streetseg.serving.upload_guard import UploadFields, UploadMiddleware

FIELDS = {"/overlay": UploadFields("image", ("opacity",)), "/batch": UploadFields("images")}
IMAGE = {"image": ("a.png", b"image")}


def post(settings: Serve, path: str, **request: object) -> httpx.Response:
    """The answer of an app that tells what it was given."""

    async def tell(request: Request) -> Response:
        upload = request.state.upload
        return JSONResponse({"images": [len(each) for each in upload.images], **upload.texts})

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(AccessLogMiddleware(guarded, frozenset(FIELDS)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(path, **request)  # type: ignore[arg-type]

    app = Starlette(routes=[Route(path, tell, methods=["POST"]) for path in FIELDS])
    guarded = UploadMiddleware(app, FIELDS, settings, ())
    return asyncio.run(ask())


def form_of(size: int) -> bytes:
    """A form with one image that has so many bytes in all."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    end = b"\r\n--x--\r\n"
    return head + bytes(size - len(head) - len(end)) + end


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 413)])
def test_the_bytes_of_a_body(size: int, status: int) -> None:
    answer = post(Serve(max_megabytes=0.001), "/overlay", content=form_of(size), headers=MULTIPART)
    assert answer.status_code == status
    if status == 413:
        assert answer.json() == {"error": "at most 0.001 megabytes are taken"}


@pytest.mark.parametrize(("sent", "read"), [(49, 49), (50, 50), (51, 51), (52, 51), (60, 51)])
def test_the_bytes_that_are_read_of_a_body_that_is_too_large(sent: int, read: int) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for start in range(sent):
            taken += 1
            yield form_of(100 * sent)[100 * start : 100 * (start + 1)]

    assert upload_guard.DRAIN_FACTOR == 5
    answer = post(Serve(max_megabytes=0.001), "/overlay", content=body(), headers=MULTIPART)
    assert answer.status_code == 413
    assert taken == read, "parts of 100 bytes, up to the one with which there are more than 5000"


@pytest.mark.parametrize(("count", "status"), [(2, 200), (3, 200), (4, 413)])
def test_the_images_of_a_batch(count: int, status: int) -> None:
    files = [("images", ("a.png", b"image"))] * count
    answer = post(Serve(max_images_per_request=3), "/batch", files=files)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"images": [5] * count}
    else:
        assert answer.json() == {"error": "at most 3 in the field 'images' are taken at once"}


@pytest.mark.parametrize(("count", "status"), [(1, 200), (2, 413)])
def test_the_images_of_other_routes(count: int, status: int) -> None:
    answer = post(Serve(), "/overlay", files=[("image", ("a.png", b"image"))] * count)
    assert answer.status_code == status


@pytest.mark.parametrize(("count", "status"), [(1, 200), (2, 200), (3, 400)])
def test_the_other_fields(monkeypatch: pytest.MonkeyPatch, count: int, status: int) -> None:
    monkeypatch.setattr(upload_guard, "MAX_FIELDS", 2)
    opacities = {"opacity": ["0.5"] * count}
    answer = post(Serve(), "/overlay", files=IMAGE, data=opacities)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"images": [5], "opacity": "0.5"}
    else:
        assert "Too many fields" in answer.json()["error"]


@pytest.mark.parametrize("letter", ["1", "\u00fc"])
@pytest.mark.parametrize(("length", "taken"), [(9, True), (10, True), (11, False)])
def test_the_length_of_a_text(
    monkeypatch: pytest.MonkeyPatch, letter: str, length: int, taken: bool
) -> None:
    monkeypatch.setattr(upload_guard, "MAX_TEXT_LENGTH", 10)
    answer = post(Serve(), "/overlay", files=IMAGE, data={"opacity": letter * length})
    if taken and letter.isascii():
        assert answer.json() == {"images": [5], "opacity": letter * length}
    else:
        assert answer.status_code == 400
        assert "the field 'opacity' cannot be read" in answer.json()["error"]


@pytest.mark.parametrize(("length", "kept"), [(63, True), (64, True), (65, False)])
def test_the_length_of_a_request_id(length: int, kept: bool) -> None:
    answer = post(Serve(), "/overlay", files=IMAGE, headers={"X-Request-Id": "r" * length})
    assert (answer.headers["X-Request-Id"] == "r" * length) is kept
