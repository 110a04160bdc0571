"""The HTTP service: the champion of the registry, behind BentoML.

``bentoml serve service:StreetSegmenter`` (or ``make serve``). It reads the ``params.yaml`` beside
it, or the file that ``STREETSEG_PARAMS`` names, changes what ``STREETSEG_SET`` says (such as
``"serve.timeout=10 serve.workers=2"``), and finds the registry where ``MLFLOW_TRACKING_URI`` says.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import bentoml
from bentoml.validators import ContentType
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from streetseg.config.params import load_params
from streetseg.core.errors import exit_on_error
from streetseg.core.telemetry import disable_telemetry
from streetseg.data.labels import LabelSpace
from streetseg.images.errors import BadImageError, TooLargeImageError, UnsupportedImageError
from streetseg.monitoring.drift_report import DRIFT_POLICY, drift_page
from streetseg.serving.access_log import MODEL_VERSION, AccessLogMiddleware, log_lines
from streetseg.serving.auth import WEBHOOK_SECRET, bearer_tokens, is_signed
from streetseg.serving.champion_follower import ChampionFollower, ServedModel
from streetseg.serving.engine import Engine, Segmented, TooSlowError
from streetseg.serving.metrics import exposition
from streetseg.serving.openapi import API_PAGE, API_POLICY, complete
from streetseg.serving.page import PAGE_ROUTES
from streetseg.serving.responses import description, mask_png, overlay_png
from streetseg.serving.tracing import set_up_tracing
from streetseg.serving.upload_guard import Upload, UploadMiddleware, error_response

HERE = Path(__file__).resolve().parent
UPLOADS = {
    "/segment": Upload("image"),
    "/overlay": Upload("image", ("opacity",)),
    "/describe": Upload("image"),
    "/segment_batch": Upload("images"),
}
MAX_WEBHOOK_BYTES = 64_000
"""Bytes; MLflow's have about 500."""

disable_telemetry()
with exit_on_error():
    PARAMS = load_params(
        Path(os.environ.get("STREETSEG_PARAMS") or HERE / "params.yaml"),
        os.environ.get("STREETSEG_SET", "").split(),
    )
    TOKENS = bearer_tokens()
    set_up_tracing()

Png = Annotated[Path, ContentType("image/png")]
Answer = TypeVar("Answer")


async def show_model(_: Request) -> Response:
    """``GET /model``: which model answers, where it comes from, and whether it is the champion."""
    service = bentoml.get_current_service()
    model, following = service.follower.current, service.follower.told()
    if model is None:
        return error_response(503, following["problem"])
    return JSONResponse(model.told | following)


async def show_drift(request: Request) -> Response:
    """``GET /drift``: what was sent lately beside what the model was scored on; also as a page."""
    service = bentoml.get_current_service()
    model = service.follower.current
    if model is None:
        return error_response(503, service.follower.problem)
    state = model.watch.drift.state()
    if request.url.path == "/drift":
        return JSONResponse(state)
    page = drift_page(state, model.told, model.segmenter.labels)
    return HTMLResponse(page, headers={"Content-Security-Policy": DRIFT_POLICY})


async def take_webhook(request: Request) -> Response:
    """``POST /webhook``: MLflow says that an alias moved; the registry itself is then asked."""
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
    bentoml.get_current_service().follower.wake()
    return JSONResponse({"status": "the registry is being asked"}, 202)


async def show_metrics(_: Request) -> Response:
    """``GET /metrics``: figures for Prometheus, of all workers."""
    text, media_type = await asyncio.to_thread(exposition)
    return Response(text, media_type=media_type)


async def show_openapi(_: Request) -> Response:
    """``GET /docs.json``: the API in OpenAPI, with examples."""
    spec = StreetSegmenter.openapi_spec.asdict()  # type: ignore[attr-defined]
    return JSONResponse(complete(spec, PARAMS.serve, tokens=bool(TOKENS)))


async def show_api(_: Request) -> Response:
    """``GET /docs``: the same to read and to try."""
    return HTMLResponse(API_PAGE, headers={"Content-Security-Policy": API_POLICY})


ROUTES = [
    *PAGE_ROUTES,
    Route("/model", show_model),
    Route("/drift", show_drift),
    Route("/drift.html", show_drift),
    Route("/webhook", take_webhook, methods=["POST"]),
    Route("/metrics", show_metrics),
    Route("/docs.json", show_openapi),
    Route("/docs", show_api),
]


@bentoml.service(
    name="street_segmenter",
    workers=PARAMS.serve.workers,
    traffic={"timeout": 2 * PARAMS.serve.timeout + 60},  # ours, of upload and answer, come first
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # they would count each path that anybody makes up
)
@bentoml.asgi_app(Starlette(routes=ROUTES), path="/")
class StreetSegmenter:
    """Segments street scenes with the champion of the model registry."""

    def __init__(self) -> None:
        """Take the champion, and follow it from now on."""
        log_lines()
        self.engine = Engine(PARAMS.serve)
        self.follower = ChampionFollower(PARAMS, HERE)
        self.follower.start()

    @property
    def version(self) -> str:
        """The version that answers; empty if none does."""
        return self.follower.current.version if self.follower.current else ""

    @bentoml.on_shutdown
    def close(self) -> None:
        """End the threads."""
        self.follower.stop()
        self.engine.close()

    def __is_ready__(self) -> bool:
        """Whether images can be segmented, as ``/readyz`` tells."""
        return self.follower.current is not None

    @bentoml.api(route="/segment")
    async def segment(self, image: Path, ctx: bentoml.Context) -> Png:
        """Category ids of an image, as a palette PNG of its size."""
        return await self._answer(image, ctx, mask_png)

    @bentoml.api(route="/overlay")
    async def overlay(self, image: Path, ctx: bentoml.Context, opacity: float = 0.5) -> Png:
        """An image under the colours of its categories; they have an opacity of 0 to 1."""

        def respond(seen: Segmented, labels: LabelSpace) -> bytes:
            # decoded again: it would take the memory of a whole image while it waits
            return overlay_png(seen, labels, self.engine.decode(seen.data), opacity)

        if not 0 <= opacity <= 1:
            return _finish(error_response(400, "the field 'opacity' takes 0 to 1"), ctx)
        return await self._answer(image, ctx, respond)

    @bentoml.api(route="/describe")
    async def describe(self, image: Path, ctx: bentoml.Context) -> dict[str, Any]:
        """What is in an image: the fraction of each category, 0 to 1."""
        return await self._answer(image, ctx, description)

    @bentoml.api(route="/segment_batch")
    async def segment_batch(self, images: list[Path], ctx: bentoml.Context) -> dict[str, Any]:
        """Category ids of several images; one that cannot be used says why."""
        if (model := self.follower.current) is None:
            return _finish(error_response(503, self.follower.problem), ctx)

        def respond(seen: Segmented, labels: LabelSpace) -> dict[str, Any]:
            mask = base64.b64encode(mask_png(seen, labels)).decode()
            return {"width": seen.size[1], "height": seen.size[0], "mask": mask}

        async def result(image: Path) -> dict[str, Any]:
            try:
                return await self._seen(image, model, respond)
            except BadImageError as error:
                return {"error": error.reason}
            except TooSlowError as error:
                return {"error": str(error)}

        results = await asyncio.gather(*map(result, images))
        return _finish(JSONResponse({"results": results, "model": _short(model)}), ctx, model)

    async def _answer(
        self,
        image: Path,
        ctx: bentoml.Context,
        respond: Callable[[Segmented, LabelSpace], Any],
    ) -> Any:
        """Segment and respond, or say in JSON what is wrong with the image."""
        if (model := self.follower.current) is None:
            return _finish(error_response(503, self.follower.problem), ctx)
        response: Response
        try:
            answer = await self._seen(image, model, respond)
        except BadImageError as error:
            response = error_response(_status(error), f"the field 'image' {error.reason}")
        except TooSlowError as error:
            response = error_response(503, str(error))
        else:
            if isinstance(answer, bytes):
                response = Response(answer, media_type="image/png")
            else:
                response = JSONResponse(answer | {"model": _short(model)})
        return _finish(response, ctx, model)

    async def _seen(
        self,
        image: Path,
        model: ServedModel,
        respond: Callable[[Segmented, LabelSpace], Answer],
    ) -> Answer:
        def work(seen: Segmented) -> Answer:
            model.watch.see(seen)
            return respond(seen, model.segmenter.labels)

        data = image.read_bytes()
        return await self.engine.answer(data, model, work)


StreetSegmenter.add_asgi_middleware(  # type: ignore[attr-defined]
    AccessLogMiddleware,
    routes=frozenset([*UPLOADS, *(route.path for route in ROUTES if isinstance(route, Route))]),
    version=lambda: bentoml.get_current_service().version,
)
StreetSegmenter.add_asgi_middleware(  # type: ignore[attr-defined]
    UploadMiddleware, uploads=UPLOADS, settings=PARAMS.serve, tokens=TOKENS
)


def _finish(response: Response, ctx: bentoml.Context, model: ServedModel | None = None) -> Any:
    ctx.response.status_code = response.status_code  # BentoML sets it again
    if model:
        response.headers[MODEL_VERSION] = model.version
    return response


def _short(model: ServedModel) -> dict[str, Any]:
    return {key: model.told[key] for key in ("name", "version", "data_version")}


def _status(error: BadImageError) -> int:
    if isinstance(error, TooLargeImageError):
        return 413
    return 415 if isinstance(error, UnsupportedImageError) else 400
