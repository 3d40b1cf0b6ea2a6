"""Batches at Google's Gemini API, of generateContent.

From the google-genai SDK 3.4 (`batches.py`, `files.py`) and the reference of the API
(`GenerateContentBatch`, `BatchStats`). A batch is a long-running operation.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ..values.batch import BatchCounts, BatchState, ResultLine
from ..values.errors import BadRequestError, CallError
from ..values.model import Model
from ..values.wire import FileBody, HttpRequest, HttpResponse
from .base import Flow
from .batch_calls import (
    CLOCKS_APART,
    Page,
    answer,
    cancelled,
    check_call,
    custom_id,
    endpoint_of,
    files,
    joined,
    one_line,
    read_line,
    read_state,
    refused,
    searched,
    stopped,
)
from .body import MalformedError, as_list, as_object, as_text, count, details, text_or_none
from .failures import masked, unreadable
from .gemini_answers import read_fault
from .headers import instant
from .vendor_calls import (
    UPLOAD_WHOLE,
    ask,
    body_of,
    post_json,
    resumable_start,
    upload_url,
    version_of,
)

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

BETWEEN = b"\n"
UPLOADS = True
NAMED = True

_METHOD = ":generateContent"
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
"""Of the states, behind "BATCH_STATE_"."""

_PER_PAGE = "100"
_RPC = {
    1: (499, "CANCELLED"),
    2: (500, "UNKNOWN"),
    3: (400, "INVALID_ARGUMENT"),
    4: (504, "DEADLINE_EXCEEDED"),
    5: (404, "NOT_FOUND"),
    6: (409, "ALREADY_EXISTS"),
    7: (403, "PERMISSION_DENIED"),
    8: (429, "RESOURCE_EXHAUSTED"),
    9: (400, "FAILED_PRECONDITION"),
    10: (409, "ABORTED"),
    11: (400, "OUT_OF_RANGE"),
    12: (501, "UNIMPLEMENTED"),
    13: (500, "INTERNAL"),
    14: (503, "UNAVAILABLE"),
    15: (500, "DATA_LOSS"),
    16: (401, "UNAUTHENTICATED"),
}
"""google.rpc.Code: the status that a live answer has in its place, and its name."""


def line(custom_id: str, request: HttpRequest, model: Model) -> bytes:
    """See `base.BatchAdapter.line`."""
    check_call(custom_id, request, model)
    endpoint_of(request, model, (_METHOD,))
    return b'{"key":"%b","request":%b}' % (custom_id.encode(), one_line(request.body))


def shared(request: HttpRequest, model: Model) -> tuple[str, ...]:
    """The path, which names the model; see `base.BatchAdapter.shared`."""
    endpoint_of(request, model, (_METHOD,))
    return (request.url[len(model.provider.base_url.rstrip("/")) :],)


def upload(file: FileBody, name: str, model: Model) -> Flow[str]:
    """See `base.BatchAdapter.upload`."""
    begun = yield resumable_start(name, "application/jsonl", file.size + len(file.after), model)
    where = upload_url(begun, model, read_fault)
    done = yield ask(model, where, UPLOAD_WHOLE, b"", file=file)
    body = body_of(done, model, read_fault)
    try:
        stored = as_object(body.get("file"), "file")
        if stored.get("state") == "FAILED":
            why = masked(read_fault(stored, done.status).message)
            raise BadRequestError(f"{model.provider.name} could not process the file: {why}")
        return as_text(stored.get("name"), "file.name")
    except MalformedError as error:
        raise unreadable(done, model, error) from None


def find_upload(name: str, model: Model) -> Flow[str | None]:
    """See `base.BatchAdapter.find_upload`."""

    def read(response: HttpResponse) -> Page:
        ours = [
            (text_or_none(entry.get("createTime")) or "", entry["name"])
            for entry in _entries(response, model, "files")
            if entry.get("displayName") == name
            and entry.get("state") != "FAILED"
            and text_or_none(entry.get("name"))
        ]
        found = [file_id for _, file_id in sorted(ours, reverse=True)]
        return Page(found, None if found else _next(response, model, "files"))

    found = yield from searched(_list(model, "files"), read)
    return found[0] if found else None


def create(
    file: FileBody, file_id: str | None, name: str, shared: tuple[str, ...], model: Model
) -> Flow[BatchState]:
    """See `base.BatchAdapter.create`."""
    path = shared[0].replace(_METHOD, ":batchGenerateContent")
    batch = {"displayName": name, "inputConfig": {"fileName": file_id}}
    response = yield post_json(model, path, {"batch": batch})
    return _read(response, model)


def find(name: str, since: float, model: Model) -> Flow[list[BatchState]]:
    """See `base.BatchAdapter.find`."""

    def read(response: HttpResponse) -> Page:
        states = [_state(entry) for entry in _entries(response, model, "operations")]
        found = [state for state in states if state.name == name]
        old = all((state.created_at or since) < since - CLOCKS_APART for state in states)
        if found or old:
            return Page(found[:1], None)
        return Page(found, _next(response, model, "batches"))

    return (yield from searched(_list(model, "batches"), read))


def look(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.look`."""
    response = yield ask(model, _path("batches", batch_id, model))
    return _read(response, model)


def cancel(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.cancel`. The answer says nothing of the batch."""
    request = post_json(model, _path("batches", batch_id, model) + ":cancel", {})
    return (yield from stopped(request, look(batch_id, model), model, read_fault))


def download(result: str, model: Model) -> HttpRequest:
    """See `base.BatchAdapter.download`. A result is a file."""
    return ask(model, _path("files", result, model) + ":download", query={"alt": "media"})


def failure(response: HttpResponse, model: Model) -> CallError:
    """See `base.BatchAdapter.failure`."""
    return refused(response, model, read_fault)


def result(line: bytes, model: Model) -> ResultLine:
    """See `base.BatchAdapter.result`."""
    return read_line(line, model, _outcome)


# Lists


def _list(model: Model, what: str, token: str | None = None) -> HttpRequest:
    query = {"pageSize": _PER_PAGE, **({"pageToken": token} if token else {})}
    return ask(model, f"/{version_of(model)}/{what}", query=query)


def _next(response: HttpResponse, model: Model, what: str) -> HttpRequest | None:
    token = text_or_none(body_of(response, model, read_fault).get("nextPageToken"))
    return _list(model, what, token) if token else None


def _entries(response: HttpResponse, model: Model, field: str) -> list[dict[str, Any]]:
    body = body_of(response, model, read_fault)
    try:
        entries = as_list(body.get(field) or [], field)
    except MalformedError as error:
        raise unreadable(response, model, error) from None
    return [entry for entry in entries if type(entry) is dict]


def _path(what: str, name: str, model: Model) -> str:
    """Of "batches/123", or of a URI that ends so."""
    return f"/{version_of(model)}/{what}/{quote(name.rpartition('/')[2], safe='')}"


# Batches


def _read(response: HttpResponse, model: Model) -> BatchState:
    return read_state(response, model, read_fault, _state_with_name)


def _state_with_name(body: dict[str, Any]) -> BatchState:
    as_text(body.get("name"), "name")
    return _state(body)


def _state(body: dict[str, Any]) -> BatchState:
    metadata = body.get("metadata")
    status = text_or_none(details(metadata, "state")) or ""
    word = status.partition("_STATE_")[2] or status
    ended = body.get("done") is True or word in _ENDED
    stats = details(metadata, "batchStats")
    results = _results(body, metadata) if ended else ()
    error = body.get("error")
    return BatchState(
        text_or_none(body.get("name")) or "",
        status,
        ended,
        BatchCounts(
            _number(details(stats, "requestCount")),
            _number(details(stats, "successfulRequestCount")),
            _number(details(stats, "failedRequestCount")),
        ),
        results,
        _problem(word, bool(results), error) if ended else None,
        ended and not results and details(error, "code") in (8, 429),
        text_or_none(details(metadata, "displayName")) or "",
        instant(text_or_none(details(metadata, "createTime")) or ""),
    )


def _results(body: dict[str, Any], metadata: Any) -> tuple[str, ...]:
    """The file of results: as the SDK reads it, or as the pages of the API show it."""
    for place in (details(metadata, "output"), body.get("response")):
        found = files(details(place, "responsesFile"))
        if found:
            return found
    return ()


def _problem(word: str, results: bool, error: Any) -> str | None:
    told = joined([text_or_none(details(error, "message")) or ""])
    if word == "CANCELLED" or details(error, "code") == 1:
        why = "the batch was cancelled"
    elif word == "EXPIRED":
        why = "the batch expired before it was done"
    elif word == "FAILED" or error:
        why = "the batch failed"
    elif not results:
        # Ours are files, and the answers to a file come in a file.
        why = "the batch has ended, but names no file of results"
    else:
        return None
    return f"{why}: {told}" if told else why


def _number(value: Any) -> int:
    """An int64, which Google writes as text."""
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    return count(value)


# Results


def _outcome(body: dict[str, Any], model: Model) -> ResultLine:
    key = body.get("key") or details(body.get("metadata"), "key")
    name = as_text(key, "key")
    if type(body.get("response")) is dict:
        return ResultLine(name, answer(200, body["response"]))
    error = as_object(body.get("error") or body.get("status"), "the response, or the error,")
    code = error.get("code")
    if code == 1:
        return ResultLine(name, error=cancelled(model))
    status, word = _RPC.get(code, (code, None)) if type(code) is int else (500, None)
    known = type(status) is int and 300 <= status <= 599
    status = status if known else 500
    whole = {"status": word, **error, "code": status} if word else {**error, "code": status}
    return ResultLine(name, answer(status, {"error": whole}))
