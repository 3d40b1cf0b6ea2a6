"""What Cohere's endpoints share: how errors are worded, the headers about limits, how usage counts.

From the types of the cohere SDK 7.3 (`errors`, `types/usage`, `types/api_meta`).
"""

from __future__ import annotations

import re
from typing import Any

from ..values.errors import CallError, QuotaExhaustedError, TooLongError
from ..values.wire import HttpResponse, LimitHint
from .body import count, details
from .failures import Fault, sentence
from .failures import request_id as common_request_id
from .headers import LimitHeaders, duration, limit_hints

# Errors have no codes, only words.
_TOO_LONG = re.compile(r"(?i)too many tokens|exceeds? (?:the )?(?:max|context)")
_OUT_OF_QUOTA = re.compile(r"(?i)calls / month|per month|billing|payment")
_HEADERS = (
    LimitHeaders(
        "requests",
        "x-trial-endpoint-call-limit",
        "x-trial-endpoint-call-remaining",
        "x-trial-endpoint-call-reset",
    ),
)
"""Trial keys only, and without a time of reset."""


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `x-trial-endpoint-call-*` headers, which count calls in a minute."""
    return limit_hints(response, _HEADERS, duration)


def request_id(response: HttpResponse) -> str | None:
    """The `x-debug-trace-id`."""
    return response.headers.get("x-debug-trace-id") or common_request_id(response)


def units(counts: Any, name: str) -> int:
    """One of `counts`, which the vendor's types give as floats."""
    value = details(counts, name)
    return count(int(value) if type(value) is float and value.is_integer() else value)


def fault(body: Any, status: int) -> Fault:
    """What `body` says went wrong; see `failures.read_answer`."""
    message = sentence(details(body, "message") or details(body, "error"))
    kind: type[CallError] | None = None
    if status == 429 and _OUT_OF_QUOTA.search(message):
        kind = QuotaExhaustedError
    elif status in (400, 422) and _TOO_LONG.search(message):
        kind = TooLongError
    return Fault(message, (), kind)
