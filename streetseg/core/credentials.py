"""Passwords in URIs: taken from the environment, never stored in settings or shown in messages."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, urlsplit

USERINFO = re.compile(r"://(?!/)[^\s/]*(:\S*)?@")
"""``user:password@`` of a URI (RFC 3986, 3.2.1), up to the last @ of the word, since a password may
contain characters that should be escaped."""
SSH_USER = re.compile(r"ssh://[^\s/:@]+@[^\s@]*")
"""A user without a password, which is no secret for SSH."""


def redact(text: str) -> str:
    """The text with the user and password of each URI masked: ``http://***@host``."""
    return USERINFO.sub("://***@", text)


def holds_secret(address: str) -> bool:
    """Whether a URI contains a password, or a user name that may be a token."""
    return redact(address) != address and not SSH_USER.fullmatch(address)


def with_token(repository: str) -> str:
    """Add ``GIT_USERNAME`` and ``GIT_TOKEN`` from the environment to the URL of a git repository.

    Only HTTPS servers and servers on this machine get them. Other URLs are returned unchanged.
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
