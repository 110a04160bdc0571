"""When a cron line of Kubeflow's is due next: six fields, the first for the seconds."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from dateutil.rrule import DAILY, rrule

FIELDS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 6),
}
NAMES = {
    "month": [name.lower() for name in calendar.month_abbr],
    "day of week": ["sun", *(name.lower() for name in calendar.day_abbr[:6])],
}
ENTRY = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")
MAX_YEARS = 9
"""29 February is up to eight years away."""


def next_time(cron: str, now: datetime) -> datetime | None:
    """The first time after ``now`` at which a line is due, in the time zone of ``now``.

    As in Kubeflow, if both the day of the month and that of the week are restricted, either will
    do. None if it is never due, or not in such fields.
    """
    try:
        second, minute, hour, day, month, weekday = _parse(cron)
    except ValueError:
        return None
    naive = now.replace(tzinfo=None)
    common = {
        "dtstart": naive.replace(hour=0, minute=0, second=0, microsecond=0),
        "until": naive + timedelta(days=366 * MAX_YEARS),
        "bymonth": month,
        "byhour": hour,
        "byminute": minute,
        "bysecond": second,
    }
    by_day = {"bymonthday": day} if day else {}
    by_weekday = {"byweekday": [(each - 1) % 7 for each in weekday]} if weekday else {}
    rules = [by_day, by_weekday] if day and weekday else [by_day | by_weekday]
    times = [rrule(DAILY, **common, **rule).after(naive) for rule in rules]
    due = min((time for time in times if time), default=None)
    return due.replace(tzinfo=now.tzinfo or UTC) if due else None


def _parse(cron: str) -> list[list[int] | None]:
    """The values of each field; None for a day of the month or week that is not restricted."""
    texts = cron.lower().split()
    if len(texts) != len(FIELDS):
        raise ValueError(cron)
    parsed: list[list[int] | None] = []
    for text, (name, bounds) in zip(texts, FIELDS.items(), strict=True):
        free = name.startswith("day") and text in ("*", "?")
        entries = [] if free else [_values(name, part, *bounds) for part in text.split(",")]
        parsed.append(None if free else sorted(set().union(*entries)))
    return parsed


def _values(field: str, entry: str, low: int, high: int) -> range:
    match = ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(entry)
    first, last, step = match.groups()
    if first in "*?":
        start, end = low, high
    else:
        start = _number(field, first)
        end = _number(field, last) if last else high if step else start
    if not low <= start <= end <= high or step == "0":
        raise ValueError(entry)
    return range(start, end + 1, int(step or 1))


def _number(field: str, text: str) -> int:
    names = NAMES.get(field, [])
    return names.index(text) if text in names else int(text)
