"""What the batches of all vendors have in common: the lines of their files, lists read page by
page, what an outcome that is no answer means.

The lines are made of a call's body as it is, byte by byte: a prompt is not parsed and written again
a million times. What a call sends besides its body has no place in them.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import urlsplit

from ..values.batch import BatchState, ResultLine
from ..values.errors import (
    BatchError,
    CallCancelledError,
    CallError,
    ConfigError,
    DecodeError,
    PromptError,
    TransientError,
)
from ..values.model import Model
from ..values.wire import HttpRequest, HttpResponse
from .base import Flow
from .body import MalformedError, as_object, as_text, details, dump, load, text_or_none
from .failures import Fault, failure, masked, sentence, unreadable, words
from .vendor_calls import ReadFault, body_of

EXPIRED = "batch_expired"
CANCELLED = "batch_cancelled"
"""The codes of requests that were not done in time, and of those that were called off: OpenAI's,
for all vendors."""

METADATA_KEY = "deluge_sync"
"""Under which a batch keeps the name that we gave it."""

CLOCKS_APART = 600.0
"""Seconds that a vendor's clock may be behind ours."""

MOST_PAGES = 100
"""Of a list that is searched."""

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FIRST_FIELD = re.compile(rb'\{"(?:custom_id|key)":"([a-zA-Z0-9_-]{1,64})",')
_REFUSALS = frozenset({400, 409, 422})
"""How a vendor says that a batch cannot be cancelled (any more)."""

_LATEST = 1e12
"""A time; keeps infinity out of everybody's arithmetic."""
_EXCERPT = 60
_GOES_ANYWAY = frozenset(
    {
        # said of each request, whatever it asks for
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        # the key, which the transport adds
        "api-key",
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        # the version, sent with the batch
        "anthropic-version",
        # tracing, and what makes a repetition harmless: of one HTTP request, not of a prompt
        "baggage",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "x-client-request-id",
        "x-cloud-trace-context",
        "x-idempotency-key",
        "x-request-id",
    }
)
"""Headers of a live call that mean nothing to a line of a batch."""


def refused(response: HttpResponse, model: Model, fault: ReadFault) -> CallError:
    """The error that an answer is that should have been a file."""
    try:
        body_of(response, model, fault)
    except CallError as error:
        return error
    return unreadable(response, model, MalformedError("an object in place of a file"))


# Lines


def check_call(
    custom_id: str, request: HttpRequest, model: Model, kept: frozenset[str] = frozenset()
) -> None:
    """Raise `ConfigError` for a call that cannot be a line. Headers in `kept` go with the batch."""
    name = model.provider.name
    if not _CUSTOM_ID.fullmatch(custom_id):
        raise ConfigError(f"{custom_id[:80]!r} cannot be the id of a request in a batch")
    if request.method != "POST" or request.file is not None or not request.body:
        raise ConfigError(f"{request.method} requests cannot be in a batch at {name}")
    sent_with_all = {key.lower(): value for key, value in model.provider.headers.items()}
    lost = sorted(
        key
        for key, value in request.headers
        if key.lower() not in _GOES_ANYWAY
        and key.lower() not in kept
        and sent_with_all.get(key.lower()) != value
    )
    if lost:
        raise ConfigError(
            f"a request in a batch at {name} has no headers of its own: {', '.join(lost)} would "
            "be lost; what is to go with all requests belongs into the provider's `headers`"
        )
    for field in ("stream", "background"):
        if f'"{field}"'.encode() in request.body and fields_of(request.body).get(field):
            raise ConfigError(f"a request in a batch cannot have {field}: true")


def endpoint_of(request: HttpRequest, model: Model, endpoints: tuple[str, ...]) -> str:
    """Which of `endpoints` (paths behind the base URL) a call goes to, else a `BatchError`."""
    path = urlsplit(request.url).path
    for endpoint in endpoints:
        if path.endswith(endpoint):
            return endpoint
    raise BatchError(
        f"{model.provider.name} has no batches for {path}, only for {', '.join(endpoints)}"
    )


def one_line(body: bytes) -> bytes:
    """A JSON text without line feeds. Inside of strings they are escaped; only between values can
    there be some.
    """
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body


def custom_id(line: bytes) -> str:
    """See `base.BatchAdapter.custom_id`. Any other line is a `DecodeError`."""
    match = _FIRST_FIELD.match(line)
    if match is None:
        raise DecodeError(f"this is no line of a batch: {_excerpt(line)}")
    return match[1].decode()


def fields_of(body: bytes) -> dict[str, Any]:
    """The object that a call's body is; {} for what cannot be read: the vendor will say so."""
    try:
        return as_object(load(body), "the body")
    except MalformedError:
        return {}


def model_in(request: HttpRequest, model: Model) -> str:
    """The model's id in a call's body: `extra_body` may name another than `model`."""
    if request.body.startswith(_head(model)):
        return model.id
    return text_or_none(fields_of(request.body).get("model")) or model.id


def without_model(request: HttpRequest, model: Model) -> bytes:
    """A call's body without the field `model`."""
    head = _head(model)
    if request.body.startswith(head):
        return b"{" + request.body[len(head) :]
    fields = fields_of(request.body)
    if "model" not in fields:
        return request.body
    del fields["model"]
    return dump(fields)


def _head(model: Model) -> bytes:
    """How the body of a call begins."""
    return b'{"model":' + dump(model.id) + b","


# States


def seconds(value: Any) -> float | None:
    """A time in seconds since the epoch."""
    return float(value) if type(value) in (int, float) and 0 <= value <= _LATEST else None


def files(*ids: Any) -> tuple[str, ...]:
    """Those that are there."""
    return tuple(file_id for file_id in ids if text_or_none(file_id))


def joined(messages: list[str]) -> str | None:
    """A few messages as one, what looks like a key struck out."""
    told = [masked(message) for message in messages if message.strip()]
    more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return "; ".join(told[:3]) + more if told else None


def read_state(
    response: HttpResponse,
    model: Model,
    fault: ReadFault,
    described: Callable[[dict[str, Any]], BatchState],
) -> BatchState:
    """The batch that an answer describes; all else is raised as the `CallError` that fits."""
    body = body_of(response, model, fault)
    try:
        return described(body)
    except MalformedError as error:
        raise unreadable(response, model, error) from None


def stopped(
    cancel: HttpRequest, look: Flow[BatchState], model: Model, fault: ReadFault
) -> Flow[BatchState]:
    """Cancel a batch, and look at it. A vendor may refuse to cancel one that has ended: then it
    stays as it is, and only of one that has not is the refusal raised.
    """
    response = yield cancel
    if response.status not in _REFUSALS:
        body_of(response, model, fault)
    state = yield from look
    if not state.ended and response.status in _REFUSALS:
        body_of(response, model, fault)
    return state


# Lists


class Page(NamedTuple):
    """What was found on one page of a list, and how to ask for the next, if that is of use."""

    found: list[Any]
    following: Optional[HttpRequest]


def searched(first: HttpRequest, read: Callable[[HttpResponse], Page]) -> Flow[list[Any]]:
    """What is found on the pages from `first` on; more than `MOST_PAGES` are a `CallError`: what
    has not been looked at must not count as not there.
    """
    found: list[Any] = []
    request = first
    for _ in range(MOST_PAGES):
        page = read((yield request))
        found += page.found
        if page.following is None:
            return found
        request = page.following
    host = urlsplit(first.url).hostname
    raise CallError(f"a list at {host} has more than {MOST_PAGES} pages: looking was given up")


# Results


def read_line(
    line: bytes,
    model: Model,
    read: Callable[[dict[str, Any], Model], ResultLine],
) -> ResultLine:
    """What `read` takes out of the object in `line`; `DecodeError` where it cannot be read."""
    try:
        return read(as_object(load(line), "the line"), model)
    except (MalformedError, PromptError) as error:
        raise DecodeError(
            f"{model.provider.name} gave a line of results that cannot be read "
            f"({masked(str(error))}): {_excerpt(line)}"
        ) from None


def answer(status: Any, body: Any, request_id: Any = None) -> HttpResponse:
    """One request's outcome as a live answer. A body without a form as JSON is a `PromptError`."""
    if type(status) is not int or not 100 <= status <= 599:
        raise MalformedError("the status is none of HTTP's")
    headers = {"content-type": "application/json"}
    if text_or_none(request_id):
        headers["x-request-id"] = request_id
    return HttpResponse(status, headers, dump(body))


def expired(model: Model) -> CallError:
    """The error of a request that was not done when the batch's time was up."""
    error = CallError(
        f"{model.provider.name}: the batch expired before this request was done", code=EXPIRED
    )
    error.retryable = True
    return error


def cancelled(model: Model) -> CallError:
    """The error of a request that was not done when the batch was cancelled."""
    return CallCancelledError(
        f"{model.provider.name}: the batch was cancelled before this request was done",
        code=CANCELLED,
    )


def outcome(body: dict[str, Any], model: Model) -> ResultLine:
    """A line as OpenAI, Groq and Mistral write it: `custom_id`, and `response` or `error`."""
    name = as_text(body.get("custom_id"), "custom_id")
    response, error = body.get("response"), body.get("error")
    if type(response) is dict and response.get("status_code"):
        status = response["status_code"]
        return ResultLine(name, answer(status, response.get("body"), response.get("request_id")))
    if not error:
        raise MalformedError("neither a response nor an error")
    return ResultLine(name, error=_error(error, model))


def _error(error: Any, model: Model) -> CallError:
    code = text_or_none(details(error, "code")) or ""
    if code == EXPIRED:
        return expired(model)
    if code == CANCELLED:
        return cancelled(model)
    kind: type[CallError] = TransientError
    if code != "request_timeout":  # with which the model took too long for this one
        fault = Fault("", words(code, details(error, "type")))
        kind = type(failure(HttpResponse(200, {}, b""), model, fault))
    message = masked(sentence(error)) or "no explanation"
    return kind(f"{model.provider.name}: {message}", code=masked(code)[:64] or None)


def _excerpt(line: bytes) -> str:
    """The little of a line that may be shown: enough to see what kind of thing it is."""
    return repr(masked(line[:_EXCERPT].decode("utf-8", "replace")))
