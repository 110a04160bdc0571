"""The routes of the service, as a Starlette application.

Whoever runs it sets ``app.state.engine`` and ``app.state.follower``, and puts an
:class:`~streetseg.serving.upload_guard.UploadMiddleware` in front, which reads the uploads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from streetseg.config.params import Serve
from streetseg.data.labels import LabelSpace
from streetseg.images.errors import BadImageError, TooLargeImageError, UnsupportedImageError
from streetseg.monitoring.drift_report import DRIFT_POLICY, drift_page
from streetseg.serving.access_log import MODEL_VERSION
from streetseg.serving.auth import WEBHOOK_SECRET, is_signed
from streetseg.serving.engine import TooSlowError
from streetseg.serving.metrics import exposition
from streetseg.serving.openapi import API_PAGE, API_POLICY, openapi_document
from streetseg.serving.page import PAGE_ROUTES
from streetseg.serving.responses import (
    confidence_png,
    description,
    mask_json,
    mask_png,
    overlay_png,
)
from streetseg.serving.segmented import Segmented
from streetseg.serving.served_model import ServedModel
from streetseg.serving.upload_guard import UploadFields, error_response

DEFAULT_OPACITY = "0.5"
MAX_WEBHOOK_BYTES = 64_000
"""MLflow's webhooks have about 500 bytes."""

Body = TypeVar("Body")
Encode = Callable[[Segmented, LabelSpace], Body]


async def segment(request: Request) -> Response:
    """``POST /segment``: category ids of an image, as a palette PNG of its size."""
    return await _answer(request, mask_png)


async def overlay(request: Request) -> Response:
    """``POST /overlay``: an image under the colours of its categories, as PNG."""
    try:
        opacity = float(request.state.upload.texts.get("opacity", DEFAULT_OPACITY))
    except ValueError:
        opacity = -1
    if not 0 <= opacity <= 1:
        return error_response(400, "the field 'opacity' takes 0 to 1")

    def encode(segmented: Segmented, labels: LabelSpace) -> bytes:
        # Decoded a second time: a kept image would take its full size while the request waits.
        rgb = request.app.state.engine.decode(segmented.upload)
        return overlay_png(segmented, labels, rgb, opacity)

    return await _answer(request, encode)


async def confidence(request: Request) -> Response:
    """``POST /confidence``: the probability of the category of each pixel, as a grey PNG.

    It is a second look at an image whose mask was requested, so the observer does not count it.
    """
    return await _answer(request, confidence_png, observed=False)


async def describe(request: Request) -> Response:
    """``POST /describe``: the size of an image, and the fraction of each category in it."""
    return await _answer(request, description)


async def segment_batch(request: Request) -> Response:
    """``POST /segment_batch``: category ids of several images; an unusable one has its error."""
    model = _current_model(request)

    async def result(image: bytes) -> dict[str, Any]:
        try:
            return await _segment(request, image, model, mask_json)
        except BadImageError as error:
            return {"error": error.reason}
        except TooSlowError as error:
            return {"error": str(error)}

    results = await asyncio.gather(*map(result, request.state.upload.images))
    body = {"results": results, "model": model.info.summary()}
    return JSONResponse(body, headers={MODEL_VERSION: model.version})


async def show_model(request: Request) -> Response:
    """``GET /model``: the model that answers, its origin, and the state of the follower."""
    info = _current_model(request).info.to_dict()
    return JSONResponse(info | request.app.state.follower.status())


async def show_drift(request: Request) -> Response:
    """``GET /drift``: recent images compared with the model's reference; also as a page."""
    model = _current_model(request)
    state = model.observer.drift.state()
    if request.url.path == "/drift":
        return JSONResponse(state)
    page = drift_page(state, model.info.summary(), model.segmenter.labels)
    return HTMLResponse(page, headers={"Content-Security-Policy": DRIFT_POLICY})


async def receive_webhook(request: Request) -> Response:
    """``POST /webhook``: MLflow reports that an alias moved; the registry is polled at once."""
    secret = os.environ.get(WEBHOOK_SECRET)
    if not secret:
        return error_response(404, f"webhooks are not taken: {WEBHOOK_SECRET} is not set")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_WEBHOOK_BYTES:
            return error_response(413, "that is no webhook of MLflow's: it is too long")
    if not is_signed(body, request.headers, secret):
        return error_response(401, f"the signature is not of {WEBHOOK_SECRET}, or is too old")
    request.app.state.follower.poll_now()
    return JSONResponse({"status": "the registry is being asked"}, 202)


async def show_metrics(_: Request) -> Response:
    """``GET /metrics``: figures of all worker processes for Prometheus."""
    text, media_type = await asyncio.to_thread(exposition)
    return Response(text, media_type=media_type)


async def show_api(_: Request) -> Response:
    """``GET /docs``: the API as a page on which requests can be tried."""
    return HTMLResponse(API_PAGE, headers={"Content-Security-Policy": API_POLICY})


UPLOADS = {
    "/segment": UploadFields("image"),
    "/overlay": UploadFields("image", ("opacity",)),
    "/confidence": UploadFields("image"),
    "/describe": UploadFields("image"),
    "/segment_batch": UploadFields("images"),
}
"""The form fields of the routes that take uploads."""
ROUTES = [
    Route("/segment", segment, methods=["POST"]),
    Route("/overlay", overlay, methods=["POST"]),
    Route("/confidence", confidence, methods=["POST"]),
    Route("/describe", describe, methods=["POST"]),
    Route("/segment_batch", segment_batch, methods=["POST"]),
    Route("/model", show_model),
    Route("/drift", show_drift),
    Route("/drift.html", show_drift),
    Route("/webhook", receive_webhook, methods=["POST"]),
    Route("/metrics", show_metrics),
    Route("/docs", show_api),
]
PATHS = frozenset(["/", "/docs.json", *(route.path for route in ROUTES)])
"""Paths that the log and the metrics name."""


def create_app(settings: Serve, *, tokens: bool) -> Starlette:
    """The application with all routes. Its OpenAPI document states the limits in ``settings``."""
    document = cache(partial(openapi_document, settings, tokens=tokens))

    async def show_openapi(_: Request) -> Response:
        return JSONResponse(document())

    return Starlette(routes=[*PAGE_ROUTES, *ROUTES, Route("/docs.json", show_openapi)])


def _current_model(request: Request) -> ServedModel:
    """The model that answers now; without one, a 503 says why."""
    follower = request.app.state.follower
    if follower.current is None:
        raise HTTPException(503, follower.problem, {"Retry-After": "1"})
    return follower.current


async def _answer(request: Request, encode: Encode[Any], *, observed: bool = True) -> Response:
    model = _current_model(request)
    (image,) = request.state.upload.images
    response: Response
    try:
        body = await _segment(request, image, model, encode, observed=observed)
    except BadImageError as error:
        response = error_response(_status(error), f"the field 'image' {error.reason}")
    except TooSlowError as error:
        response = error_response(503, str(error))
    else:
        if isinstance(body, bytes):
            response = Response(body, media_type="image/png")
        else:
            response = JSONResponse(body | {"model": model.info.summary()})
    response.headers[MODEL_VERSION] = model.version
    return response


async def _segment(
    request: Request,
    image: bytes,
    model: ServedModel,
    encode: Encode[Body],
    *,
    observed: bool = True,
) -> Body:

    def observe_and_encode(segmented: Segmented) -> Body:
        if observed:
            model.observer.observe(segmented)
        return encode(segmented, model.segmenter.labels)

    return await request.app.state.engine.answer(image, model, observe_and_encode)


def _status(error: BadImageError) -> int:
    if isinstance(error, TooLargeImageError):
        return 413
    return 415 if isinstance(error, UnsupportedImageError) else 400
