"""Bad uploads over a socket: refused in one line, and the service goes on as before."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from PIL import Image

from streetseg.config.params import Params
from tests.conftest import Trained
from tests.support.bad_uploads import GOOD, MULTIPART, BadUpload, bad_uploads, form
from tests.support.live_service import LiveService, live_service
from tests.support.unusual_images import UnusualImage, encode, unusual_images

UPLOADS = bad_uploads()
MAX_BYTES, MAX_PIXELS = 100_000, 20_000
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def live(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("bad_uploads")
    limits = {"max_megabytes": MAX_BYTES / 1e6, "max_megapixels": MAX_PIXELS / 1e6}
    with live_service(params, trained, folder, "asked", **limits) as up:
        yield up


@dataclass(frozen=True)
class Reply:
    """An answer off the wire."""

    status: int
    body: bytes


def post(live: LiveService, body: bytes, content_type: str, path: str = "/segment") -> Reply:
    """Send what no HTTP library would, and read the answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body)}\r\nContent-Type: {content_type}\r\n\r\n"
    return send(live, head.encode("latin-1") + body)


def send(live: LiveService, request: bytes) -> Reply:
    """Send bytes and read the answer to the end; status 0 if the connection was closed."""
    with socket.create_connection(("127.0.0.1", live.port), PATIENCE_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer waits
            connection.sendall(request)
        received = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(1 << 16):
                received += more
    head, _, body = received.partition(b"\r\n\r\n")
    return Reply(int(head.split()[1]) if head else 0, body)


def mask_of_good(live: LiveService) -> bytes:
    reply = post(live, form(GOOD["png"]), MULTIPART)
    assert reply.status == 200
    return reply.body


@pytest.fixture(scope="module")
def mask(live: LiveService) -> bytes:
    return mask_of_good(live)


def test_there_are_enough_uploads_and_their_names_are_unique() -> None:
    names = [upload.name for upload in UPLOADS]
    assert len(names) >= 200
    assert len(set(names)) == len(names)
    assert all(400 <= status < 500 or status == 200 for each in UPLOADS for status in each.allowed)


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: upload.name)
def test_a_bad_upload_is_a_client_error(live: LiveService, mask: bytes, upload: BadUpload) -> None:
    reply = post(live, upload.body, upload.content_type)
    assert reply.status in upload.allowed, reply.body[:300]
    if reply.status != 200:
        error = json.loads(reply.body)["error"]
        assert error.strip()
        assert error.isprintable(), "one line that a terminal shows and does not obey"


@pytest.mark.parametrize(("more", "status"), [(-1, 200), (0, 200), (1, 413)])
def test_the_bytes_of_a_body_are_limited(
    live: LiveService, mask: bytes, more: int, status: int
) -> None:
    around = len(form(GOOD["png"]))
    data = GOOD["png"] + bytes(MAX_BYTES + more - around)
    reply = post(live, form(data), MULTIPART)
    assert reply.status == status, reply.body
    if status == 413:
        assert json.loads(reply.body)["error"] == "at most 0.1 megabytes are taken"
    else:
        assert reply.body == mask


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("height", "status"), [(99, 200), (100, 200), (101, 413)])
def test_the_pixels_of_an_image_are_limited(
    live: LiveService, kind: str, height: int, status: int
) -> None:
    data = encode(Image.new("RGB", (MAX_PIXELS // 100, height)), kind)
    reply = post(live, form(data), MULTIPART)
    assert reply.status == status, reply.body
    if status == 413:
        said = json.loads(reply.body)["error"]
        assert said == ("the field 'image' is 200x101 = 0.0202 megapixels, at most 0.02 are taken")


@pytest.mark.parametrize("unusual", unusual_images(), ids=lambda unusual: unusual.name)
def test_an_unusual_image_has_a_mask_of_its_upright_size(
    live: LiveService, unusual: UnusualImage
) -> None:
    reply = post(live, form(unusual.data), MULTIPART)
    assert reply.status == 200, reply.body
    with Image.open(io.BytesIO(reply.body)) as mask:
        assert np.asarray(mask).shape == unusual.upright.shape[:2]


HEAD = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
KIND = f"Content-Type: {MULTIPART}\r\n".encode()
CHUNKED = HEAD + KIND + b"Transfer-Encoding: chunked\r\n\r\n"


BROKEN = {
    "length no hex": (CHUNKED + b"ZZ\r\njunk\r\n0\r\n\r\n", {0, 400}),
    "no form": (CHUNKED + b"4\r\njunk\r\n0\r\n\r\n", {400}),
    "too much": (CHUNKED + (b"2710\r\n" + b"a" * 10_000 + b"\r\n") * 11 + b"0\r\n\r\n", {413}),
    "length in words": (HEAD + KIND + b"Content-Length: many\r\n\r\n", {0, 400}),
    "no HTTP": (b"nonsense\r\n\r\n", {0, 400}),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", {0, 400}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_is_refused_too(live: LiveService, name: str) -> None:
    request_, allowed = BROKEN[name]
    assert send(live, request_).status in allowed


def test_afterwards_the_service_works_as_before(live: LiveService, mask: bytes) -> None:
    assert httpx.get(f"{live.url}/healthz").status_code == 200
    assert mask_of_good(live) == mask
