"""The HTTP service: the champion of the registry, behind BentoML.

``bentoml serve service:StreetSegmenter`` (or ``make serve``). It reads ``params.yaml``, or the file
that ``STREETSEG_PARAMS`` names, and finds the registry where ``MLFLOW_TRACKING_URI`` says.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import ContentType
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streetseg.config import load_params
from streetseg.errors import StreetsegError
from streetseg.imaging import (
    BadImageError,
    TooLargeImageError,
    UnsupportedImageError,
    decode_upload,
    encode_palette_png,
)
from streetseg.inference import Segmenter
from streetseg.registry import CHAMPION, describe, download, pinned
from streetseg.tracking import connect

PARAMS_FILE = Path(os.environ.get("STREETSEG_PARAMS", "params.yaml"))
PARAMS = load_params(PARAMS_FILE if PARAMS_FILE.exists() else None)
VERSION_HEADER = "X-Model-Version"

UPLOAD_ROUTES = ("/segment", "/describe")
EXPECTED = "send multipart/form-data with a picture in the field 'image'"

Mask = Annotated[Path, ContentType("image/png")]


class UploadGuard:
    """Answer uploads that cannot be taken before they reach the service.

    415 for another content type than multipart, 413 for too many bytes, 400 for a body that is
    not multipart or lacks the field ``image``.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Guard ``app``; a body may have up to ``max_bytes``."""
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http" or scope["path"] not in UPLOAD_ROUTES:
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await _error(415, EXPECTED)(scope, receive, send)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_bytes:
                message = f"at most {self.max_bytes / 1e6:g} megabytes are taken"
                return await _error(413, message)(scope, receive, send)
        try:
            async with Request(scope, _replay(body, receive)).form() as form:
                if not isinstance(form.get("image"), UploadFile):
                    raise HTTPException(400, "there is no file in the field 'image'")
        except HTTPException as error:
            return await _error(400, f"{error.detail.rstrip('.')}: {EXPECTED}")(
                scope, receive, send
            )
        await self.app(scope, _replay(body, receive), send)


def _replay(body: bytearray, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` first."""
    messages: list[Message] = [{"type": "http.request", "body": bytes(body)}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def show_model(_: Request) -> Response:
    """``GET /model``: which model answers."""
    service = bentoml.get_current_service()
    if service.problem:
        return _error(503, service.problem)
    return JSONResponse(service.model, headers={VERSION_HEADER: service.model["version"]})


@bentoml.service(name="street_segmenter", traffic={"timeout": 60})
@bentoml.asgi_app(Starlette(routes=[Route("/model", show_model)]), path="/")
class StreetSegmenter:
    """Segments street scenes with the champion of the model registry."""

    def __init__(self) -> None:
        """Fetch the champion and open it; without one, answer that there is none."""
        self.problem = ""
        self.model: dict[str, Any] = {"version": ""}
        try:
            self._open_champion()
        except StreetsegError as error:
            self.problem = f"{error}; then start the service again"
            logging.getLogger("bentoml").error(self.problem)

    def _open_champion(self) -> None:
        registry = PARAMS.registry
        exact = pinned(f"models:/{registry.model_name}@{CHAMPION}", registry)
        self.segmenter = Segmenter(download(exact, registry))
        version = exact.rpartition("/")[2]
        self.model = {
            **describe(connect(registry), registry.model_name, version),
            "size": list(self.segmenter.size),
            "label_space": self.segmenter.labels.to_dict(),
        }
        self.segmenter.predict(np.zeros((*self.segmenter.size, 3), np.uint8))

    def __is_ready__(self) -> bool:
        """Whether pictures can be segmented, as ``/readyz`` tells."""
        return not self.problem

    @bentoml.api(route="/segment")
    def segment(self, image: Path, ctx: bentoml.Context) -> Mask:
        """Category ids of a picture, as a palette PNG of its size."""

        def mask(categories: np.ndarray) -> Response:
            png = encode_palette_png(categories, self.segmenter.labels.palette)
            return Response(png, media_type="image/png")

        return self._answer(image, ctx, mask)

    @bentoml.api(route="/describe")
    def describe(self, image: Path, ctx: bentoml.Context) -> dict[str, Any]:
        """What is in a picture: the share of each category, 0 to 1."""

        def shares(categories: np.ndarray) -> Response:
            height, width = categories.shape
            labels = self.segmenter.labels.categories
            counts = np.bincount(categories.ravel(), minlength=len(labels))
            classes = [
                {
                    "id": number,
                    "name": label.name,
                    "color": list(label.color),
                    "share": round(int(counts[number]) / categories.size, 6),
                }
                for number, label in enumerate(labels)
            ]
            model = {key: self.model[key] for key in ("name", "version", "data_version")}
            return JSONResponse(
                {"width": width, "height": height, "classes": classes, "model": model}
            )

        return self._answer(image, ctx, shares)

    def _answer(
        self, image: Path, ctx: bentoml.Context, respond: Callable[[np.ndarray], Response]
    ) -> Any:
        """Decode, segment and respond, or say in JSON what is wrong with the picture."""
        if self.problem:
            ctx.response.status_code = 503
            return _error(503, self.problem)
        try:
            rgb = decode_upload(image.read_bytes(), PARAMS.serve.max_megapixels * 1e6)
            response = respond(self.segmenter.predict(rgb))
        except BadImageError as error:
            response = _error(_status(error), f"the field 'image' {error}")
        ctx.response.status_code = response.status_code
        response.headers[VERSION_HEADER] = self.model["version"]
        return response


StreetSegmenter.add_asgi_middleware(  # type: ignore[attr-defined]
    UploadGuard, max_bytes=round(PARAMS.serve.max_megabytes * 1e6)
)


def _status(error: BadImageError) -> int:
    if isinstance(error, TooLargeImageError):
        return 413
    return 415 if isinstance(error, UnsupportedImageError) else 400


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
