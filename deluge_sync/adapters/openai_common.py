"""What OpenAI's wire formats share: how errors are worded, and the headers about limits.

From the openai SDK 3.54 (`_exceptions.py`, `types/responses/response_error.py`) and OpenAI's
published error codes.
"""

from __future__ import annotations

import re
from typing import Any

from ..values.errors import BadRequestError, CallError, RefusalError, TooLongError
from ..values.wire import HttpResponse, LimitHint
from .body import details
from .failures import Fault, sentence, words
from .headers import LimitHeaders, duration, limit_hints

_TOO_LONG = re.compile(
    r"(?i)maximum (?:context|model) length|context (?:length|window|size)|prompt is too long"
    r"|reduce the length of the (?:messages|prompt|input)"
)
_LIMIT_AND_REQUESTED = re.compile(
    r"\bLimit:? ([0-9]{1,15}), (?:Used:? [0-9]+, )?Requested:? ([0-9]{1,15})"
)
_FLAGGED = re.compile(r"(?i)usage polic|flagged")
_HEADERS = tuple(
    LimitHeaders(name, *(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset")))
    for name in ("requests", "tokens")
)
_CALLERS_FAULT = frozenset(
    {
        "data_residency_mismatch",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)
"""Codes of a failed run that would fail again; those of a policy are told by their word."""


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `x-ratelimit-*` headers."""
    return limit_hints(response, _HEADERS, duration)


def fault(body: Any, status: int) -> Fault:
    """What went wrong, out of `{"error": {...}}`, `{"error": "text"}` or an error event."""
    error = details(body, "error") or body
    if type(error) is not dict:
        return Fault(sentence(error))
    message = sentence(error.get("message")) or sentence(error.get("detail"))
    kind = None if error.get("type") == "error" else error.get("type")  # an event's own type
    codes = words(error.get("code"), kind)
    return Fault(message, codes, _kind(message, codes, status))


def _kind(message: str, codes: tuple[str, ...], status: int) -> type[CallError] | None:
    if (status <= 400 and _TOO_LONG.search(message)) or _never_fits(message):
        return TooLongError
    code = codes[0] if codes else ""
    if "policy" in code or (code == "invalid_prompt" and _FLAGGED.search(message)):
        return RefusalError
    return BadRequestError if code in _CALLERS_FAULT or code == "invalid_prompt" else None


def _never_fits(message: str) -> bool:
    """Whether one request asks for more tokens than a whole minute allows (a 429 for ever)."""
    match = _LIMIT_AND_REQUESTED.search(message)
    return match is not None and int(match[2]) > int(match[1])
