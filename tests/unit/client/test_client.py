"""The Python client with the real service, and with servers that misbehave."""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import streetseg
from streetseg import cli
from streetseg.cli.models import ask
from streetseg.client import AsyncClient, Client, ServiceError, retry
from streetseg.client.folder import Folder
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.resize import blend
from tests.conftest import Command, Trained
from tests.support.faulty_server import drop, drop_midway, faulty_server, say
from tests.support.live_service import LiveService, live_service

RGB = np.random.default_rng(5).integers(0, 255, (60, 90, 3), np.uint8)
TOKEN = "a-secret"
GOOD = say(200, {"name": "m"}, X_Model_Version="7")


@pytest.fixture(scope="module")
def live(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("live")
    with live_service(params, trained, folder, "asked", max_megabytes=1, max_megapixels=0.5) as up:
        yield up


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)


def test_a_mask_equals_the_models_prediction(live: LiveService, tmp_path: Path) -> None:
    model = streetseg.load("models:/asked@champion", live.recipe.registry)
    path = tmp_path / "frame.png"
    path.write_bytes(encode_png(RGB))
    with Client(live.url) as service:
        for image in (path, str(path), path.read_bytes(), RGB):
            answer = service.segment(image)
            np.testing.assert_array_equal(answer.value, model.predict(RGB))
            assert answer.model_version == "1"


def test_model_drift_and_describe_are_plain_data(live: LiveService) -> None:
    with Client(live.url) as service:
        assert service.model().value["name"] == "asked"
        before = service.drift().value["seen"]
        described = service.describe(RGB)
        assert service.drift().value["seen"] == before + 1
    assert (described.value["width"], described.value["height"]) == (90, 60)
    assert described.model_version == described.value["model"]["version"] == "1"


def test_an_overlay_is_the_image_blended_with_the_colours(live: LiveService) -> None:
    model = streetseg.load("models:/asked@champion", live.recipe.registry)
    with Client(live.url) as service:
        overlay = service.overlay(RGB).value
    np.testing.assert_array_equal(overlay, blend(RGB, model.labels.palette[model.predict(RGB)]))


def test_the_confidence_is_the_probability_of_the_category(live: LiveService) -> None:
    model = streetseg.load("models:/asked@champion", live.recipe.registry)
    height, width = model.size
    image = np.random.default_rng(6).integers(0, 255, (height, width, 3), np.uint8)
    with Client(live.url) as service:
        answer = service.confidence(image)
    assert answer.value.dtype == np.float32
    expected = model.probabilities(image).max(axis=0)
    np.testing.assert_allclose(answer.value, expected, atol=0.51 / 255)
    assert answer.value.std() > 0.01
    assert answer.model_version == "1"


def test_a_batch_answers_each_image_and_a_bad_one_has_its_error(live: LiveService) -> None:
    model = streetseg.load("models:/asked@champion", live.recipe.registry)
    with Client(live.url) as service:
        answer = service.segment_batch([RGB, b"text", RGB[:20]])
    first, bad, last = answer.value
    np.testing.assert_array_equal(first, model.predict(RGB))
    assert isinstance(bad, ServiceError)
    assert bad.reason == "is not an image"
    np.testing.assert_array_equal(last, model.predict(RGB[:20]))
    assert answer.model_version == "1"


def test_many_requests_can_run_at_once(live: LiveService) -> None:
    async def ask() -> list[Any]:
        async with AsyncClient(live.url) as service:
            return await asyncio.gather(*[service.segment(RGB) for _ in range(6)])

    first, *rest = asyncio.run(ask())
    assert all((answer.value == first.value).all() for answer in rest)


@pytest.mark.parametrize(
    ("image", "status", "message"),
    [
        (b"text", 400, "is not an image"),
        (encode_png(np.zeros((1000, 1000, 3), np.uint8)), 413, "1000x1000"),
        (bytes(3_000_000), 413, "1 megabytes"),
    ],
)
def test_a_refusal_carries_the_services_message(
    live: LiveService, image: bytes, status: int, message: str
) -> None:
    with Client(live.url) as service, pytest.raises(ServiceError, match=message) as refused:
        service.segment(image)
    assert refused.value.status == status
    assert str(refused.value).startswith(f"{live.url} answers {status}: ")


@pytest.fixture(scope="module")
def folder(live: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, two unusable ones, and files that are not images."""
    root = tmp_path_factory.mktemp("images")
    for number, name in enumerate(("a.png", "day/b.png", "day/c.PNG", "d.png", "day/e.png")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encode_png(np.roll(RGB, 10 * number, axis=0)))
    (root / "text.png").write_bytes(b"text")
    (root / "day" / "cut.png").write_bytes(encode_png(RGB)[:-40])
    (root / ".hidden.png").write_bytes(b"hidden")
    (root / "notes.txt").write_bytes(b"notes")
    return root


def test_a_folder_is_segmented_and_resumed(live: LiveService, folder: Path, tmp_path: Path) -> None:
    model = streetseg.load("models:/asked@champion", live.recipe.registry)
    with Client(live.url) as service:
        first = service.folder(folder, tmp_path / "masks")
        assert (first.made, first.there, first.model_versions) == (5, 0, ["1"])
        assert first.failed == {
            "day/cut.png": "the field 'image' is truncated",
            "text.png": "the field 'image' is not an image",
        }
        masks = sorted(path for path in (tmp_path / "masks").rglob("*") if path.is_file())
        assert len(masks) == 5, "and nothing unfinished"
        for path in masks:
            name = str(path.relative_to(tmp_path / "masks")).removesuffix("_mask.png")
            ids = model.predict(decode_image((folder / name).read_bytes()))
            assert path.read_bytes() == encode_palette_png(ids, model.labels.palette)
        masks[0].unlink()
        again = service.folder(folder, tmp_path / "masks", parallel=1)
    assert (again.made, again.there, len(again.failed)) == (1, 4, 2)


def test_a_folder_stops_when_the_service_cannot_go_on(folder: Path, tmp_path: Path) -> None:
    locked = say(401, {"error": "send a token"})
    with (
        faulty_server(locked) as server,
        Client(server.url) as service,
        pytest.raises(ServiceError, match="answers 401: send a token"),
    ):
        service.folder(folder, tmp_path / "masks", parallel=1)
    assert len(server.requests) < 7, "the rest was not sent"


def test_masks_do_not_go_among_the_images(folder: Path, tmp_path: Path) -> None:
    with Client() as service:
        for destination in (folder, folder / "masks", folder.parent):
            with pytest.raises(StreetsegError, match="name a destination outside"):
                service.folder(folder, destination)
        with pytest.raises(StreetsegError, match="holds no images"):
            service.folder(tmp_path / "nothing", tmp_path / "masks")


def test_a_mask_that_cannot_be_written_stops_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("a file")
    mask = encode_palette_png(RGB[..., 0] % 8, np.zeros((8, 3), np.uint8))
    with (
        faulty_server(say(200, mask)) as server,
        Client(server.url) as service,
        pytest.raises(StreetsegError, match=r"cannot write a\.png_mask\.png to .*/masks"),
    ):
        service.folder(folder, tmp_path / "masks", parallel=1)


def test_the_command_reads_its_token_from_the_environment(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mask = encode_palette_png(RGB[..., 0] % 8, np.zeros((8, 3), np.uint8))
    monkeypatch.setenv("STREETSEG_TOKEN", TOKEN)
    with faulty_server(say(400, {"error": "is odd"}), say(200, mask)) as server:
        call = ["streetseg", "ask", str(folder), str(tmp_path / "masks"), "--url", server.url]
        monkeypatch.setattr(sys, "argv", [*call, "--parallel", "1"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert not ended.value.code
    assert {request["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"6 masks in {tmp_path / 'masks'}", "no mask of a.png: is odd"]


def test_the_command_names_an_image_whose_name_is_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.fsdecode(b"\xff.png")
    result = Folder(tmp_path, 0, 0, {path: f"cannot read {path}"}, [])
    monkeypatch.setattr(Client, "folder", lambda *_: result)
    ask(tmp_path, tmp_path)
    assert r"no mask of \udcff.png: cannot read \udcff.png" in capsys.readouterr().out


def test_the_async_client_has_the_same_methods(live: LiveService) -> None:
    async def ask() -> None:
        async with AsyncClient(live.url) as service:
            assert (await service.overlay(RGB)).value.shape == RGB.shape
            assert (await service.confidence(RGB)).value.shape == RGB.shape[:2]
            assert len((await service.segment_batch([RGB])).value) == 1
            assert (await service.describe(RGB)).value["width"] == 90
            assert (await service.model()).value["name"] == "asked"
            assert (await service.drift()).value["seen"] > 0

    asyncio.run(ask())
    public = {name for name in vars(Client) if not name.startswith("_")} - {"folder"}
    assert public == {name for name in vars(AsyncClient) if not name.startswith("_")}


@pytest.mark.parametrize(
    "fault", [drop, drop_midway, say(503, Retry_After="0"), say(429), say(503, {"error": "busy"})]
)
def test_a_temporary_failure_is_retried(short_pauses: None, fault: Any) -> None:
    with faulty_server(fault, fault, GOOD) as server, Client(server.url) as service:
        answer = service.model()
    assert (answer.value, answer.model_version) == ({"name": "m"}, "7")
    assert len(server.requests) == 3


def test_the_async_client_retries_too(short_pauses: None) -> None:
    async def ask(url: str) -> str:
        async with AsyncClient(url) as service:
            return (await service.segment(RGB)).model_version

    mask = encode_palette_png(RGB[..., 0] % 8, np.zeros((8, 3), np.uint8))
    with faulty_server(drop, say(503), say(200, mask, X_Model_Version="7")) as server:
        assert asyncio.run(ask(server.url)) == "7"


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 500])
def test_a_permanent_failure_is_not_retried(status: int) -> None:
    fault = say(status, {"error": "no \x1b[31m\n good"})
    with (
        faulty_server(fault) as server,
        Client(server.url) as service,
        pytest.raises(ServiceError, match=r"no \[31m good") as refused,
    ):
        service.segment(RGB)
    assert refused.value.status == status
    assert len(server.requests) == 1


def test_retries_are_limited(short_pauses: None) -> None:
    for fault, status in ((say(503, {"error": "busy"}), 503), (drop, None)):
        with (
            faulty_server(fault) as server,
            Client(server.url, retries=2) as service,
            pytest.raises(ServiceError) as failed,
        ):
            service.model()
        assert (failed.value.status, len(server.requests)) == (status, 3)


def test_retry_after_sets_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    soon = formatdate(time.time() + 9, usegmt=True)
    script = say(503, Retry_After="7"), say(429, Retry_After=soon), say(503, Retry_After="x"), GOOD
    with faulty_server(*script) as server, Client(server.url) as service:
        service.model()
    assert pauses[0] == 7
    assert 5 < pauses[1] <= 9
    assert pauses[2] <= 2, "after nonsense its own pause, which has doubled twice"


@pytest.mark.parametrize("wait", ["31", "3600", "99999999999999999999"])
def test_no_pause_is_longer_than_the_call_may_take(wait: str) -> None:
    fault = say(503, {"error": "come back later"}, Retry_After=wait)
    with (
        faulty_server(fault) as server,
        Client(server.url) as service,
        pytest.raises(ServiceError, match="later"),
    ):
        service.model()
    assert len(server.requests) == 1


def test_a_silent_service_times_out(short_pauses: None) -> None:
    gone = threading.Event()
    with (
        faulty_server(lambda _: gone.wait(20) and None) as server,
        Client(server.url, timeout=0.3) as service,
    ):
        with pytest.raises(ServiceError, match=r"not answer within 0\.3 s: try a longer timeout"):
            service.model()
        gone.set()
    assert len(server.requests) == 1


def test_a_refused_connection_says_what_to_do(short_pauses: None) -> None:
    with faulty_server(GOOD) as server:
        url = server.url
    with Client(url) as service, pytest.raises(ServiceError, match="make serve") as failed:
        service.model()
    assert failed.value.status is None
    assert "\n" not in str(failed.value)


def test_a_token_goes_to_its_service_and_nowhere_else() -> None:
    with faulty_server(GOOD) as other:
        away = say(307, Location=f"{other.url}/model")
        with (
            faulty_server(GOOD, away) as server,
            Client(server.url, token=TOKEN) as service,
        ):
            service.model()
            with pytest.raises(ServiceError, match="redirects to") as refused:
                service.model()
            assert TOKEN not in repr(service) + str(refused.value)
    assert server.requests[0]["Authorization"] == f"Bearer {TOKEN}"
    assert other.requests == []


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"\xff"])
def test_another_kind_of_server_is_detected(body: bytes) -> None:
    with faulty_server(say(200, body)) as server, Client(server.url) as service:
        images = (service.segment, service.overlay, service.confidence, service.describe)
        for ask in (service.model, *(partial(each, RGB) for each in images)):
            with pytest.raises(ServiceError, match="is that a streetseg service"):
                ask()


def test_an_image_that_is_no_mask_is_detected() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    with (
        faulty_server(say(200, buffer.getvalue())) as server,
        Client(server.url) as service,
        pytest.raises(ServiceError, match="no proper answer to /segment"),
    ):
        service.segment(RGB)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:3000"}, "write it as http://HOST:PORT"),
        ({"url": "ftp://here"}, "is no URL of a service"),
        ({"url": "http://"}, "is no URL of a service"),
        ({"url": "http://me:secret@here"}, r"http://\*\*\*@here holds a password"),
        ({"token": ""}, "the token is empty"),
        ({"token": "two\nlines"}, "characters that no token has"),
    ],
)
def test_a_wrong_address_or_token_is_reported_at_once(options: dict, message: str) -> None:
    with pytest.raises(StreetsegError, match=message) as wrong:
        Client(**options)
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 90_000])
def test_a_timeout_that_is_no_time_is_refused(timeout: float) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(StreetsegError, match=r"^timeout=.*: give seconds above 0, up to 86400"):
            kind(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 0.5, float("nan"), float("inf")])
def test_retries_are_a_whole_number(retries: Any) -> None:
    with pytest.raises(StreetsegError, match=r"^retries=.*: give a whole number, 0 for none"):
        Client(retries=retries)
    Client(retries=0).close()


@pytest.mark.parametrize("parallel", [0, -1, 101, 2.5, float("nan"), float("inf")])
def test_the_requests_at_a_time_are_limited(parallel: Any, folder: Path, tmp_path: Path) -> None:
    with Client() as service, pytest.raises(StreetsegError, match=r"^parallel=.*from 1 to 100"):
        service.folder(folder, tmp_path / "out", parallel=parallel)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nowhere.png", "cannot read nowhere.png: No such file"),
        (np.zeros((4, 4), np.uint8), r"not uint8\[4, 4\]"),
        (np.zeros((4, 4, 3)), r"not float64\[4, 4, 3\]"),
    ],
)
def test_what_is_not_an_image_is_not_sent(image: Any, message: str) -> None:
    with Client() as service, pytest.raises(StreetsegError, match=message):
        service.segment(image)


def test_without_httpx_the_import_fails_and_the_command_says_what_to_install(
    streetseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "streetseg.client")
    with pytest.raises(ImportError, match=r"needs httpx: pip install '\.\[client\]'"):
        importlib.import_module("streetseg.client")
    failed = streetseg("ask", tmp_path, tmp_path / "masks")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: streetseg.client needs httpx")
