"""Hostile uploads over a socket: refused in one line, and the service goes on as before."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from streetseg.config.params import Params
from tests.conftest import Trained
from tests.support.hostile_uploads import GOOD, MULTIPART, HostileUpload, form, hostile_uploads
from tests.support.live_service import LiveService, live_service
from tests.support.unusual_images import UnusualImage, unusual_images

UPLOADS = hostile_uploads()
PATIENCE_S = 60.0
GROWTH = 400e6
"""Bytes that the server may take above what it needs at rest."""


@pytest.fixture(scope="module")
def live(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("hostile")
    limits = {"max_megabytes": 2, "max_megapixels": 1}
    with live_service(params, trained, folder, "hardened", **limits) as up:
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
def test_a_hostile_upload_is_a_client_error(
    live: LiveService, mask: bytes, upload: HostileUpload
) -> None:
    reply = post(live, upload.body, upload.content_type)
    assert reply.status in upload.allowed, reply.body[:300]
    if reply.status != 200:
        error = json.loads(reply.body)["error"]
        assert error.strip()
        assert error.isprintable(), "one line that a terminal shows and does not obey"


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
    "length negative": (CHUNKED + b"-5\r\njunk\r\n0\r\n\r\n", {0, 400}),
    "no form": (CHUNKED + b"4\r\njunk\r\n0\r\n\r\n", {400}),
    "too much": (CHUNKED + (b"186A0\r\n" + b"a" * 100_000 + b"\r\n") * 40 + b"0\r\n\r\n", {413}),
    "minus one": (HEAD + KIND + b"Content-Length: -1\r\n\r\n", {0, 400}),
    "two lengths": (HEAD + KIND + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {0, 400}),
    "long header": (HEAD + KIND + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", {0, 400, 431}),
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


def test_the_memory_is_bounded(live: LiveService, mask: bytes) -> None:
    at_rest = resident(live.process)
    worst = [upload for upload in UPLOADS if "bomb" in upload.name or "0000" in upload.name]
    for upload in worst:
        post(live, upload.body, upload.content_type)
        assert resident(live.process) < at_rest + GROWTH, upload.name


def resident(process: psutil.Process) -> int:
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
