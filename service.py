"""The HTTP service: the champion of the registry, run by BentoML.

``bentoml serve service:StreetSegmenter`` (or ``make serve``). It reads the ``params.yaml`` beside
it, or the file that ``STREETSEG_PARAMS`` names, applies the overrides in ``STREETSEG_SET`` (such as
``"serve.timeout=10 serve.workers=2"``), and finds the registry at ``MLFLOW_TRACKING_URI``.

The routes are in :mod:`streetseg.serving.app`. BentoML provides workers, health, lifecycle and
bentos.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLConfigException

from streetseg.config.params import load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.program import set_up_environment
from streetseg.serving.access_log import AccessLogMiddleware, set_up_logging
from streetseg.serving.app import PATHS, UPLOADS, create_app
from streetseg.serving.auth import bearer_tokens
from streetseg.serving.champion_follower import ChampionFollower
from streetseg.serving.engine import Engine
from streetseg.serving.tracing import set_up_tracing
from streetseg.serving.upload_guard import UploadMiddleware

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

APP = create_app(PARAMS.serve, tokens=bool(TOKENS))


@bentoml.service(
    name="street_segmenter",
    workers=PARAMS.serve.workers,
    traffic={"timeout": 2 * PARAMS.serve.timeout + 60},  # above our limits for upload and answer
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # BentoML's would count every made-up path on its own
)
@bentoml.asgi_app(APP, path="/")
class StreetSegmenter:
    """Segments street scenes with the champion of the model registry."""

    def __init__(self) -> None:
        """Load the champion, and follow it from now on."""
        set_up_logging()
        set_up_tracing()
        self.engine = APP.state.engine = Engine(PARAMS.serve)
        self.follower = APP.state.follower = ChampionFollower(PARAMS, HERE)
        self.follower.start()

    @bentoml.on_shutdown
    def close(self) -> None:
        """End the threads."""
        self.follower.stop()
        self.engine.close()

    def __is_ready__(self) -> bool:
        """Whether ``/readyz`` reports that images can be segmented."""
        return self.follower.current is not None


StreetSegmenter.add_asgi_middleware(  # type: ignore[attr-defined]
    AccessLogMiddleware, paths=PATHS, model_version=lambda: APP.state.follower.version
)
StreetSegmenter.add_asgi_middleware(  # type: ignore[attr-defined]
    UploadMiddleware, routes=UPLOADS, settings=PARAMS.serve, tokens=TOKENS
)
