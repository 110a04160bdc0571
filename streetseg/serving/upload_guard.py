"""Checks of requests before they reach their endpoint, and the reading of uploads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from streetseg.config.params import Serve
from streetseg.serving.auth import is_authorized
from streetseg.serving.metrics import metrics

PUBLIC_PATHS = ("/", "/healthz", "/livez", "/readyz", "/webhook", "/docs", "/docs.json")
PUBLIC_FOLDERS = ("/page/", "/static_content/")
"""Paths that need no token: the page, the API's description, probes; the webhook is signed."""
DRAIN_FACTOR = 5
"""A body over the limit is read and dropped up to this multiple of it: a browser shows no answer
before its upload has ended."""
MAX_FIELDS = 8
MAX_TEXT_LENGTH = 32


@dataclass(frozen=True)
class UploadFields:
    """The form fields that a route accepts."""

    images: str
    """Field of the image files; the field ``images`` may hold several."""
    texts: tuple[str, ...] = ()
    """Other fields, which are optional and short."""


@dataclass(frozen=True)
class Upload:
    """A form that was read and accepted; endpoints find it in ``request.state.upload``."""

    images: list[bytes]
    texts: dict[str, str]


class _MemoryParser(MultiPartParser):
    """Starlette's parser without temporary files: the size of a body is limited anyway."""

    spool_max_size = sys.maxsize


class UploadMiddleware:
    """Checks tokens, and reads uploads before they reach their endpoint.

    Errors: 401 without a valid token, 503 while ``serve.max_concurrent_uploads`` are in progress,
    415 for a content type other than multipart/form-data, 413 for too many bytes or images, 408 if
    the upload does not arrive in time, and 400 for a broken form, a missing image field, or fields
    that the route does not accept.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Mapping[str, UploadFields],
        settings: Serve,
        tokens: Sequence[str],
    ) -> None:
        """Take uploads on the paths of ``routes``. Without ``tokens`` everyone is allowed."""
        self._app = app
        self._routes = routes
        self._settings = settings
        self._tokens = tokens
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers, path = Headers(scope=scope), scope["path"]
        is_public = path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)
        if not is_public and not is_authorized(headers.get("authorization", ""), self._tokens):
            refusal = error_response(401, "send a valid token: 'Authorization: Bearer TOKEN'")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return await refusal(scope, receive, send)
        if path not in self._routes or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        if self._active >= self._settings.max_concurrent_uploads:
            busy = error_response(503, "too many images at once: try again in a second")
            return await busy(scope, receive, send)
        self._active += 1
        metrics().in_hand.inc()
        try:
            upload = await self._read_or_refuse(Request(scope, receive), self._routes[path])
            if isinstance(upload, Response):
                return await upload(scope, receive, send)
            scope.setdefault("state", {})["upload"] = upload
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
            metrics().in_hand.dec()

    async def _read_or_refuse(self, request: Request, fields: UploadFields) -> Upload | Response:
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await read_upload(request, fields, self._settings)
        except ClientDisconnect:  # an answer is expected although nobody reads it
            return error_response(400, "the upload broke off")
        except TimeoutError:
            seconds = f"{self._settings.timeout:g} seconds"
            return error_response(408, f"the upload did not arrive within {seconds}")
        except HTTPException as error:
            message = error.detail.rstrip(".")
            if error.status_code != 413:
                usage = f"send multipart/form-data with an image in the field '{fields.images}'"
                message = f"{message}: {usage}"
            return error_response(error.status_code, message)


async def read_upload(request: Request, fields: UploadFields, limits: Serve) -> Upload:
    """Parse a form while it arrives.

    Raises:
        HTTPException: the route does not accept it.
        ClientDisconnect: the client went away.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        raise HTTPException(415, "this is no form")
    max_images = limits.max_images_per_request if fields.images == "images" else 1
    body = _limited(request.stream(), round(limits.max_megabytes * 1e6))
    parser = _MemoryParser(request.headers, body, max_files=max_images + 1, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        async for _ in body:  # a browser shows no answer before its upload has ended
            pass
        raise HTTPException(400, error.message) from None
    try:
        return await _checked(form, fields, max_images)
    finally:
        await form.close()


async def _limited(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield a body within the limit; drain and refuse one that exceeds it."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size <= max_bytes:
            yield chunk
        elif size > DRAIN_FACTOR * max_bytes:
            break
    if size > max_bytes:
        raise HTTPException(413, f"at most {max_bytes / 1e6:g} megabytes are taken")


async def _checked(form: FormData, fields: UploadFields, max_images: int) -> Upload:
    if unknown := set(form) - {fields.images, *fields.texts}:
        raise HTTPException(400, f"there is a field {ascii(min(unknown))[:40]}")
    entries = form.getlist(fields.images)
    files = [entry for entry in entries if isinstance(entry, UploadFile)]
    if not files or len(files) != len(entries):
        raise HTTPException(400, f"there is no file in the field '{fields.images}'")
    if len(files) > max_images:
        message = f"at most {max_images} in the field '{fields.images}' are taken at once"
        raise HTTPException(413, message)
    texts = {}
    for name in fields.texts:
        for text in form.getlist(name)[:1]:
            if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH or not text.isascii():
                raise HTTPException(400, f"the field '{name}' cannot be read")
            texts[name] = text
    return Upload([await file.read() for file in files], texts)


def error_response(status: int, message: str) -> JSONResponse:
    """``{"error": message}``; a 503 says when to come back."""
    return JSONResponse({"error": message}, status, {"Retry-After": "1"} if status == 503 else None)
