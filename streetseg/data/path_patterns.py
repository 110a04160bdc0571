"""Patterns of paths with placeholders, such as ``leftImg8bit/{split}/{city}/{name}.png``."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from streetseg.core.errors import StreetsegError
from streetseg.images.paths import is_hidden

PLACEHOLDER = re.compile(r"{(\w+)}")
PLACEHOLDERS = {
    "split": "[^/]+",
    "condition": "[^/]+",
    "city": "[^/]+?",
    "name": "[^/]+",
    "number": "[^/]+",
    "variant": "[^/]+",
}
"""What each matches in a path."""

Values = tuple[tuple[str, str], ...]
"""The values of a pattern's placeholders in a path, sorted by placeholder."""


def match(root: Path, pattern: str) -> dict[Values, Path]:
    """The files below ``root`` that match a pattern, by the values of its placeholders.

    Hidden ones are left out.

    Raises:
        StreetsegError: the name of a file is not printable UTF-8.
    """
    expression, wildcard = "", ""
    for index, text in enumerate(PLACEHOLDER.split(pattern)):
        if index % 2 == 0:
            expression, wildcard = expression + re.escape(text), wildcard + glob.escape(text)
        else:
            group = f"(?P<{text}>{PLACEHOLDERS[text]})"
            expression += f"(?P={text})" if group in expression else group
            wildcard += "*"
    compiled = re.compile(expression)
    matches = {}
    for path in root.glob(wildcard):
        relative = path.relative_to(root)
        if not str(relative).isprintable():
            raise StreetsegError(f"{str(path)!a}: the name is not printable UTF-8: rename the file")
        name = relative.as_posix()
        if not is_hidden(name) and (found := compiled.fullmatch(name)):
            matches[tuple(sorted(found.groupdict().items()))] = path
    return matches


def fill(root: Path, pattern: str, values: Values) -> Path:
    """The path below ``root`` that a pattern gives with these values."""
    placeholders = dict(values)
    return root / PLACEHOLDER.sub(lambda found: placeholders[found[1]], pattern)
