"""Authentication: bearer tokens (RFC 6750), and the signature of MLflow's webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streetseg.core.errors import StreetsegError

TOKENS, TOKENS_FILE = "STREETSEG_TOKENS", "STREETSEG_TOKENS_FILE"
WEBHOOK_SECRET = "STREETSEG_WEBHOOK_SECRET"
MAX_WEBHOOK_AGE_S = 300
"""An older webhook is taken for a replay."""


def bearer_tokens(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The tokens that are accepted; an empty list means that no token is needed.

    They are in ``STREETSEG_TOKENS``, separated by commas, or in a file, one a line, whose path is
    ``STREETSEG_TOKENS_FILE``.

    Raises:
        StreetsegError: the file cannot be read, or no token is usable.
    """
    if TOKENS_FILE in environment:
        path = environment[TOKENS_FILE]
        try:
            tokens = Path(path).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise StreetsegError(f"{TOKENS_FILE}='{path}' cannot be read: {error}") from None
    elif TOKENS in environment:
        tokens = [token.strip() for token in environment[TOKENS].split(",") if token.strip()]
    else:
        return []
    if not tokens or not all(token.isascii() and token.isprintable() for token in tokens):
        raise StreetsegError(
            f"{TOKENS_FILE if TOKENS_FILE in environment else TOKENS} holds no usable token: put "
            "what 'openssl rand -hex 32' prints there, or unset it to let everybody ask"
        )
    return tokens


def is_authorized(authorization: str, tokens: Sequence[str]) -> bool:
    """Whether an ``Authorization`` header carries one of the tokens, or none is required."""
    scheme, _, token = authorization.partition(" ")
    matches = [hmac.compare_digest(token.strip().encode(), valid.encode()) for valid in tokens]
    return not tokens or (scheme.lower() == "bearer" and any(matches))


def is_signed(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Whether MLflow signed a webhook with the secret during the last five minutes.

    The signature is HMAC-SHA256 of ``delivery.timestamp.body`` (MLflow documentation, Webhooks,
    "HMAC signature verification").
    """
    delivery = headers.get("X-MLflow-Delivery-Id", "")
    timestamp = headers.get("X-MLflow-Timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return False
    if abs(time.time() - int(timestamp)) > MAX_WEBHOOK_AGE_S:
        return False
    signed = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    return hmac.compare_digest(expected.encode(), headers.get("X-MLflow-Signature", "").encode())
