"""The HTTP service: the champion of the registry, run by BentoML.

``bentoml serve service:StreetSegmenter`` (or ``make serve``). It reads the ``params.yaml`` beside
it, or the file that ``STREETSEG_PARAMS`` names, applies the overrides in ``STREETSEG_SET`` (such as
``"serve.timeout=10 serve.workers=2"``), and finds the registry at ``MLFLOW_TRACKING_URI``.

The routes are in :mod:`streetseg.serving.app`. BentoML provides workers, health, lifecycle and
bentos.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from bentoml.exceptions import BentoMLConfigException

from streetseg.config.params import load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.program import set_up_environment
from streetseg.serving.auth import bearer_tokens

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

HERE = Path(__file__).resolve().parent

set_up_environment()
try:
    PARAMS = load_params(
        Path(os.environ.get("STREETSEG_PARAMS") or HERE / "params.yaml"),
        os.environ.get("STREETSEG_SET", "").split(),
    )
    TOKENS = bearer_tokens()
except StreetsegError as error:  # the command line of BentoML prints this kind as one line
    raise BentoMLConfigException(str(error)) from None


@cache
def app() -> Starlette:
    """The routes. Only worker processes load them, not the one that supervises the workers."""
    from streetseg.serving.app import create_app

    return create_app(PARAMS.serve, tokens=bool(TOKENS))


async def routes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that the middlewares let pass."""
    await app()(scope, receive, send)


def guarded(inner: ASGIApp) -> ASGIApp:
    """The middlewares: a log, then the checks and the reading of uploads."""
    from streetseg.serving.access_log import AccessLogMiddleware
    from streetseg.serving.app import PATHS, UPLOADS
    from streetseg.serving.upload_guard import UploadMiddleware

    checked = UploadMiddleware(inner, routes=UPLOADS, settings=PARAMS.serve, tokens=TOKENS)
    return AccessLogMiddleware(
        checked, paths=PATHS, model_version=lambda: app().state.follower.version
    )


@bentoml.service(
    name="street_segmenter",
    workers=PARAMS.serve.workers,
    traffic={"timeout": 2 * PARAMS.serve.timeout + 60},  # above our limits for upload and answer
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # BentoML's would count every made-up path on its own
)
@bentoml.asgi_app(routes, path="/")
class StreetSegmenter:
    """Segments street scenes with the champion of the model registry."""

    def __init__(self) -> None:
        """Load the champion, and follow it from now on."""
        from streetseg.serving.access_log import set_up_logging
        from streetseg.serving.champion_follower import ChampionFollower
        from streetseg.serving.engine import Engine
        from streetseg.serving.tracing import set_up_tracing

        set_up_logging()
        set_up_tracing()
        self.engine = app().state.engine = Engine(PARAMS.serve)
        self.follower = app().state.follower = ChampionFollower(PARAMS, HERE)
        self.follower.start()

    @bentoml.on_shutdown
    def close(self) -> None:
        """End the threads."""
        self.follower.stop()
        self.engine.close()

    def __is_ready__(self) -> bool:
        """Whether ``/readyz`` reports that images can be segmented."""
        return self.follower.current is not None


StreetSegmenter.add_asgi_middleware(guarded)  # type: ignore[attr-defined]
