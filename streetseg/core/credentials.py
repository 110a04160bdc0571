"""Passwords in addresses: from the environment, neither kept in settings nor shown in messages."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, urlsplit

USERINFO = re.compile(r"://(?!/)[^\s/]*(:\S*)?@")
"""``user:password@`` of a URI (RFC 3986, 3.2.1), up to the last @ of the word: a password may hold
what ought to be escaped."""
SSH_USER = re.compile(r"ssh://[^\s/:@]+@[^\s@]*")
"""A user without a password, which for SSH is no secret."""


def redact(text: str) -> str:
    """A text whose URIs tell neither user nor password: ``http://***@host``."""
    return USERINFO.sub("://***@", text)


def holds_secret(address: str) -> bool:
    """Whether a URI has a password, or a user that may be a token."""
    return redact(address) != address and not SSH_USER.fullmatch(address)


def with_token(repository: str) -> str:
    """The URL of a git repository with ``GIT_USERNAME`` and ``GIT_TOKEN``, if there is a token.

    It goes to HTTPS alone, and to servers on this machine; other addresses stay as they are.
    """
    token, address = os.environ.get("GIT_TOKEN"), urlsplit(repository)
    trusted = address.scheme == "https" or (
        address.scheme == "http" and address.hostname in ("127.0.0.1", "localhost")
    )
    if not token or not trusted or "@" in address.netloc:
        return repository
    user = quote(os.environ.get("GIT_USERNAME", "git"), safe="")
    netloc = f"{user}:{quote(token, safe='')}@{address.netloc}"
    return address._replace(netloc=netloc).geturl()
