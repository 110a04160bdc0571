"""The service as an object with a method for each route, synchronous or ``async``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from streetseg.client import request
from streetseg.client.folder import Folder, segment_folder
from streetseg.client.request import Answer, Image, Request, ServiceError, Value
from streetseg.client.retry import RetryPolicy
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.proxies import LOOPBACK

DIRECT = {f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK}
"""Hosts that are never reached through a proxy."""
MAX_TIMEOUT_S = 24 * 3600


class _BaseClient:
    _http_client: Any
    """The class of the httpx client that sends."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:3000",
        token: str | None = None,
        timeout: float = 60,
        retries: int = 3,
    ) -> None:
        """Connect to a service.

        The token is sent to this address only: redirects are not followed. With ``http://`` it
        travels unencrypted, so use ``https://`` beyond this machine.

        Args:
            token: bearer token; None if the service needs none.
            timeout: time limit of one call with all its retries, in seconds; up to a day.
            retries: how often a request is sent again after a lost connection, 429 or 503.

        Raises:
            StreetsegError: ``url`` is no URL of a service, the token has impossible characters, or
                a number is out of range.
        """
        if not 0 < timeout <= MAX_TIMEOUT_S:  # NaN neither
            raise StreetsegError(f"timeout={timeout}: give seconds above 0, up to {MAX_TIMEOUT_S}")
        if not (isinstance(retries, int) and retries >= 0):
            raise StreetsegError(f"retries={retries}: give a whole number, 0 for none")
        self.url = _checked_url(url)
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise StreetsegError("the token is empty or has characters that no token has")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = self._http_client(base_url=self.url, headers=headers, mounts=DIRECT)
        except (ImportError, ValueError) as error:  # SOCKS without socksio, another scheme
            raise StreetsegError(
                f"cannot use the proxy of the environment ({redact(one_line(error))}): name an "
                "http:// proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or list the host in "
                "NO_PROXY; for SOCKS, pip install 'httpx[socks]'"
            ) from None
        self._timeout = timeout
        self._retries = retries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _read(
        self, call: Request[Value], outcome: httpx.Response | httpx.RequestError
    ) -> Answer[Value]:
        if isinstance(outcome, httpx.Response):
            return call.answer(outcome, self.url)
        raise ServiceError(request.no_answer(outcome, self._timeout, self.url), url=self.url)


class Client(_BaseClient):
    """A synchronous, thread-safe client.

    Each method raises :class:`ServiceError` when the service refuses, fails or cannot be reached,
    and :class:`StreetsegError` when the image cannot be sent.
    """

    _http_client = httpx.Client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def segment(self, image: Image) -> Answer[np.ndarray]:
        """Category ids uint8[H, W] of an image, at its upright size."""
        return self._call(request.segment(image))

    def overlay(self, image: Image) -> Answer[np.ndarray]:
        """An image blended with the colours of its categories: RGB uint8[H, W, 3]."""
        return self._call(request.overlay(image))

    def confidence(self, image: Image) -> Answer[np.ndarray]:
        """The probability of each pixel's category, 0 to 1 in steps of 1/255: float32[H, W].

        The service's drift does not count the image: request its mask too, so that it does.
        """
        return self._call(request.confidence(image))

    def describe(self, image: Image) -> Answer[dict[str, Any]]:
        """The size of an image, the fraction of each class in it (0 to 1), and the model."""
        return self._call(request.describe(image))

    def segment_batch(self, images: Sequence[Image]) -> Answer[list[np.ndarray | ServiceError]]:
        """Category ids of several images in one request; an unusable image has its error."""
        return self._call(request.segment_batch(images))

    def model(self) -> Answer[dict[str, Any]]:
        """The model that answers: name, version, run, data version, metrics and label space."""
        return self._call(request.MODEL)

    def drift(self) -> Answer[dict[str, Any]]:
        """How recent images differ from those that the model was evaluated on."""
        return self._call(request.DRIFT)

    def folder(self, source: str | Path, destination: str | Path, parallel: int = 4) -> Folder:
        """Segment all PNG, JPEG and WebP images in a folder and its subfolders.

        ``PATH_mask.png`` is the mask of each image: category ids, with the categories' colours as
        palette. Hidden files and images that have a mask are skipped, so the same call resumes one
        that was stopped. Unusable images are reported and do not stop the call.

        Args:
            destination: folder for the masks, outside the source.
            parallel: number of concurrent requests, 1 to 100.

        Raises:
            StoppedError: interrupted by Ctrl-C; the same call resumes.
            StreetsegError: no images, overlapping folders, ``parallel`` is out of range, or a mask
                cannot be written.
            ServiceError: the service cannot be reached, needs a token, or stays overloaded.
        """
        return segment_folder(self._call, source, destination, parallel)

    def _call(self, call: Request[Value]) -> Answer[Value]:
        policy = RetryPolicy(self._timeout, self._retries)
        while True:
            try:
                outcome = self._http.request(
                    call.method, call.route, files=call.files, timeout=policy.seconds_left
                )
            except httpx.RequestError as error:
                outcome = error
            if (pause := policy.pause_after(outcome)) is None:
                return self._read(call, outcome)
            time.sleep(pause)


class AsyncClient(_BaseClient):
    """The same methods for ``async`` code; many calls may run at once."""

    _http_client = httpx.AsyncClient

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def segment(self, image: Image) -> Answer[np.ndarray]:
        """As :meth:`Client.segment`."""
        return await self._call(request.segment(image))

    async def overlay(self, image: Image) -> Answer[np.ndarray]:
        """As :meth:`Client.overlay`."""
        return await self._call(request.overlay(image))

    async def confidence(self, image: Image) -> Answer[np.ndarray]:
        """As :meth:`Client.confidence`."""
        return await self._call(request.confidence(image))

    async def describe(self, image: Image) -> Answer[dict[str, Any]]:
        """As :meth:`Client.describe`."""
        return await self._call(request.describe(image))

    async def segment_batch(
        self, images: Sequence[Image]
    ) -> Answer[list[np.ndarray | ServiceError]]:
        """As :meth:`Client.segment_batch`."""
        return await self._call(request.segment_batch(images))

    async def model(self) -> Answer[dict[str, Any]]:
        """As :meth:`Client.model`."""
        return await self._call(request.MODEL)

    async def drift(self) -> Answer[dict[str, Any]]:
        """As :meth:`Client.drift`."""
        return await self._call(request.DRIFT)

    async def _call(self, call: Request[Value]) -> Answer[Value]:
        policy = RetryPolicy(self._timeout, self._retries)
        while True:
            try:
                outcome = await self._http.request(
                    call.method, call.route, files=call.files, timeout=policy.seconds_left
                )
            except httpx.RequestError as error:
                outcome = error
            if (pause := policy.pause_after(outcome)) is None:
                return self._read(call, outcome)
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
