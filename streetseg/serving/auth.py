"""Who may ask: bearer tokens (RFC 6750), and the signature of MLflow's webhooks."""

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
WEBHOOK_AGE = 300
"""Seconds after which a signed webhook is taken for a repetition."""


def bearer_tokens(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The tokens that may ask; none means that everybody may.

    They are in ``STREETSEG_TOKENS``, separated by commas, or one a line in the file that
    ``STREETSEG_TOKENS_FILE`` names.

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


def may_ask(authorization: str, tokens: Sequence[str]) -> bool:
    """Whether an ``Authorization`` header carries one of the tokens, or none is needed."""
    scheme, _, given = authorization.partition(" ")
    known = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    return not tokens or (scheme.lower() == "bearer" and any(known))


def is_signed(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Whether MLflow signed a webhook with the secret within the last five minutes.

    The signature is HMAC-SHA256 of ``delivery.timestamp.body`` (MLflow's documentation of webhooks,
    "HMAC signature verification").
    """
    delivery = headers.get("X-MLflow-Delivery-Id", "")
    sent = headers.get("X-MLflow-Timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", sent) or abs(time.time() - int(sent)) > WEBHOOK_AGE:
        return False
    signed = f"{delivery}.{sent}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    return hmac.compare_digest(expected.encode(), headers.get("X-MLflow-Signature", "").encode())
