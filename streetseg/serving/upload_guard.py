"""What an upload must be before anything is done with it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streetseg.config.params import Serve
from streetseg.serving.auth import may_ask
from streetseg.serving.metrics import metrics

OPEN = ("/", "/healthz", "/livez", "/readyz", "/webhook", "/docs", "/docs.json")
OPEN_FOLDERS = ("/page/", "/static_content/")
"""Paths without a token: the page, the API's description, probes; the webhook is signed."""
DRAINED = 5
"""How many times what is taken is read and forgotten: a browser shows no answer before its upload
has ended."""

MAX_TEXT_LENGTH = 32


@dataclass(frozen=True)
class Upload:
    """What a path takes in its form."""

    field: str
    """Of the images; ``images`` may hold several."""
    texts: tuple[str, ...] = ()
    """Other fields, which are short."""


class UploadMiddleware:
    """Answers requests that cannot be taken, before they reach the service.

    401 without a valid token; for uploads 503 while ``serve.max_concurrent_uploads`` are in hand,
    415 for another content type than multipart, 413 for too many bytes, 408 for one that does not
    arrive in time, 400 for a body that is not multipart, lacks the field or has others. What is
    passed on is written anew: the images, without the names and types that the sender gave them.
    """

    def __init__(
        self, app: ASGIApp, uploads: Mapping[str, Upload], settings: Serve, tokens: Sequence[str]
    ) -> None:
        """UploadMiddleware ``app``.

        Args:
            app: what is behind.
            uploads: what each path takes.
            settings: the limits.
            tokens: of which a request must carry one; none if everybody may ask.
        """
        self._app = app
        self._uploads = uploads
        self._settings = settings
        self._tokens = tokens
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers, path = Headers(scope=scope), scope["path"]
        is_open = path in OPEN or path.startswith(OPEN_FOLDERS)
        if not is_open and not may_ask(headers.get("authorization", ""), self._tokens):
            answer = error_response(401, "send a valid token: 'Authorization: Bearer TOKEN'")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return await answer(scope, receive, send)
        if path not in self._uploads or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        if self._in_hand >= self._settings.max_concurrent_uploads:
            answer = error_response(503, "too many images at once: try again in a second")
            return await answer(scope, receive, send)
        self._in_hand += 1
        metrics().in_hand.inc()
        try:
            await self._upload(scope, receive, send)
        finally:
            self._in_hand -= 1
            metrics().in_hand.dec()

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = self._uploads[scope["path"]]
        try:
            async with asyncio.timeout(self._settings.timeout):
                body = await self._read(Request(scope, receive))
            scope, receive = await self._rewritten(scope, receive, body, upload)
            del body
        except ClientDisconnect:  # BentoML waits for an answer, though nobody else does
            return await error_response(400, "the upload broke off")(scope, receive, send)
        except TimeoutError:
            seconds = f"{self._settings.timeout:g} seconds"
            answer = error_response(408, f"the upload did not arrive within {seconds}")
            return await answer(scope, receive, send)
        except HTTPException as error:
            told = error.detail.rstrip(".")
            if error.status_code != 413:
                told += f": send multipart/form-data with an image in the field '{upload.field}'"
            return await error_response(error.status_code, told)(scope, receive, send)
        await self._app(scope, receive, send)

    async def _read(self, request: Request) -> bytes:
        """The body, as far as it may be read."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise HTTPException(415, "this is no form")
        most = round(self._settings.max_megabytes * 1e6)
        body, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                body += chunk
            elif size > DRAINED * most:
                break
        if size > most:
            raise HTTPException(413, f"at most {most / 1e6:g} megabytes are taken")
        return bytes(body)

    async def _rewritten(
        self, scope: Scope, receive: Receive, body: bytes, upload: Upload
    ) -> tuple[Scope, Receive]:
        """The request with a form that holds what is taken and nothing else."""
        field = upload.field
        most = self._settings.max_images_per_request if field == "images" else 1
        request = Request(scope, _replay(body, receive))
        async with request.form(max_files=most + 1, max_fields=8) as form:
            if strange := set(form) - {field, *upload.texts}:
                raise HTTPException(400, f"there is a field {ascii(min(strange))[:40]}")
            files = [entry for entry in form.getlist(field) if isinstance(entry, UploadFile)]
            if not files or len(files) != len(form.getlist(field)):
                raise HTTPException(400, f"there is no file in the field '{field}'")
            if len(files) > most:
                raise HTTPException(413, f"at most {most} in the field '{field}' are taken at once")
            parts = [(f'{field}"; filename="picture', await file.read()) for file in files]
            for name in upload.texts:
                for text in form.getlist(name)[:1]:
                    if (
                        not isinstance(text, str)
                        or len(text) > MAX_TEXT_LENGTH
                        or not text.isascii()
                    ):
                        raise HTTPException(400, f"the field '{name}' cannot be read")
                    parts.append((name, text.encode()))
        boundary = uuid.uuid4().hex.encode()
        lines = b"".join(
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (boundary, name.encode(), data)
            for name, data in parts
        )
        whole = lines + b"--%b--\r\n" % boundary
        told = {
            b"content-type": b"multipart/form-data; boundary=" + boundary,
            b"content-length": str(len(whole)).encode(),
        }
        replaced = (*told, b"transfer-encoding")
        kept = [(name, value) for name, value in scope["headers"] if name not in replaced]
        return {**scope, "headers": [*kept, *told.items()]}, _replay(whole, receive)


def error_response(status: int, message: str) -> JSONResponse:
    """``{"error": message}``; a 503 says when to come back."""
    return JSONResponse({"error": message}, status, {"Retry-After": "1"} if status == 503 else None)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` first."""
    messages: list[Message] = [{"type": "http.request", "body": body}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
