"""What the scripts share that take images for the documentation: a browser, and small files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL.Image import Image
from playwright.sync_api import Browser, sync_playwright

from streetseg.core.atomic_files import unfinished_path
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY

PICTURES = REPOSITORY / "docs" / "img"


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Debian's Chromium without a window.

    Raises:
        StreetsegError: it is not installed.
    """
    if not (program := shutil.which("chromium")):
        raise StreetsegError("Chromium is not installed: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=[*flags, *sandbox])


def write_pictures(pictures: Mapping[str, Image], out: Path) -> list[Path]:
    """Write each image to ``out/NAME.png`` and say how large it is; the folder is made."""
    out.mkdir(parents=True, exist_ok=True)
    return [_write(picture, out / f"{name}.png") for name, picture in pictures.items()]


def _write(picture: Image, path: Path) -> Path:
    unfinished = unfinished_path(path)
    picture.save(unfinished, "PNG", optimize=True)
    print(f"{os.path.relpath(path)}  {unfinished.stat().st_size // 1000} kB")
    return unfinished.rename(path)
