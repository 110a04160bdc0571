"""Which frames are of one drive, and so alike."""

from __future__ import annotations

import re

NO_CITY = "all"
"""The city of all frames of a source that names none."""

SEQUENCE = re.compile(r"(.+?_\d+)_\d+(_.+)?")
"""Names as those of Cityscapes: city, sequence, frame, and perhaps the variant of an image."""


def drive_of(name: str, city: str | None = None) -> str:
    """The drive of a frame: the city and sequence of its name, else its city; empty if unknown.

    ``city`` is None if the cities of the source are no places (``places: false``).
    """
    if sequence := SEQUENCE.fullmatch(name):
        return sequence[1]
    return city if city and city != NO_CITY else ""
