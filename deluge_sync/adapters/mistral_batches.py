"""Batches at Mistral: OpenAI's files, and jobs of their own.

From the mistralai SDK 3.7 (`client/jobs.py`, `client/files.py`, `models/batchjob.py`,
`models/createbatchjobrequest.py`). A line has no `model`: the job has.
"""

from __future__ import annotations

import itertools
import re
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ..values.batch import BatchCounts, BatchState, ResultLine
from ..values.errors import CallError, ConfigError
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
    without_model,
)
from .body import MalformedError, as_list, as_text, count, details, text_or_none
from .failures import unreadable
from .openai_batches import PURPOSE, download, file_form, file_id, named_files
from .openai_common import fault
from .vendor_calls import ask, body_of, post_json

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

_ENDPOINTS = ("/chat/completions", "/embeddings")
_PATH = "/batch/jobs"
_PER_PAGE = 100
_PROBLEMS = {
    "SUCCESS": None,
    "FAILED": "the job failed",
    "TIMEOUT_EXCEEDED": "the job's time was up before all of its requests were done",
    "CANCELLED": "the job was cancelled",
}
"""The states that are the end of a job, and what is wrong with each."""

_WINDOW = re.compile(r"([0-9]{1,3})([hd])")


def line(custom_id: str, request: HttpRequest, model: Model) -> bytes:
    """See `base.BatchAdapter.line`."""
    check_call(custom_id, request, model)
    endpoint_of(request, model, _ENDPOINTS)
    body = one_line(without_model(request, model))
    return b'{"custom_id":"%b","body":%b}' % (custom_id.encode(), body)


def shared(request: HttpRequest, model: Model) -> tuple[str, ...]:
    """The endpoint and the model, which the job has; see `base.BatchAdapter.shared`."""
    return "/v1" + endpoint_of(request, model, _ENDPOINTS), model_in(request, model)


def upload(file: FileBody, name: str, model: Model) -> Flow[str]:
    """See `base.BatchAdapter.upload`."""
    response = yield file_form(file, name, model)
    return file_id(response, model)


def find_upload(name: str, model: Model) -> Flow[str | None]:
    """See `base.BatchAdapter.find_upload`."""
    numbers = itertools.count(1)

    def read(response: HttpResponse) -> Page:
        entries = _entries(response, model)
        found = named_files(entries, name)
        return Page(found, None if found or len(entries) < _PER_PAGE else page(next(numbers)))

    def page(number: int) -> HttpRequest:
        query = {"search": name, "purpose": PURPOSE, "page": number, "page_size": _PER_PAGE}
        return ask(model, "/files", query={key: str(value) for key, value in query.items()})

    found = yield from searched(page(0), read)
    return found[0] if found else None


def create(
    file: FileBody, file_id: str | None, name: str, shared: tuple[str, ...], model: Model
) -> Flow[BatchState]:
    """See `base.BatchAdapter.create`."""
    endpoint, model_id = shared
    body = {
        "endpoint": endpoint,
        "input_files": [file_id],
        "model": model_id,
        "metadata": {METADATA_KEY: name},
        "timeout_hours": _hours(model),
    }
    response = yield post_json(model, _PATH, body)
    return _read(response, model)


def find(name: str, since: float, model: Model) -> Flow[list[BatchState]]:
    """See `base.BatchAdapter.find`."""
    after = datetime.fromtimestamp(max(0.0, since - CLOCKS_APART), timezone.utc).isoformat()
    numbers = itertools.count(1)

    def read(response: HttpResponse) -> Page:
        entries = _entries(response, model)
        found = [state for state in map(_state, entries) if state.name == name]
        return Page(found[:1], None if found or len(entries) < _PER_PAGE else page(next(numbers)))

    def page(number: int) -> HttpRequest:
        query = {"page": str(number), "page_size": str(_PER_PAGE), "created_after": after}
        return ask(model, _PATH, query={**query, "order_by": "-created"})

    return (yield from searched(page(0), read))


def look(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.look`."""
    response = yield ask(model, _path(batch_id))
    return _read(response, model)


def cancel(batch_id: str, model: Model) -> Flow[BatchState]:
    """See `base.BatchAdapter.cancel`."""
    request = ask(model, _path(batch_id) + "/cancel", body=b"")
    return (yield from stopped(request, look(batch_id, model), model, fault))


def failure(response: HttpResponse, model: Model) -> CallError:
    """See `base.BatchAdapter.failure`."""
    return refused(response, model, fault)


def result(line: bytes, model: Model) -> ResultLine:
    """See `base.BatchAdapter.result`."""
    return read_line(line, model, outcome)


def _hours(model: Model) -> int:
    """The window of the provider's entry ("24h", "7d") in hours."""
    window = model.provider.batch.window if model.provider.batch else "24h"
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise ConfigError(f"{model.provider.name}: batch.window is {window!r}, not as 24h or 7d")
    return int(match[1]) * (24 if match[2] == "d" else 1)


def _path(batch_id: str) -> str:
    return f"{_PATH}/{quote(batch_id, safe='')}"


def _entries(response: HttpResponse, model: Model) -> list[dict[str, Any]]:
    body = body_of(response, model, fault)
    try:
        entries = as_list(body.get("data") or [], "data")
    except MalformedError as error:
        raise unreadable(response, model, error) from None
    return [entry for entry in entries if type(entry) is dict]


def _read(response: HttpResponse, model: Model) -> BatchState:
    return read_state(response, model, fault, _state_with_id)


def _state_with_id(body: dict[str, Any]) -> BatchState:
    as_text(body.get("id"), "id")
    as_text(body.get("status"), "status")
    return _state(body)


def _state(body: dict[str, Any]) -> BatchState:
    status = text_or_none(body.get("status")) or ""
    ended = status in _PROBLEMS
    results = files(body.get("output_file"), body.get("error_file")) if ended else ()
    return BatchState(
        text_or_none(body.get("id")) or "",
        status,
        ended,
        BatchCounts(
            count(body.get("total_requests")),
            count(body.get("succeeded_requests")),
            count(body.get("failed_requests")),
        ),
        results,
        _problem(status, bool(results), body.get("errors")) if ended else None,
        name=text_or_none(details(body.get("metadata"), METADATA_KEY)) or "",
        created_at=seconds(body.get("created_at")),
    )


def _problem(status: str, results: bool, errors: Any) -> str | None:
    why = _PROBLEMS[status]
    if why is None:
        if results:
            return None
        why = "the job has ended well, but with neither an output file nor an error file"
    told = joined([_told(error) for error in errors] if type(errors) is list else [])
    return f"{why}: {told}" if told else why


def _told(error: Any) -> str:
    message = text_or_none(details(error, "message")) or ""
    times = count(details(error, "count"))
    return f"{message} ({times} times)" if message and times > 1 else message
