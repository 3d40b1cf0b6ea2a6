"""Anthropic's Message Batches.

From the anthropic SDK 2.12 (`resources/messages/batches.py`, `types/messages/message_batch*.py`).
There is no file: a batch's requests are the body of its creation. A batch has no name either.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from ..values.batch import BatchCounts, BatchState, ResultLine
from ..values.errors import CallError, ConfigError
from ..values.model import Model
from ..values.wire import FileBody, HttpRequest, HttpResponse
from .anthropic_answers import fault
from .base import Flow
from .batch_calls import (
    CLOCKS_APART,
    Page,
    answer,
    cancelled,
    check_call,
    custom_id,
    endpoint_of,
    expired,
    one_line,
    read_line,
    read_state,
    refused,
    searched,
    stopped,
)
from .body import (
    JSON_HEADERS,
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    text_or_none,
)
from .failures import unreadable
from .headers import instant
from .vendor_calls import ask, at_home, body_of, split_url

__all__ = [
    "BETWEEN",
    "NAMED",
    "UPLOADS",
    "cancel",
    "create",
    "custom_id",
    "download",
    "failure",
    "find",
    "find_upload",
    "line",
    "look",
    "result",
    "shared",
    "upload",
]

BETWEEN = b",\n"
UPLOADS = False
NAMED = False

_PATH = "/v1/messages/batches"
_SHARED = ("anthropic-version", "anthropic-beta", "anthropic-user-profile-id")
"""Headers of a call that the creation of its batch takes for all of them."""

_PER_PAGE = 100
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Which status an error has outside of a batch, by its type (`_error_classes`)."""


def line(custom_id: str, request: HttpRequest, model: Model) -> bytes:
    """See `base.BatchAdapter.line`."""
    check_call(custom_id, request, model, frozenset(_SHARED))
    if model.in_path or model.version_field:
        raise ConfigError(f"{model.name} has no batches of this kind: its path is another")
    endpoint_of(request, model, ("/v1/messages",))
    return b'{"custom_id":"%b","params":%b}' % (custom_id.encode(), one_line(request.body))


def shared(request: HttpRequest, model: Model) -> tuple[str, ...]:
    """The API version, the beta features and the user profile, which are headers; see
    `base.BatchAdapter.shared`.
    """
    given = {key.lower(): value for key, value in request.headers}
    return tuple(f"{name}: {given.get(name, '')}" for name in _SHARED)


def _taken(shared: tuple[str, ...]) -> dict[str, str]:
    pairs = (text.partition(": ") for text in shared)
    return {name: value for name, _, value in pairs if value}


def upload(file: FileBody, name: str, model: Model) -> Flow[str]:
    """There is none: see `UPLOADS`."""
    raise ConfigError("a batch at Anthropic has no file: it goes with the batch's creation")
    yield  # what makes this a flow


def find_upload(name: str, model: Model) -> Flow[str | None]:
    """There is none."""
    return None
    yield


def create(
    file: FileBody, file_id: str | None, name: str, shared: tuple[str, ...], model: Model
) -> Flow[BatchState]:
    """See `base.BatchAdapter.create`."""
    streamed = file._replace(after=file.after + b"]}")
    response = yield ask(
        model, _PATH, {**JSON_HEADERS, **_taken(shared)}, b'{"requests":[', file=streamed
    )
    return _read(response, model)


def find(name: str, since: float, model: Model) -> Flow[list[BatchState]]:
    """Those created since then, with some minutes more for clocks that differ; see
    `base.BatchAdapter.find`. The newest come first.
    """
    query = {"limit": str(_PER_PAGE)}

    def read(response: HttpResponse) -> Page:
        body = body_of(response, model, fault)
        try:
            states = [_state(entry) for entry in as_list(body.get("data") or [], "data")]
        except MalformedError as error:
            raise unreadable(response, model, error) from None
        found = [state for state in states if (state.created_at or since) >= earliest]
        last = text_or_none(body.get("last_id"))
        if not found or last is None or body.get("has_more") is not True:
            return Page(found, None)
        return Page(found, ask(model, _PATH, query={**query, "after_id": last}))

    earliest = since - CLOCKS_APART
    return (yield from searched(ask(model, _PATH, query=query), read))


def look(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.look`."""
    response = yield ask(model, _path(batch_id))
    return _read(response, model)


def cancel(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.cancel`."""
    request = ask(model, _path(batch_id) + "/cancel", body=b"")
    return (yield from stopped(request, look(batch_id, model), model, fault))


def download(result: str, model: Model) -> HttpRequest:
    """See `base.BatchAdapter.download`. A result is its URL, asked for at our own server: the key
    goes to nobody else, and a gateway with a path of its own stays in between.
    """
    split = urlsplit(result)
    where = split.path.find("/v1/")
    query = f"?{split.query}" if split.query else ""
    if where >= 0:
        return ask(model, split.path[where:] + query)
    return ask(model, at_home(result, model.provider.base_url))


def failure(response: HttpResponse, model: Model) -> CallError:
    """See `base.BatchAdapter.failure`."""
    return refused(response, model, fault)


def result(line: bytes, model: Model) -> ResultLine:
    """See `base.BatchAdapter.result`."""
    return read_line(line, model, _outcome)


def _path(batch_id: str) -> str:
    return f"{_PATH}/{quote(batch_id, safe='')}"


def _read(response: HttpResponse, model: Model) -> BatchState:
    return read_state(response, model, fault, _state)


def _state(body: Any) -> BatchState:
    body = as_object(body, "a batch")
    status = as_text(body.get("processing_status"), "processing_status")
    ended = status == "ended"
    counts = {name: count(details(body.get("request_counts"), name)) for name in _COUNTS}
    url = text_or_none(body.get("results_url"))
    results = (url,) if ended and url and split_url(url) else ()
    return BatchState(
        as_text(body.get("id"), "id"),
        status,
        ended,
        BatchCounts(
            sum(counts.values()),
            counts["succeeded"],
            counts["errored"] + counts["canceled"] + counts["expired"],
        ),
        results,
        _problem(counts, bool(results), bool(body.get("archived_at"))) if ended else None,
        created_at=instant(text_or_none(body.get("created_at")) or ""),
        expires_at=instant(text_or_none(body.get("expires_at")) or ""),
    )


_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def _problem(counts: dict[str, int], results: bool, archived: bool) -> str | None:
    told = []
    if counts["expired"]:
        told.append(f"{counts['expired']} requests expired")
    if counts["canceled"]:
        told.append(f"{counts['canceled']} requests were cancelled")
    if archived:
        told.append("the batch is archived: its results are not there any more (after 29 days)")
    elif not results:
        told.append("the batch ended without results")
    return "; ".join(told) or None


def _outcome(body: dict[str, Any], model: Model) -> ResultLine:
    name = as_text(body.get("custom_id"), "custom_id")
    outcome = as_object(body.get("result"), "result")
    kind = outcome.get("type")
    if kind == "succeeded":
        return ResultLine(name, answer(200, as_object(outcome.get("message"), "message")))
    if kind == "errored":
        return ResultLine(name, _errored(as_object(outcome.get("error"), "error")))
    if kind == "expired":
        return ResultLine(name, error=expired(model))
    if kind == "canceled":
        return ResultLine(name, error=cancelled(model))
    raise MalformedError("the result is of no known type")


def _errored(error: dict[str, Any]) -> HttpResponse:
    """The error as it comes outside of a batch: its status, and its body."""
    whole = error if "error" in error else {"type": "error", "error": error}
    kind = details(whole["error"], "type")
    status = _STATUS.get(kind, 500) if type(kind) is str else 500
    return answer(status, whole, whole.get("request_id"))
