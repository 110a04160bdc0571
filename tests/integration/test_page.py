"""The page of the service: a real browser in front of the real service."""

from __future__ import annotations

import importlib
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

import streetseg
from streetseg.config.params import Params
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_palette_png
from streetseg.images.resize import blend, place
from streetseg.inference.segmenter import Segmenter
from streetseg.serving.page import PAGE, PAGE_POLICY
from streetseg.synth import render_scene
from tests.conftest import Trained
from tests.support.live_service import promoted

pytestmark = pytest.mark.slow

NAME, TOKEN = "shown", "a token of sixteen"
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
SAMPLES = sorted((PAGE / "samples").glob("*.jpg"))
PIXELS = """canvas => {
    const {width, height} = canvas;
    return [height, width, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]];
}"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class TokenProxy:
    """The service behind a proxy that requires a token."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", []))
        asks = scope.get("path") in ("/model", "/segment")
        if asks and headers.get(b"authorization") != f"Bearer {TOKEN}".encode():
            refusal = JSONResponse({"error": "a token is needed"}, 401)
            return await refusal(scope, receive, send)
        await self.app(scope, receive, send)


@contextmanager
def listening(app: ASGIApp, lifespan: Literal["on", "off"] = "on") -> Iterator[str]:
    """Serve an application over HTTP on a free port; with ``lifespan``, start and end it too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan=lifespan))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server does not start"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def app(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ASGIApp]:
    """The service with a champion."""
    folder = tmp_path_factory.mktemp("page")
    promoted(params, trained, folder, NAME, max_megabytes=1, max_megapixels=0.6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREETSEG_PARAMS", str(folder / "params.yaml"))
        sys.modules.pop("service", None)
        yield importlib.import_module("service").StreetSegmenter.to_asgi()
    sys.modules.pop("service", None)


@pytest.fixture(scope="module")
def url(app: ASGIApp) -> Iterator[str]:
    with listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def model(app: ASGIApp, params: Params) -> Segmenter:
    """What the service answers with, in Python."""
    return streetseg.load(f"models:/{NAME}@champion", params.registry)


@pytest.fixture(scope="module")
def frame(cityscapes: Path) -> Path:
    """An image of a street."""
    return min((cityscapes / "leftImg8bit" / "val").rglob("*.png"))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=sandbox)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page; it must contact its own server only, and report no errors."""
    visited: list[tuple[Any, str, list[str], list[str]]] = []

    def visit(url: str, **how: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        page, requests, errors = context.new_page(), list[str](), list[str]()
        visited.append((context, url, requests, errors))
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Policy" in line.text else None)
        page.goto(url)
        return page

    yield visit
    for context, url, requests, errors in visited:
        context.close()
        assert [each for each in requests if not each.startswith((url, f"blob:{url}"))] == []
        assert errors == []


@pytest.fixture
def page(visit: Callable[..., Page], url: str) -> Page:
    return visit(url)


def upload(page: Page, file: Any) -> None:
    page.set_input_files("#file", file)


def wait_for_answer(page: Page, name: str) -> None:
    expect(page.locator("#status")).to_contain_text(f"Segmented {name}:")


def legend(page: Page) -> dict[str, float]:
    """The fraction of each class in percent, in the order shown."""
    rows = page.locator("#legend tr").all()
    cells = [(row.locator("th").inner_text(), row.locator("td").inner_text()) for row in rows]
    return {name: float(share.removesuffix(" %")) for name, share in cells}


def pixels(page: Page) -> np.ndarray:
    """What the canvas shows: uint8[H, W, 3]."""
    height, width, values = page.locator("#canvas").evaluate(PIXELS)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def slide(page: Page, percent: int) -> None:
    page.locator("#opacity").fill(str(percent))


def test_an_image_is_segmented_and_its_classes_are_listed(
    page: Page, url: str, frame: Path, model: Segmenter
) -> None:
    upload(page, frame)
    wait_for_answer(page, frame.name)
    with frame.open("rb") as file:
        answer = httpx.post(f"{url}/describe", files={"image": file})
    shares = legend(page)
    for entry in answer.json()["classes"]:
        assert shares[entry["name"]] == pytest.approx(100 * entry["share"], abs=0.051)
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert list(shares) != model.labels.names
    expect(page.locator("#version")).to_have_text(answer.headers["X-Model-Version"])
    expect(page.locator("#model")).to_have_text(NAME)
    expect(page.locator("#size")).to_have_text(f"256 {TIMES} 128")
    answered, total = (
        int(page.locator(f"#{name}").inner_text().removesuffix(" ms"))
        for name in ("answered", "total")
    )
    assert 0 < answered <= total


def test_the_slider_goes_from_the_image_to_the_mask(
    page: Page, frame: Path, model: Segmenter
) -> None:
    rgb = decode_image(frame.read_bytes())
    colors = model.labels.palette[model.predict(rgb)]
    upload(page, frame)
    wait_for_answer(page, frame.name)
    slide(page, 0)
    np.testing.assert_array_equal(pixels(page), rgb)
    slide(page, 100)
    np.testing.assert_array_equal(pixels(page), colors)
    slide(page, 40)
    np.testing.assert_allclose(pixels(page).astype(int), blend(rgb, colors, 0.4), atol=3)
    expect(page.locator("#percent")).to_have_text("40 %")


def test_the_class_under_the_pointer_is_named(page: Page, frame: Path, model: Segmenter) -> None:
    ids = model.predict(decode_image(frame.read_bytes()))
    upload(page, frame)
    wait_for_answer(page, frame.name)
    canvas, probe = page.locator("#canvas"), page.locator("#probe")
    box = canvas.bounding_box()
    assert box
    names = set()
    for row, column in [(0, 9), (20, 128), (64, 30), (100, 128), (127, 246)]:
        x, y = (column + 0.5) / 256 * box["width"], (row + 0.5) / 128 * box["height"]
        canvas.hover(position={"x": x, "y": y})
        expect(probe).to_have_text(model.labels.names[ids[row, column]])
        expect(page.locator("#legend .here th")).to_have_text(probe.inner_text())
        names.add(probe.inner_text())
    assert len(names) > 1
    page.mouse.move(1, 1)
    expect(probe).to_be_hidden()


def test_pixels_that_a_model_of_crops_does_not_see_are_named_so(
    page: Page, frame: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "placement", lambda self, frame: place(frame, (64, 96), "crop"))
    upload(page, frame)
    wait_for_answer(page, frame.name)
    assert sum(legend(page).values()) == pytest.approx(75, abs=1)
    canvas, probe = page.locator("#canvas"), page.locator("#probe")
    box = canvas.bounding_box()
    assert box
    canvas.hover(position={"x": box["width"] / 16, "y": box["height"] / 2})
    expect(probe).to_have_text("not seen by the model")


def test_everything_works_by_keyboard(page: Page, frame: Path) -> None:
    page.on("filechooser", lambda chooser: chooser.set_files(frame))
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Enter")
    wait_for_answer(page, frame.name)
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#canvas")).to_be_focused()
    expect(page.locator("#crosshair")).to_be_visible()
    start = page.locator("#crosshair").bounding_box()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    moved = page.locator("#crosshair").bounding_box()
    assert start
    assert moved
    assert moved["x"] > start["x"]
    assert moved["y"] > start["y"]
    expect(page.locator("#probe")).to_be_visible()
    page.keyboard.press("Shift++")
    expect(page.locator("#zoom")).to_have_text("150 %")
    page.keyboard.press("0")
    expect(page.locator("#zoom")).to_have_text("100 %")
    tools = ("opacity", "confidence", "zoom-out", "zoom-in", "save-mask", "save-overlay")
    for name in ("file", *tools):
        page.keyboard.press("Tab")
        expect(page.locator(f"#{name}")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for_answer(page, SAMPLES[0].name)


def test_a_category_is_switched_off_and_on(page: Page, frame: Path, model: Segmenter) -> None:
    rgb = decode_image(frame.read_bytes())
    ids = model.predict(rgb)
    colors = model.labels.palette[ids]
    upload(page, frame)
    wait_for_answer(page, frame.name)
    slide(page, 100)
    first = page.locator("#legend tr").first
    number = int(first.get_attribute("data-id") or -1)
    box = first.get_by_role("checkbox", name=model.labels.names[number], exact=True)
    box.focus()
    page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    shown = pixels(page)
    expected = np.where((ids == number)[..., None], rgb, colors)
    np.testing.assert_array_equal(shown, expected)
    assert (shown != colors).any()
    with page.expect_download() as download:
        page.get_by_text("Save overlay").click()
    saved = decode_image(download.value.path().read_bytes())
    np.testing.assert_array_equal(saved, expected)
    page.get_by_text("Show all").click()
    np.testing.assert_array_equal(pixels(page), colors)
    page.get_by_text("Hide all").click()
    np.testing.assert_array_equal(pixels(page), rgb)


def test_the_confidence_is_shown_and_named(
    page: Page, url: str, frame: Path, model: Segmenter
) -> None:
    rgb = decode_image(frame.read_bytes())
    answer = httpx.post(f"{url}/confidence", files={"image": frame.read_bytes()})
    upload(page, frame)
    wait_for_answer(page, frame.name)
    slide(page, 100)
    page.get_by_label("Confidence").check()
    expect(page.locator("#sureness")).to_be_visible()
    grey = pixels(page)
    np.testing.assert_array_equal(grey, decode_image(answer.content))
    box = page.locator("#canvas").bounding_box()
    assert box
    x, y = 128.5 / 256 * box["width"], 64.5 / 128 * box["height"]
    page.locator("#canvas").hover(position={"x": x, "y": y})
    value = round(grey[64, 128, 0] / 2.55)
    expect(page.locator("#probe")).to_contain_text(f", {value} %")
    page.get_by_label("Confidence").uncheck()
    colors = model.labels.palette[model.predict(rgb)]
    np.testing.assert_array_equal(pixels(page), colors)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_image_counts_once_whether_its_confidence_is_shown_or_not(
    when: str, page: Page, url: str, frame: Path
) -> None:
    def seen() -> int:
        return httpx.get(f"{url}/drift").json()["seen"]

    upload(page, frame)
    wait_for_answer(page, frame.name)
    before = seen()
    if when == "before":
        page.get_by_label("Confidence").check()
        expect(page.locator("#sureness")).to_be_visible()
    upload(page, SAMPLES[0])
    wait_for_answer(page, SAMPLES[0].name)
    page.get_by_label("Confidence").check()
    expect(page.locator("#sureness")).to_be_visible()
    assert seen() == before + 1


def test_mask_and_confidence_are_of_one_model(page: Page, url: str, frame: Path) -> None:
    answer = httpx.post(f"{url}/confidence", files={"image": frame.read_bytes()})
    versions, segmented = ["0"], list[str]()

    def answer_once_as_another_version(route: Any) -> None:
        version = versions.pop() if versions else answer.headers["X-Model-Version"]
        route.fulfill(body=answer.content, headers={"X-Model-Version": version})

    page.route("**/confidence", answer_once_as_another_version)
    page.on("request", lambda each: segmented.append(each.url) if "/segment" in each.url else None)
    upload(page, frame)
    wait_for_answer(page, frame.name)
    page.get_by_label("Confidence").check()
    expect(page.locator("#sureness")).to_be_visible()
    assert len(segmented) == 2


def test_zooming_keeps_the_middle_and_names_the_right_pixel(
    page: Page, frame: Path, model: Segmenter
) -> None:
    ids = model.predict(decode_image(frame.read_bytes()))
    upload(page, frame)
    wait_for_answer(page, frame.name)
    before = page.locator("#canvas").bounding_box()
    for _ in range(4):
        page.get_by_label("Zoom in").click()
    after, view = page.locator("#canvas").bounding_box(), page.locator("#view").bounding_box()
    assert before
    assert after
    assert view
    assert after["width"] == pytest.approx(1.5**4 * before["width"], rel=0.02)
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    column, row = (x - after["x"]) / after["width"] * 256, (y - after["y"]) / after["height"] * 128
    assert (column, row) == (pytest.approx(128, abs=2), pytest.approx(64, abs=2))
    page.mouse.move(x, y)
    expect(page.locator("#probe")).to_have_text(model.labels.names[ids[int(row), int(column)]])
    assert page.evaluate(OVERFLOW) == 0


def test_the_page_leads_to_the_drift_of_recent_images(page: Page) -> None:
    page.get_by_text("drift of recent images").click()
    expect(page.locator("h1")).to_contain_text("drift", ignore_case=True)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_one_click_away(page: Page, sample: Path) -> None:
    page.locator(f"button:has(img[src$='{sample.name}'])").click()
    wait_for_answer(page, sample.name)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_samples_are_drawn_by_the_generator(sample: Path) -> None:
    shown = decode_image(sample.read_bytes())
    drawn, _ = render_scene(int(sample.stem.rpartition("-")[2]), *shown.shape[:2])
    assert shown.shape == (512, 1024, 3)
    assert np.abs(shown.astype(int) - drawn).mean() < 5
    assert sample.stat().st_size < 150_000


def test_an_image_is_pasted(visit: Callable[..., Page], url: str, frame: Path) -> None:
    page = visit(url, permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """bytes => navigator.clipboard.write([new ClipboardItem({
            'image/png': new Blob([new Uint8Array(bytes)], {type: 'image/png'})})])""",
        list(frame.read_bytes()),
    )
    page.keyboard.press("Control+V")
    wait_for_answer(page, "image.png")
    slide(page, 0)
    np.testing.assert_array_equal(pixels(page), decode_image(frame.read_bytes()))


def test_an_image_is_dropped(page: Page, frame: Path) -> None:
    mouse = page.context.new_cdp_session(page)

    def drag(kind: str) -> None:
        data = {"items": [], "files": [str(frame)], "dragOperationsMask": 1}
        mouse.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 300, "data": data})

    drag("dragEnter")
    drag("dragOver")
    expect(page.locator("#stage")).to_have_class("over")
    drag("drop")
    wait_for_answer(page, frame.name)
    expect(page.locator("#stage")).not_to_have_class("over")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_photo_of_a_rotated_camera_is_shown_upright(
    page: Page, model: Segmenter, frame: Path, kind: str, orientation: int
) -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation  # 3: the camera was upside down; 6: turned a quarter
    Image.open(frame).convert("RGB").save(buffer, kind, quality=95, exif=exif)
    name, media_type = f"tilted.{kind.lower()}", f"image/{kind.lower()}"
    upload(page, {"name": name, "mimeType": media_type, "buffer": buffer.getvalue()})
    wait_for_answer(page, name)
    upright = decode_image(buffer.getvalue())
    height, width = upright.shape[:2]
    expect(page.locator("#size")).to_have_text(f"{width} {TIMES} {height}")
    slide(page, 0)
    assert np.abs(pixels(page).astype(int) - upright).mean() < 3
    slide(page, 100)
    np.testing.assert_array_equal(pixels(page), model.labels.palette[model.predict(upright)])


def test_mask_and_overlay_are_downloaded(page: Page, frame: Path, model: Segmenter) -> None:
    rgb = decode_image(frame.read_bytes())
    ids = model.predict(rgb)
    upload(page, frame)
    wait_for_answer(page, frame.name)
    saved = {}
    for name in ("mask", "overlay"):
        with page.expect_download() as download:
            page.get_by_text(f"Save {name}").click()
        assert download.value.suggested_filename == f"{frame.stem}_{name}.png"
        saved[name] = download.value.path().read_bytes()
    assert saved["mask"] == encode_palette_png(ids, model.labels.palette)
    overlay = blend(rgb, model.labels.palette[ids], 0.6)
    np.testing.assert_allclose(decode_image(saved["overlay"]).astype(int), overlay, atol=3)


def test_what_is_not_an_image_is_refused_in_plain_words(page: Page, frame: Path) -> None:
    alert = page.locator("[role=alert]")
    expect(alert).to_be_hidden()
    upload(page, frame)
    wait_for_answer(page, frame.name)
    upload(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"just text"})
    expect(alert).to_have_text("“notes.txt” is not an image")
    for name in ("frame", "tools", "status", "retry"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    expect(page.locator("#prompt")).to_be_visible()
    assert set(page.locator("#legend td").all_inner_texts()) == {DASH}
    expect(page.locator("#total")).to_have_text(DASH)
    upload(page, frame)
    wait_for_answer(page, frame.name)
    expect(alert).to_be_hidden()


def test_too_large_an_image_is_refused_in_plain_words(page: Page) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(buffer, "PNG")
    upload(page, {"name": "wide.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    expect(page.locator("[role=alert]")).to_contain_text("“wide.png” is 1000x1000")


def test_an_unreachable_service_can_be_retried(page: Page, frame: Path) -> None:
    page.context.set_offline(True)
    upload(page, frame)
    expect(page.locator("[role=alert]")).to_contain_text("does not answer")
    page.context.set_offline(False)
    page.get_by_text("Try again").click()
    wait_for_answer(page, frame.name)


def test_a_newer_image_replaces_one_in_progress(page: Page, frame: Path) -> None:
    held, aborted = list[Any](), list[Request]()
    page.on("requestfailed", lambda request: aborted.append(request))
    page.route("**/segment", lambda route: route.continue_() if held else held.append(route))
    upload(page, SAMPLES[0])
    expect(page.locator("#status")).to_contain_text("Segmenting")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "true")
    upload(page, frame)
    wait_for_answer(page, frame.name)
    assert [each.url for each in aborted] == [held[0].request.url]
    expect(page.locator("#size")).to_have_text(f"256 {TIMES} 128")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")


def test_a_token_can_be_entered(
    app: ASGIApp, url: str, visit: Callable[..., Page], frame: Path
) -> None:
    with listening(TokenProxy(app), lifespan="off") as guarded:
        page = visit(guarded)
        expect(page.locator("[role=alert]")).to_have_text("a token is needed")
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("[role=alert]")).to_have_text("a token is needed")
        page.get_by_label("Access token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_text(NAME)
        expect(page.locator("#access")).to_be_hidden()
        upload(page, frame)
        wait_for_answer(page, frame.name)
        page.reload()
        expect(page.get_by_label("Access token")).to_have_value("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_accessibility_violations(
    scheme: str, visit: Callable[..., Page], app: ASGIApp, url: str, frame: Path
) -> None:
    def violations(page: Page) -> list[str]:
        page.wait_for_function("document.getAnimations().length === 0")
        return [rule["id"] for rule in Axe().run(page).response["violations"]]

    page = visit(url, color_scheme=scheme)
    expect(page.locator("#legend tr")).to_have_count(8)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, ground[4:-1].split(","))) < 128) == (scheme == "dark")
    assert violations(page) == []
    upload(page, frame)
    wait_for_answer(page, frame.name)
    page.locator("#canvas").hover()
    assert violations(page) == []
    page.get_by_label("Confidence").check()
    expect(page.locator("#sureness")).to_be_visible()
    page.get_by_label("Zoom in").click()
    page.locator("#legend input").first.uncheck()
    assert violations(page) == []
    upload(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"just text"})
    expect(page.locator("[role=alert]")).to_be_visible()
    assert violations(page) == []
    with listening(TokenProxy(app), lifespan="off") as guarded:
        page = visit(guarded, color_scheme=scheme)
        expect(page.locator("#access")).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_narrow_phone_scrolls_only_vertically(
    width: int, visit: Callable[..., Page], url: str, frame: Path
) -> None:
    phone = {"width": width, "height": 700}
    page = visit(url, viewport=phone, is_mobile=True, has_touch=True)
    assert page.evaluate(OVERFLOW) == 0
    name = f"{'x' * 80}.png"
    photo = {"name": name, "mimeType": "image/png", "buffer": frame.read_bytes()}
    page.set_input_files("#camera", photo)
    wait_for_answer(page, name)
    assert page.evaluate(OVERFLOW) == 0
    page.locator("#canvas").tap()
    expect(page.locator("#probe")).to_be_visible()
    assert page.evaluate(OVERFLOW) == 0


def test_the_page_may_run_only_its_own_files(url: str) -> None:
    answer = httpx.get(url)
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    for path in PAGE.rglob("*.*"):
        assert httpx.get(f"{url}/page/{path.relative_to(PAGE)}").status_code == 200
