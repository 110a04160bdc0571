"""The page for trying the model in a browser: static files that load nothing from other servers.

The samples were drawn by :func:`streetseg.synth.render_scene`, from the seeds in their names.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).parent / "page"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Browsers revalidate their copies each time, so that files of two releases never mix."""


class PageFiles(StaticFiles):
    """The page's files, with its headers."""

    def file_response(
        self, full_path: os.PathLike[str] | str, *arguments: object, **options: object
    ) -> Response:
        """A file, or 304 if the browser's copy is current."""
        response = super().file_response(full_path, *arguments, **options)  # type: ignore[arg-type]
        response.headers.update(PAGE_HEADERS)
        return response


def show_page(_: Request) -> Response:
    """``GET /``: the page."""
    return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)


PAGE_ROUTES: list[BaseRoute] = [
    Route("/", show_page),
    Mount("/page", PageFiles(directory=PAGE)),
]
