"""The requests that the service answers, and the readers of its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import numpy as np

from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, cannot_read, one_line
from streetseg.core.proxies import through_proxy
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError

Image = str | Path | bytes | np.ndarray
"""Path of an image, the bytes of its file, or RGB uint8[H, W, 3]."""
Value = TypeVar("Value")

VERSION_HEADER = "X-Model-Version"


class ServiceError(StreetsegError):
    """The service refused, failed or did not answer.

    ``status`` is the HTTP status, None without an answer; ``reason`` is the service's own message.
    """

    def __init__(self, reason: str, status: int | None = None, url: str = "") -> None:
        """Describe the answer of the service at ``url``, or the lack of one."""
        answered = f"answers {status}: " if status else ""
        super().__init__(f"{url} {answered}{reason}".strip())
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Answer(Generic[Value]):
    """The answer of the service."""

    value: Value
    model_version: str
    """The version that made it; empty if the service did not say."""


@dataclass(frozen=True)
class Request(Generic[Value]):
    """A route, the images to send, and a reader for the body of the answer."""

    method: str
    route: str
    read: Callable[[bytes], Value]
    files: Sequence[tuple[str, bytes]] = ()
    """(form field, content) of each image."""

    def answer(self, response: httpx.Response, url: str) -> Answer[Value]:
        """Read a response; raises ServiceError if it is a refusal, or no answer to this request."""
        if response.status_code != httpx.codes.OK:
            raise ServiceError(_refusal(response), response.status_code, url)
        try:
            value = self.read(response.content)
        except (BadImageError, ValueError, KeyError, TypeError):
            raise ServiceError(
                f"gives no proper answer to {self.route}: is that a streetseg service?", url=url
            ) from None
        return Answer(value, response.headers.get(VERSION_HEADER, ""))


def segment(image: Image) -> Request[np.ndarray]:
    """Category ids uint8[H, W]."""
    return Request("POST", "/segment", decode_ids, [("image", _content(image))])


def mask_file(image: Image) -> Request[bytes]:
    """The mask as the PNG file that the service sends."""
    return Request("POST", "/segment", _checked_mask, [("image", _content(image))])


def overlay(image: Image) -> Request[np.ndarray]:
    """RGB uint8[H, W, 3]."""
    return Request("POST", "/overlay", decode_image, [("image", _content(image))])


def confidence(image: Image) -> Request[np.ndarray]:
    """Probability float32[H, W], 0 to 1."""
    return Request("POST", "/confidence", _read_confidence, [("image", _content(image))])


def describe(image: Image) -> Request[dict[str, Any]]:
    """The size of the image, and the fraction of its pixels in each class."""
    return Request("POST", "/describe", _read_json, [("image", _content(image))])


def segment_batch(images: Sequence[Image]) -> Request[list[np.ndarray | ServiceError]]:
    """Category ids, or an error, for each image."""
    if not images:
        raise StreetsegError("there are no images to send")
    files = [("images", _content(image)) for image in images]

    def read(body: bytes) -> list[np.ndarray | ServiceError]:
        results = _read_json(body)["results"]
        if len(results) != len(files):
            raise ValueError("as many answers as images are expected")
        return [_read_result(result) for result in results]

    return Request("POST", "/segment_batch", read, files)


def no_answer(error: httpx.RequestError, timeout: float, url: str) -> str:
    """Why there is no response, and what to do."""
    if isinstance(error, httpx.TimeoutException):
        return f"did not answer within {timeout:g} s: try a longer timeout"
    if proxy := through_proxy(url):
        advice = "check HTTP_PROXY and HTTPS_PROXY, or list the host in NO_PROXY"
        return f"cannot be reached{proxy} ({redact(one_line(error))}): {advice}"
    if isinstance(error, httpx.ConnectError):
        advice = "start the service with 'make serve', or name another URL"
        return f"cannot be reached ({one_line(error)}): {advice}"
    return f"broke off ({one_line(error) or type(error).__name__}): try again"


def _content(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise StreetsegError(
                f"an image is uint8[H, W, 3] in RGB order, not {image.dtype}{list(image.shape)}"
            )
        return encode_png(image)
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise cannot_read(image, error) from None


def _checked_mask(body: bytes) -> bytes:
    decode_ids(body)
    return body


def _read_confidence(body: bytes) -> np.ndarray:
    return decode_ids(body).astype(np.float32) / 255


def _read_json(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    if not isinstance(value, dict):
        raise TypeError("an object is expected")
    return value


MODEL = Request("GET", "/model", _read_json)
DRIFT = Request("GET", "/drift", _read_json)


def _read_result(result: dict[str, Any]) -> np.ndarray | ServiceError:
    if "error" in result:
        return ServiceError(_printable(result["error"]))
    return decode_ids(base64.b64decode(result["mask"], validate=True))


def _refusal(response: httpx.Response) -> str:
    if response.has_redirect_location:
        location = _printable(response.headers["Location"])
        return f"it redirects to {location}, where nothing is sent: name that URL if you trust it"
    try:
        return _printable(_read_json(response.content)["error"])
    except (ValueError, KeyError, TypeError):
        return _printable(response.reason_phrase) or "no reason was given"


def _printable(text: object) -> str:
    """Untrusted text as one short line without control characters."""
    return one_line("".join(char if char.isprintable() else " " for char in str(text)))
