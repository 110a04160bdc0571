"""Posting JSON to a URL that nobody may read in a log."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

TRIES = 3
PAUSE_S = 2.0
"""Seconds before the second try; twice as long before the third."""
TIMEOUT_S = 10


def post(url: str, content: Mapping[str, object]) -> str:
    """Post JSON, in up to three tries.

    Args:
        url: with http:// or https://; whoever has it may post, so it is a secret.
        content: what to post.

    Returns:
        What went wrong, without the URL; empty if it was taken.
    """
    if not url.startswith(("http://", "https://")):
        return "the webhook's secret has no key 'url' with http:// or https://"
    problem = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        problem = _post(url, json.dumps(content).encode())
        if not problem:
            break
    return problem


def _post(url: str, body: bytes) -> str:
    try:
        request = urllib.request.Request(
            url, body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"the webhook answers with status {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:  # whose text may hold the URL
        reason = getattr(error, "reason", error)
        said = reason.strerror if isinstance(reason, OSError) else None
        return f"the webhook does not answer: {said or type(reason).__name__}"
