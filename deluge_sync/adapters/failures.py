"""From what a server says went wrong to the error that knows whether to try again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from ..values.errors import (
    AuthError,
    BadRequestError,
    CallError,
    ConnectionFailedError,
    DecodeError,
    NotFoundError,
    QuotaExhaustedError,
    RefusalError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from ..values.model import Model
from ..values.wire import HttpResponse
from .body import MalformedError, as_object, load
from .headers import retry_after

Result = TypeVar("Result")

_BY_STATUS: dict[int, type[CallError]] = {
    401: AuthError,
    402: QuotaExhaustedError,
    403: AuthError,
    404: NotFoundError,
    408: TransientError,
    409: TransientError,
    413: TooLongError,
    424: TransientError,  # Bedrock: the model failed, not the request
    429: ThrottledError,
}
_NEVER_RETRIED = frozenset({400, 401, 402, 403, 404, 413, 422})

_BY_CODE: dict[str, type[CallError]] = {
    # OpenAI (the first five are the old and the new names of one family)
    "insufficient_quota": QuotaExhaustedError,
    "credit_balance_exhausted": QuotaExhaustedError,
    "organization_spend_limit_exceeded": QuotaExhaustedError,
    "project_spend_limit_exceeded": QuotaExhaustedError,
    "organization_usage_limit_exceeded": QuotaExhaustedError,
    "billing_hard_limit_reached": QuotaExhaustedError,
    "billing_not_active": QuotaExhaustedError,
    # Anthropic
    "billing_error": QuotaExhaustedError,
    "enforced_spend_limit_reached": QuotaExhaustedError,
    "contract_spend_limit_reached": QuotaExhaustedError,
    # Moonshot, Z.ai (both send them with status 429)
    "exceeded_current_quota_error": QuotaExhaustedError,
    "1113": QuotaExhaustedError,
    # OpenAI and its like, llama.cpp, Anthropic
    "context_length_exceeded": TooLongError,
    "string_above_max_length": TooLongError,
    "exceed_context_size_error": TooLongError,
    "request_too_large": TooLongError,
    "max_tokens_per_request": TooLongError,
    # Azure's filter before the model answers 400
    "content_filter": RefusalError,
    "content_policy_violation": RefusalError,
    # Gemini sends these with status 400
    "API_KEY_INVALID": AuthError,
    "API_KEY_EXPIRED": AuthError,
}

_STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "conflict_error": 409,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "slow_down": 429,
    # Bedrock, within a stream
    "accessDeniedException": 403,
    "throttlingException": 429,
    "validationException": 400,
}
"""What an error inside an HTTP 200 body stands for; an unknown one is the server's fault."""

_KEYS = re.compile(
    r"""(?ix)
      \b(?:sk|pk|rk|gsk|csk|xai|pplx|fw|tgp|hf|nvapi)[-_][\w*-]{8,}
    | AIza[\w*-]{8,}
    | \bAQ\.[\w*-]{8,}
    | \bbearer\s+[^\s"',;]{6,}
    | \b(?:api[-_ ]?key|key|token|secret|password)["']?\s*[=:]\s*["']?[^\s"',;&]{6,}
    | //[^/\s@]+@
    | \b(?=[a-z]*[0-9])[a-z0-9]{32,}
    """
)
_TAGS = re.compile(r"<[^<>]*>")
_LONGEST_MESSAGE = 300
_LONGEST_READ = 2000


class Fault(NamedTuple):
    """What a body says went wrong.

    `words` are the vendor's codes and types, the most telling first. `kind` is the vendor's own
    verdict, which goes before codes and status. `status` is what an error inside a good answer
    gives as its status.
    """

    message: str = ""
    words: tuple[str, ...] = ()
    kind: type[CallError] | None = None
    status: int | None = None
    retry_after: float | None = None


def read_answer(
    response: HttpResponse,
    model: Model,
    answer: Callable[[dict[str, Any], HttpResponse, Model], Result],
    fault: Callable[[Any, int], Fault],
    fast: Callable[[HttpResponse], Result | None] = lambda response: None,
) -> Result:
    """What `answer` reads out of a good body; all else is raised as the `CallError` that fits.

    `fault(body, status)` reads what any JSON value (None where the body is not JSON) says of
    what went wrong. `fast` may read a good body some quicker way, or give None.
    """
    if not 200 <= response.status <= 299:
        raise failure(response, model, fault(_load_or_none(response.body), response.status))
    try:
        found = fast(response)
        if found is not None:
            return found
        body = as_object(load(response.body), "the body")
        if body.get("error"):
            raise failure(response, model, fault(body, response.status))
        return answer(body, response, model)
    except MalformedError as error:
        raise unreadable(response, model, error) from None


def unreadable(response: HttpResponse, model: Model, error: MalformedError) -> DecodeError:
    """The error for a body, or an event of a stream, that is not what the API promises."""
    return DecodeError(
        f"{model.provider.name} answered {response.status} with a body that cannot be read: "
        f"{masked(str(error))}",
        **_facts(response),
    )


def failure(response: HttpResponse, model: Model, fault: Fault) -> CallError:
    """The error for a failed call, with all that is known of it."""
    status = response.status
    if 200 <= status <= 299:
        status = fault.status or _status_of(fault.words)
    kind = fault.kind or _kind_of(fault.words) or _kind_of_status(status)
    code = masked(fault.words[0])[:64] or None if fault.words else None
    error = kind(_message(response, model, fault, code), **_facts(response, fault), code=code)
    wish = response.headers.get("x-should-retry")
    if wish == "false":
        error.retryable = False
    elif wish == "true" and status not in _NEVER_RETRIED and _may_be_retried(kind):
        error.retryable = True
    return error


def cut_off(response: HttpResponse, model: Model) -> ConnectionFailedError:
    """The error for a stream that ended before its answer did."""
    return ConnectionFailedError(
        f"{model.provider.name} ended the stream before the answer was complete",
        **_facts(response),
    )


def refusal(response: HttpResponse, model: Model, code: str, text: str | None) -> RefusalError:
    """The error that goes with an answer the model or its filter declined to give."""
    because = f": {masked(text)}" if text else ""
    return RefusalError(
        f"{model.provider.name}/{model.id} declined to answer ({code.lower()}){because}",
        **_facts(response),
        code=code,
    )


def sentence(value: Any) -> str:
    """The readable text of an error field, which some hosts fill with a list or an object."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("message") or value.get("msg")
    return value if isinstance(value, str) else ""


def words(*values: Any) -> tuple[str, ...]:
    """Those of `values` that can be codes, as strings."""
    return tuple(str(value)[:200] for value in values if value and type(value) in (str, int))


def masked(text: str) -> str:
    """`text` on one line, at most 300 characters, with all that looks like a key struck out."""
    text = _KEYS.sub("****", " ".join(text[:_LONGEST_READ].split()))
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 3] + "..."


def request_id(response: HttpResponse) -> str | None:
    """The id the server gave this exchange, or None."""
    headers = response.headers
    return (
        headers.get("x-request-id") or headers.get("request-id") or headers.get("x-amzn-requestid")
    )


def _facts(response: HttpResponse, fault: Fault | None = None) -> dict[str, Any]:
    wait = retry_after(response)
    return {
        "status": response.status,
        "request_id": request_id(response),
        "retry_after": wait if wait is not None or fault is None else fault.retry_after,
    }


def _status_of(codes: Iterable[str]) -> int:
    for code in codes:
        if len(code) == 3 and code.isdecimal() and 300 <= int(code) <= 599:
            return int(code)
        if code in _STATUS_OF_CODE:
            return _STATUS_OF_CODE[code]
    return 500


def _kind_of(codes: Iterable[str]) -> type[CallError] | None:
    for code in codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    return None


def _kind_of_status(status: int) -> type[CallError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return TransientError
    return BadRequestError if status >= 300 else DecodeError


def _may_be_retried(kind: type[CallError]) -> bool:
    return not issubclass(kind, (QuotaExhaustedError, TooLongError, RefusalError, AuthError))


def _message(response: HttpResponse, model: Model, fault: Fault, code: str | None) -> str:
    status, name = response.status, model.provider.name
    if 300 <= status <= 399:
        target = masked(response.headers.get("location", "").partition("?")[0])
        return (
            f"{name} answered {status}: redirects are not followed; set base_url to where it "
            f"points{': ' + target if target else ''}"
        )
    text = masked(fault.message) or masked(_plain_text(response.body)) or "no explanation"
    said = " with an error" if 200 <= status <= 299 else ""
    hint = "; check base_url and the model's name" if status == 404 and not fault.message else ""
    return f"{name} answered {status}{said}{f' ({code})' if code else ''}: {text}{hint}"


def _plain_text(body: bytes) -> str:
    """What a person can read of a body that is no API error (a proxy's HTML page, mostly)."""
    return _TAGS.sub(" ", body[:_LONGEST_READ].decode("utf-8", "replace"))


def _load_or_none(body: bytes) -> Any:
    try:
        return load(body)
    except MalformedError:
        return None
