"""What answers' headers say: how long to wait, and how much of the account's limits is left."""

from __future__ import annotations

import calendar
import email.utils
import functools
import math
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from ..values.wire import HttpResponse, LimitHint

_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_STEP = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|[dhms])")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_LONGEST = 1e9
"""Seconds; keeps infinity out of everybody's arithmetic."""
_LONGEST_TEXT = 64
"""Characters of a duration; keeps what is remembered of them small."""


class LimitHeaders(NamedTuple):
    """The names of the three headers that speak of the limit `name`."""

    name: str
    limit: str
    remaining: str
    reset: str


def limit_hints(
    response: HttpResponse,
    table: Iterable[LimitHeaders],
    reset_after: Callable[[str, HttpResponse], float | None],
) -> tuple[LimitHint, ...]:
    """A hint for every limit of `table` that the headers mention in a readable way."""
    hints = []
    for row in table:
        limit, remaining = response.headers.get(row.limit), response.headers.get(row.remaining)
        if limit is None and remaining is None:
            continue
        reset = response.headers.get(row.reset)
        hint = LimitHint(
            row.name,
            # A limit of 0 means "not limited here" at some gateways, and would stop a lane.
            (number(limit) or None) if limit is not None else None,
            number(remaining) if remaining is not None else None,
            reset_after(reset, response) if reset is not None else None,
        )
        if hint.limit is not None or hint.remaining is not None:
            hints.append(hint)
    return tuple(hints)


def retry_after(response: HttpResponse) -> float | None:
    """Seconds the server asks to wait, or None.

    `retry-after-ms` first, then `retry-after` as seconds or as a date, which is read against the
    server's own clock.
    """
    milliseconds = number(response.headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = response.headers.get("retry-after")
    if value is None:
        return None
    seconds = number(value)
    return seconds if seconds is not None else _until(_http_date(value), response)


def number(text: str) -> float | None:
    """The number at the head of a header ("100", "100, 100;w=60"), or None."""
    if text.isdecimal() and text.isascii():
        return min(float(text), _LONGEST)
    head = text.partition(",")[0].strip()
    return min(float(head), _LONGEST) if _PLAIN.fullmatch(head) else None


def duration(text: str, response: HttpResponse | None = None) -> float | None:
    """Seconds of a duration such as "12ms", "1s", "6m0s" or "0.5" (seconds), or None."""
    return _duration(text) if len(text) <= _LONGEST_TEXT else None


@functools.lru_cache(maxsize=1_024)  # the same few come back all the time, twice in each answer
def _duration(text: str) -> float | None:
    plain = number(text)
    if plain is not None:
        return plain
    text = text.strip()
    total, end = 0.0, 0
    for step in _STEP.finditer(text):
        if step.start() != end:
            return None
        total += float(step[1]) * _UNITS[step[2]]
        end = step.end()
    return min(total, _LONGEST) if 0 < end == len(text) else None


def until_rfc3339(text: str, response: HttpResponse) -> float | None:
    """Seconds from when the answer was made to the RFC 3339 instant `text`, or None."""
    return _until(instant(text), response)


def instant(text: str) -> float | None:
    """Seconds since the epoch of the RFC 3339 instant `text`, or None."""
    match = _RFC3339.fullmatch(text.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
        return whole.timestamp() + float(fraction or 0)
    except (ValueError, OverflowError):
        return None


def _until(instant: float | None, response: HttpResponse) -> float | None:
    """Seconds from the server's now to `instant`, not below 0.

    The `date` header is preferred to our own clock, which may be minutes off.
    """
    date = response.headers.get("date")
    now = (_http_date(date) if date is not None else None) or response.received_at
    if instant is None or not now or not math.isfinite(now):
        return None
    return min(max(0.0, instant - now), _LONGEST)


def _http_date(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date; one without a zone is UTC."""
    try:
        parsed = email.utils.parsedate_tz(text)
        if parsed is None:
            return None
        return float(calendar.timegm(parsed[:9]) - (parsed[9] or 0))
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        # parsedate_tz is written for mail and trips over some hostile dates.
        return None
