"""Batches at OpenAI, at Groq, and at hosts with the same endpoints.

From the SDKs: openai 3.54 (`resources/batches.py`, `resources/files.py`, `types/batch.py`), groq
1.7 (`types/batch_create_response.py`). The lines of results, and the codes in them, are those of
OpenAI's API reference (`BatchRequestOutput`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from ..values.batch import BatchCounts, BatchState, ResultLine
from ..values.errors import CallError
from ..values.model import Model
from ..values.wire import FileBody, HttpRequest, HttpResponse
from .base import Flow
from .batch_calls import (
    CLOCKS_APART,
    METADATA_KEY,
    Page,
    check_call,
    custom_id,
    endpoint_of,
    files,
    joined,
    model_in,
    one_line,
    outcome,
    read_line,
    read_state,
    refused,
    searched,
    seconds,
    stopped,
)
from .body import MalformedError, as_list, as_text, count, details, text_or_none
from .failures import unreadable
from .openai_common import fault
from .vendor_calls import ask, body_of, form, post_json

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

PURPOSE = "batch"
"""What the vendor is told a file is for."""

_ENDPOINTS = ("/chat/completions", "/responses", "/embeddings")
"""Behind "/v1": those that take what our adapters write."""

_ENDED = ("completed", "failed", "expired", "cancelled")
_FULL = re.compile(r"(?i)\benqueued (?:token|request)")
"""Of the messages about a full queue; there is a code for one of them, token_limit_exceeded (as
users report them: openai-python issue 2084, community.openai.com/t/1002388; Azure's has the code
too)."""

_FILES_PER_PAGE = 1_000
_BATCHES_PER_PAGE = 100
"""The most that OpenAI gives at once of batches; of files it would be 10,000."""


def line(custom_id: str, request: HttpRequest, model: Model) -> bytes:
    """See `base.BatchAdapter.line`."""
    check_call(custom_id, request, model)
    endpoint = endpoint_of(request, model, _ENDPOINTS)
    return b'{"custom_id":"%b","method":"POST","url":"/v1%b","body":%b}' % (
        custom_id.encode(),
        endpoint.encode(),
        one_line(request.body),
    )


def shared(request: HttpRequest, model: Model) -> tuple[str, ...]:
    """The endpoint and the model, of which a file has one each; see `base.BatchAdapter.shared`."""
    return "/v1" + endpoint_of(request, model, _ENDPOINTS), model_in(request, model)


def upload(file: FileBody, name: str, model: Model) -> Flow[str]:
    """See `base.BatchAdapter.upload`."""
    response = yield file_form(file, name, model)
    return file_id(response, model)


def find_upload(name: str, model: Model) -> Flow[str | None]:
    """See `base.BatchAdapter.find_upload`."""
    query = {"purpose": PURPOSE, "order": "desc", "limit": str(_FILES_PER_PAGE)}

    def read(response: HttpResponse) -> Page:
        entries, last = _entries(response, model)
        return page(named_files(entries, name), last)

    def page(found: list[Any], last: str | None) -> Page:
        if found or last is None:
            return Page(found, None)
        return Page(found, ask(model, "/files", query={**query, "after": last}))

    found = yield from searched(ask(model, "/files", query=query), read)
    return found[0] if found else None


def create(
    file: FileBody, file_id: str | None, name: str, shared: tuple[str, ...], model: Model
) -> Flow[BatchState]:
    """See `base.BatchAdapter.create`."""
    batch = model.provider.batch
    body = {
        "input_file_id": file_id,
        "endpoint": shared[0],
        "completion_window": batch.window if batch else "24h",
        "metadata": {METADATA_KEY: name},
    }
    response = yield post_json(model, "/batches", body)
    return _read(response, model)


def find(name: str, since: float, model: Model) -> Flow[list[BatchState]]:
    """See `base.BatchAdapter.find`."""
    query = {"limit": str(_BATCHES_PER_PAGE)}

    def read(response: HttpResponse) -> Page:
        entries, last = _entries(response, model)
        states = [_state(entry) for entry in entries]
        found = [state for state in states if state.name == name]
        old = all((state.created_at or since) < since - CLOCKS_APART for state in states)
        if found or old or last is None:
            return Page(found[:1], None)
        return Page(found, ask(model, "/batches", query={**query, "after": last}))

    return (yield from searched(ask(model, "/batches", query=query), read))


def look(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.look`."""
    response = yield ask(model, _path(batch_id))
    return _read(response, model)


def cancel(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.cancel`."""
    request = ask(model, _path(batch_id) + "/cancel", body=b"")
    return (yield from stopped(request, look(batch_id, model), model, fault))


def download(result: str, model: Model) -> HttpRequest:
    """See `base.BatchAdapter.download`. A result is a file."""
    return ask(model, f"/files/{quote(result, safe='')}/content")


def failure(response: HttpResponse, model: Model) -> CallError:
    """See `base.BatchAdapter.failure`."""
    return refused(response, model, fault)


def result(line: bytes, model: Model) -> ResultLine:
    """See `base.BatchAdapter.result`."""
    return read_line(line, model, outcome)


# Files, as at Mistral too


def file_form(file: FileBody, name: str, model: Model) -> HttpRequest:
    """The upload of a batch's file, streamed.

    What separates the fields of the form is a line break, two dashes and a hash of the name. The
    line break has a carriage return, which the lines of the file have none of: in JSON's strings it
    is escaped, and between values we write none. And nobody has our name but us.
    """
    head, tail, headers = form(
        _file_name(name), "application/jsonl", name.encode(), {"purpose": PURPOSE}
    )
    streamed = file._replace(after=file.after + tail)
    return ask(model, "/files", headers, head, file=streamed)


def file_id(response: HttpResponse, model: Model) -> str:
    """The id of the file that an answer describes."""
    body = body_of(response, model, fault)
    try:
        return as_text(body.get("id"), "id")
    except MalformedError as error:
        raise unreadable(response, model, error) from None


def named_files(entries: list[dict[str, Any]], name: str) -> list[str]:
    """The ids of those files that have a batch's name, the newest first."""
    wanted = _file_name(name)
    ours = [
        (seconds(entry.get("created_at")) or 0.0, entry["id"])
        for entry in entries
        if entry.get("filename") == wanted and text_or_none(entry.get("id"))
    ]
    return [file_id for _, file_id in sorted(ours, reverse=True)]


def _file_name(name: str) -> str:
    return f"{name}.jsonl"


def _entries(response: HttpResponse, model: Model) -> tuple[list[dict[str, Any]], str | None]:
    """The objects on a page, and the id behind which the next one begins, if there is one. Groq
    gives all there is at once, and says nothing of more.
    """
    body = body_of(response, model, fault)
    try:
        entries = as_list(body.get("data") or [], "data")
    except MalformedError as error:
        raise unreadable(response, model, error) from None
    found = [entry for entry in entries if type(entry) is dict]
    last = text_or_none(found[-1].get("id")) if found and body.get("has_more") is True else None
    return found, last


# Batches


def _path(batch_id: str) -> str:
    return f"/batches/{quote(batch_id, safe='')}"


def _read(response: HttpResponse, model: Model) -> BatchState:
    return read_state(response, model, fault, _state_with_id)


def _state_with_id(body: dict[str, Any]) -> BatchState:
    as_text(body.get("id"), "id")
    as_text(body.get("status"), "status")
    return _state(body)


def _state(body: dict[str, Any]) -> BatchState:
    status = text_or_none(body.get("status")) or ""
    ended = status.lower() in _ENDED  # some hosts write it in capitals
    counts = body.get("request_counts")
    errors = details(body.get("errors"), "data")
    errors = [error for error in errors if type(error) is dict] if type(errors) is list else []
    results = files(body.get("output_file_id"), body.get("error_file_id")) if ended else ()
    return BatchState(
        text_or_none(body.get("id")) or "",
        status,
        ended,
        BatchCounts(
            count(details(counts, "total")),
            count(details(counts, "completed")),
            count(details(counts, "failed")),
        ),
        results,
        _problem(status.lower(), results, errors) if ended else None,
        _turned_away(status.lower(), results, errors),
        text_or_none(details(body.get("metadata"), METADATA_KEY)) or "",
        seconds(body.get("created_at")),
        seconds(body.get("expires_at")),
    )


def _problem(status: str, results: tuple[str, ...], errors: list[dict[str, Any]]) -> str | None:
    told = joined([_told(error) for error in errors])
    if status == "completed":
        if results:
            return None
        why = "completed, but with neither an output file nor an error file"
    elif status == "failed":
        full = _turned_away(status, results, errors)
        why = "the queue is full" if full else "the batch failed its validation"
    elif status == "expired":
        why = "the batch expired before all of its requests were done"
    else:
        why = "the batch was cancelled"
    return f"{why}: {told}" if told else why


def _told(error: dict[str, Any]) -> str:
    """One error of the input file, with the line it is about."""
    at = error.get("line")
    where = f"line {at}: " if type(at) is int else ""
    code = text_or_none(error.get("code"))
    return where + (text_or_none(error.get("message")) or "") + (f" ({code})" if code else "")


def _turned_away(status: str, results: tuple[str, ...], errors: list[dict[str, Any]]) -> bool:
    return status == "failed" and not results and any(map(_is_full, errors))


def _is_full(error: dict[str, Any]) -> bool:
    message = text_or_none(error.get("message")) or ""
    return error.get("code") == "token_limit_exceeded" or _FULL.search(message) is not None
