"""Pictures of the service's page in use, for the documentation.

``make serve`` starts the service; Debian's Chromium uses its page. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser

from scripts.chromium import PICTURES, chromium, write_pictures
from streetseg.core.errors import StreetsegError, exit_on_error
from streetseg.core.program import set_up_environment

STEPS = 63
"""Of brightness in a channel: nobody misses the others, and the files are a third smaller."""


@dataclass(frozen=True)
class View:
    """The page as one person sees it."""

    name: str
    scheme: Literal["light", "dark"]
    size: tuple[int, int]
    """Width and height of the window in CSS pixels."""
    sample: str
    """Which of the page's samples is segmented."""
    pointer: tuple[float, float]
    """Where on the image the pointer is, as parts of its width and height."""
    phone: bool = False


VIEWS = (
    View("page-light", "light", (1200, 900), "Cyclist", (0.49, 0.41)),
    View("page-dark", "dark", (1200, 900), "Dusk", (0.61, 0.6)),
    View("page-phone", "light", (390, 780), "Autumn", (0.55, 0.4), phone=True),
)


def main() -> None:
    """Take every image; status 1 with one clear line where something is missing."""
    set_up_environment()
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m scripts.page_screenshots --out outputs/pictures",
    )
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="where the service listens")
    parser.add_argument("--out", type=Path, default=PICTURES)
    arguments = parser.parse_args()
    with exit_on_error():
        take_pictures(arguments.url, arguments.out)


def take_pictures(url: str, out: Path) -> list[Path]:
    """Write a PNG of each view; either all of them, or none.

    Args:
        url: of the service.
        out: a folder, made if need be; what else it holds stays.

    Raises:
        StreetsegError: Chromium or a service with a champion is missing.
    """
    with chromium() as browser:
        try:
            httpx.get(f"{url}/readyz").raise_for_status()
        except httpx.HTTPError:
            raise StreetsegError(f"no service is ready at {url}: run 'make serve'") from None
        pictures = {view.name: smaller(picture(browser, url, view)) for view in VIEWS}
    return write_pictures(pictures, out)


def picture(browser: Browser, url: str, view: View) -> bytes:
    """Have the page segment a sample, and take a PNG of it with the pointer on the image."""
    width, height = view.size
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=view.scheme,
        device_scale_factor=1.5 if view.phone else 1,
        is_mobile=view.phone,
        has_touch=view.phone,
        reduced_motion="reduce",
    )
    page.goto(url)
    page.get_by_role("button", name=view.sample).click()
    page.locator("#status", has_text="Segmented").wait_for()
    box = page.locator("#canvas").bounding_box()
    assert box
    x, y = (at * side for at, side in zip(view.pointer, (box["width"], box["height"]), strict=True))
    page.locator("#canvas").hover(position={"x": x, "y": y})
    return page.screenshot(animations="disabled")


def smaller(png: bytes) -> Image.Image:
    """An image with fewer steps of brightness."""
    coarser = [round(value * STEPS / 255) * 255 // STEPS for value in range(256)]
    return Image.open(io.BytesIO(png)).convert("RGB").point(coarser * 3)


if __name__ == "__main__":
    main()
