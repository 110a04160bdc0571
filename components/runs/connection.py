"""The connection to a Kubeflow Pipelines endpoint: token, time limits and one-line errors."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3

from streetseg.core.errors import StreetsegError, one_line

TIMEOUT_S = 30
RETRIES = urllib3.Retry(
    connect=2, read=0, redirect=0, status=0, other=0, backoff_factor=0.2, raise_on_redirect=False
)
"""Only a request that has not reached the endpoint is sent again."""
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
"""Where Kubernetes mounts a pod's token for Kubeflow Pipelines, as in ``kfp.client``, which cannot
be imported where components run."""
TOKEN_NEEDED = "a token is needed: put one in KFP_TOKEN, or in a file and name it by --token-file"


class UnreachableError(StreetsegError):
    """The endpoint does not answer, but may in a moment."""


class RefusedError(StreetsegError):
    """The endpoint answers with an error.

    Attributes:
        status: of HTTP; 0 if it is not Kubeflow Pipelines that answers.
    """

    def __init__(self, status: int, message: str) -> None:
        """An answer with this status; the message is for the user."""
        super().__init__(message)
        self.status = status


class Connection(kfp_server_api.ApiClient):
    """The generated client with a time limit and one-line errors, which follows no redirect."""

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Send a request.

        Raises:
            UnreachableError: no answer.
            RefusedError: an error, a redirect, or a web page.
        """
        host = self.configuration.host
        try:
            answer = super().request(method, url, **{**options, "_request_timeout": TIMEOUT_S})
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(host, getattr(error, "reason", None) or error) from None
        except kfp_server_api.ApiException as error:
            raise _refusal(host, error) from None
        # The generated client decodes strictly; a log may hold half a character.
        answer.data = answer.data.decode(errors="replace").encode()
        if "html" in answer.urllib3_response.headers.get("Content-Type", ""):
            raise RefusedError(
                answer.status, f"{host} answers with a web page, no doubt to log in: {TOKEN_NEEDED}"
            )
        return answer

    def get_text(self, path: str, **path_params: str) -> str:
        """The body of a route that the generated client does not know."""
        self.call_api(
            path, "GET", path_params=path_params, header_params={}, auth_settings=["Bearer"]
        )
        return self.last_response.data


def connect(url: str, token_file: Path | None) -> Connection:
    """A connection; nothing is sent yet.

    The token is that of ``token_file``, else of ``KFP_TOKEN``, else the one that Kubernetes mounts
    for Kubeflow Pipelines into a pod. A file is read again for each request, because such tokens
    are renewed. ``SSL_CERT_FILE`` names the certificates to trust in place of the usual ones.

    Raises:
        StreetsegError: not a URL, or no token in the file.
    """
    if not url.startswith(("http://", "https://")):
        raise StreetsegError(f"endpoint {url}: write it with http:// or https://")

    def set_token(configuration: kfp_server_api.Configuration) -> None:
        if token := _read_token(token_file):
            configuration.api_key["authorization"] = token

    configuration = kfp_server_api.Configuration(host=url)
    configuration.retries = RETRIES
    configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE")
    configuration.api_key_prefix["authorization"] = "Bearer"
    configuration.refresh_api_key_hook = set_token
    set_token(configuration)
    return Connection(configuration)


def _read_token(file: Path | None) -> str | None:
    """The token, or None if nothing names one."""
    token, origin = os.environ.get("KFP_TOKEN", "").strip(), "KFP_TOKEN"
    if file is None and not token:
        file = Path(os.environ.get(TOKEN_FILE_VARIABLE) or TOKEN_FILE)
        if not file.exists():
            return None
    if file:
        try:
            token, origin = file.read_text().strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text"
            raise StreetsegError(f"cannot read the token in {file}: {reason}") from None
    if not re.fullmatch(r"[!-~]+", token):
        raise StreetsegError(f"{origin} holds no token: it must be one word and nothing else")
    return token


def _no_answer(host: str, error: Exception) -> StreetsegError:
    if isinstance(error, urllib3.exceptions.SSLError):
        return _untrusted(host, str(error))
    timed_out = isinstance(error, urllib3.exceptions.TimeoutError)
    if timed_out and not isinstance(error, urllib3.exceptions.NewConnectionError):
        reason = f"no answer within {TIMEOUT_S} s"
    else:
        reason = str(error).rpartition(": ")[2].strip()
    return UnreachableError(
        f"cannot reach {host}: {reason}: check --endpoint or KFP_ENDPOINT, and the port-forward or "
        "network on the way"
    )


def _untrusted(host: str, reason: str) -> StreetsegError:
    if "WRONG_VERSION_NUMBER" in reason or "record layer" in reason:
        return StreetsegError(f"{host} does not speak TLS: write the endpoint with http://")
    reason = re.sub(r".*\] |\(_ssl.*|\n", "", reason, flags=re.DOTALL).strip(" '\")")
    return StreetsegError(
        f"cannot trust {host}: {reason}: name the certificate of its authority by SSL_CERT_FILE"
    )


def _refusal(host: str, error: kfp_server_api.ApiException) -> StreetsegError:
    status, message = error.status, _message(error.body)
    if status == 0:
        return _untrusted(host, str(error.reason))
    if 300 <= status < 400:
        target = str((error.headers or {}).get("Location", "")).partition("?")[0]
        return RefusedError(
            status,
            f"{host} redirects to {target or 'somewhere else'}: if that is a login page, "
            f"{TOKEN_NEEDED}; if it is the same host, make it the endpoint",
        )
    if status == 401:
        return RefusedError(status, f"{host} does not know who asks (401): {TOKEN_NEEDED}")
    if status == 403:
        return RefusedError(
            status,
            f"{host} does not allow this (403{f', {message}' if message else ''}): check "
            "--namespace, and that the token in KFP_TOKEN or --token-file is of someone who may "
            "use it",
        )
    if status in (429, 502, 503, 504):
        return UnreachableError(f"{host} is not ready ({status}): try again in a moment")
    if status == 404 and not message:
        return RefusedError(
            0, f"{host} has no Kubeflow Pipelines API v2 (404): check the path of the endpoint"
        )
    if status == 400 and "namespace" in message.lower():
        message += ": name a --namespace in a multi-user Kubeflow, and none in a single-user one"
    return RefusedError(status, f"{host} refuses ({status}){f': {message}' if message else ''}")


def _message(body: bytes | None) -> str:
    """The message of the API server in one line; empty for anything but its JSON."""
    try:
        tree = json.loads(body or b"")
        message = tree.get("message") or tree.get("error_message") or tree.get("error") or ""
    except (ValueError, AttributeError):
        return ""
    return one_line(message, 300)
