"""The service as an object: each method is one call, in plain or in ``async`` code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from streetseg.client import request
from streetseg.client.folder import Folder, ask_for_folder
from streetseg.client.request import Answer, Image, Request, ServiceError, Value
from streetseg.client.retry import RetryPolicy
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError


class _Service:
    """What both clients know: where the service is, and how long to ask it."""

    _open: Any
    """The httpx client that sends."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        token: str | None = None,
        timeout: float = 60,
        retries: int = 3,
    ) -> None:
        """A service at an address.

        The token is sent to that address alone: redirects are not followed. With ``http://`` it
        travels unencrypted, so beyond this machine use ``https://``.

        Args:
            url: of the service, such as ``https://segment.example.org``.
            token: what the service knows its users by; None where it asks for none.
            timeout: seconds that a call may take with its retries. After them nothing is sent
                again, nor a silent service waited for.
            retries: how often a request is sent again after a lost connection, 429 or 503, with
                growing pauses, or those that the service asks for.

        Raises:
            StreetsegError: no URL of a service, or a token that cannot be one.
        """
        self.url = _checked_url(url)
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise StreetsegError("the token is empty or has characters that no token has")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = self._open(base_url=self.url, headers=headers)
        self._timeout = timeout
        self._retries = retries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _read(
        self, asked: Request[Value], outcome: httpx.Response | httpx.RequestError
    ) -> Answer[Value]:
        if isinstance(outcome, httpx.Response):
            return asked.answer(outcome, self.url)
        raise ServiceError(request.no_answer(outcome, self._timeout), url=self.url)


class Client(_Service):
    """The service, asked in turn. May be used from several threads.

    Each method raises :class:`ServiceError` when the service refuses, fails or cannot be reached,
    and :class:`StreetsegError` when there is no image to send.
    """

    _open = httpx.Client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def segment(self, image: Image) -> Answer[np.ndarray]:
        """Category ids uint8[H, W] of an image, at its size when upright."""
        return self._ask(request.segment(image))

    def overlay(self, image: Image) -> Answer[np.ndarray]:
        """An image blended with the colours of its categories: RGB uint8[H, W, 3]."""
        return self._ask(request.overlay(image))

    def describe(self, image: Image) -> Answer[dict[str, Any]]:
        """Width and height of an image, the fraction of each class (0 to 1), and the model."""
        return self._ask(request.describe(image))

    def segment_batch(self, images: Sequence[Image]) -> Answer[list[np.ndarray | ServiceError]]:
        """Category ids of several images in one request, an error in the place of a bad one."""
        return self._ask(request.segment_batch(images))

    def model(self) -> Answer[dict[str, Any]]:
        """Which model answers: its name, version, run, data version, metrics and label space."""
        return self._ask(request.MODEL)

    def drift(self) -> Answer[dict[str, Any]]:
        """How what is asked these days differs from what the model was scored on."""
        return self._ask(request.DRIFT)

    def folder(self, source: str | Path, destination: str | Path, parallel: int = 4) -> Folder:
        """Segment the PNG, JPEG and WebP images below a folder, however deep they lie.

        PATH_mask.png holds the mask of each as the service sent it: category ids, shown in the
        colours of the categories. An image whose mask is there is not sent again, so a call that
        was stopped is gone on with by the same call. An image that cannot be used does not stop
        it. Hidden files are passed over.

        Args:
            source: folder of images.
            destination: folder for the masks, apart from the source.
            parallel: how many images are asked about at the same time.

        Raises:
            StoppedError: Ctrl-C; the same call goes on.
            StreetsegError: no images, source and destination overlap, or a mask cannot be
                written.
            ServiceError: the service cannot be reached, wants a token, or stays overloaded.
        """
        return ask_for_folder(self._ask, source, destination, parallel)

    def _ask(self, asked: Request[Value]) -> Answer[Value]:
        policy = RetryPolicy(self._timeout, self._retries)
        while True:
            try:
                outcome = self._http.request(
                    asked.method, asked.route, files=asked.files, timeout=policy.seconds_left
                )
            except httpx.RequestError as error:
                outcome = error
            if (pause := policy.pause_after(outcome)) is None:
                return self._read(asked, outcome)
            time.sleep(pause)


class AsyncClient(_Service):
    """The same for ``async`` code: each method is awaited, and many may be under way."""

    _open = httpx.AsyncClient

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def segment(self, image: Image) -> Answer[np.ndarray]:
        """As :meth:`Client.segment`."""
        return await self._ask(request.segment(image))

    async def overlay(self, image: Image) -> Answer[np.ndarray]:
        """As :meth:`Client.overlay`."""
        return await self._ask(request.overlay(image))

    async def describe(self, image: Image) -> Answer[dict[str, Any]]:
        """As :meth:`Client.describe`."""
        return await self._ask(request.describe(image))

    async def segment_batch(
        self, images: Sequence[Image]
    ) -> Answer[list[np.ndarray | ServiceError]]:
        """As :meth:`Client.segment_batch`."""
        return await self._ask(request.segment_batch(images))

    async def model(self) -> Answer[dict[str, Any]]:
        """As :meth:`Client.model`."""
        return await self._ask(request.MODEL)

    async def drift(self) -> Answer[dict[str, Any]]:
        """As :meth:`Client.drift`."""
        return await self._ask(request.DRIFT)

    async def _ask(self, asked: Request[Value]) -> Answer[Value]:
        policy = RetryPolicy(self._timeout, self._retries)
        while True:
            try:
                outcome = await self._http.request(
                    asked.method, asked.route, files=asked.files, timeout=policy.seconds_left
                )
            except httpx.RequestError as error:
                outcome = error
            if (pause := policy.pause_after(outcome)) is None:
                return self._read(asked, outcome)
            await asyncio.sleep(pause)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise StreetsegError(
            f"'{redact(url)}' is no URL of a service: write it as http://HOST:PORT"
        )
    if parsed.userinfo:
        raise StreetsegError(f"{redact(url)} holds a password: give a token instead")
    return str(parsed).rstrip("/")
