"""Passwords in addresses: neither kept in settings nor shown in messages."""

from __future__ import annotations

import re

USERINFO = re.compile(r"://(?!/)\S*@")
"""``user:password@`` of a URI (RFC 3986, 3.2.1), up to the last @ of the word: a password may hold
what ought to be escaped."""


def masked(text: str) -> str:
    """A text whose URIs tell neither user nor password: ``http://***@host``."""
    return USERINFO.sub("://***@", text)
