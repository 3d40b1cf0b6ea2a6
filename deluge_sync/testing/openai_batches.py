"""OpenAI's `/v1/batches`; Groq has the same under `/openai`.

Fields as in the openai SDK 3.54 (`types/batch.py`, `batch_error.py`) and the groq SDK 1.7; the
codes of `errors` and of lines without a response as in OpenAI's API reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .batch_lines import Call, Lines, Outcome
from .batches import Batch, BatchStore, Order
from .checks import OBJECT, STRING, VendorError, check_fields
from .codec import dump_json, parse_json
from .http import Answer
from .openai_voice import VOICE
from .pages import Visit, json_answer, page_after
from .wire import Body

ENDPOINTS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
MOST_LINES = 50_000
MOST_BYTES = 200 << 20
_DAY = 86_400

_FIELDS = {
    "input_file_id": STRING,
    "endpoint": STRING,
    "completion_window": STRING,
    "metadata": OBJECT,
    "output_expires_after": OBJECT,
}
_STATUSES = {"waiting": "validating", "running": "in_progress"}
_UNDONE = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "This batch was cancelled before this request was executed."),
}


class OpenAIForm:
    """See `Form`."""

    wire = "openai"
    file_wire = "openai"
    file_form = "file-sandbox{:012d}"
    one_file = False
    keeps = frozenset(("completed", "expired", "cancelled"))

    def call(self, line: bytes, batch: Batch) -> Call:
        """See `Form`."""
        read = json.loads(line)
        return Call(read["custom_id"], read["url"], read["body"])

    def done(self, batch: Batch, at: int, call: Call, outcome: Outcome) -> bytes:
        """See `Form`."""
        response = {
            "status_code": outcome.status,
            "request_id": f"req_sandbox{batch.number:08d}{at:016d}",
            "body": outcome.body,
        }
        return dump_json(_line(batch, at, call, response, None))

    def undone(self, batch: Batch, at: int, call: Call) -> bytes | None:
        """See `Form`."""
        code, message = _UNDONE.get(batch.status, ("batch_failed", "The batch failed."))
        return dump_json(_line(batch, at, call, None, {"code": code, "message": message}))


def _line(batch: Batch, at: int, call: Call, response: Any, error: Any) -> Body:
    identity = f"batch_req_sandbox{batch.number:08d}{at:016d}"
    return {"id": identity, "custom_id": call.custom_id, "response": response, "error": error}


FORM = OpenAIForm()


def openai_page(visit: Visit, batches: BatchStore, identity: str, action: str) -> Answer:
    """The answer to a request for the list ("" for `identity`), for one, or to cancel it."""
    if not identity:
        visit.require("GET", "POST")
        if visit.incoming.method == "POST":
            return json_answer(_shape(_create(visit, batches)))
        return json_answer(_list(visit, batches))
    visit.require("POST" if action else "GET")
    batch = batches.get("openai", identity)
    if not action:
        return json_answer(_shape(batches.look(batch, visit.now)))
    if batch.ended:
        message = f"Cannot cancel a batch with status '{batch.status}'."
        raise VendorError(409, message, kind="invalid_request_error")
    return json_answer(_shape(batches.cancel(batch, visit.now)))


def _create(visit: Visit, batches: BatchStore) -> Batch:
    body = parse_json(visit.incoming)
    required = ("input_file_id", "endpoint", "completion_window")
    check_fields(body, _FIELDS, VOICE, required=required, strict=visit.strict)
    if body["endpoint"] not in ENDPOINTS:
        known = ", ".join(f"'{word}'" for word in ENDPOINTS)
        message = f"Invalid value: '{body['endpoint']}'. Supported values are: {known}."
        raise VendorError(400, message, param="endpoint", code="invalid_value")
    _check_metadata(body.get("metadata"))
    file = visit.store.get("openai", body["input_file_id"], visit.now)
    if file.purpose != "batch":
        message = f"File '{file.id}' has purpose '{file.purpose}', it must be 'batch'."
        raise VendorError(400, message, param="input_file_id")
    lines = Lines(file.data)
    problems = list(_problems(lines, body["endpoint"], len(file.data)))
    order = Order(
        FORM,
        lines,
        body["endpoint"],
        visit.incoming.headers,
        metadata=body.get("metadata"),
        problems=problems[:100],
        about={"input_file_id": file.id, "completion_window": body["completion_window"]},
    )
    most = batches.crowded(order)
    if most is not None:
        order = order._replace(problems=[_too_many_tokens(most, order)])
    return batches.add("batch_sandbox{:012d}", order, visit.now)


def _check_metadata(metadata: Any) -> None:
    pairs = (metadata or {}).items()
    if len(pairs) > 16 or any(
        not isinstance(value, str) or len(name) > 64 or len(value) > 512 for name, value in pairs
    ):
        message = "Invalid 'metadata': at most 16 strings of 512 characters, keys of 64."
        raise VendorError(400, message, param="metadata", code="invalid_value")


def _problems(lines: Lines, endpoint: str, size: int) -> Iterator[Body]:
    """What validation finds, by line from 1."""
    if not len(lines):
        yield _problem("empty_file", "The input file is empty.")
    if len(lines) > MOST_LINES or size > MOST_BYTES:
        message = f"The batch is over {MOST_LINES} requests or {MOST_BYTES} bytes."
        yield _problem("too_many_tasks", message)
        return
    seen: set[str] = set()
    models: set[str] = set()
    for number, line in enumerate(lines, 1):
        problem = _line_problem(line, endpoint, seen, models)
        if problem is not None:
            yield {**problem, "line": number}


def _line_problem(line: bytes, endpoint: str, seen: set[str], models: set[str]) -> Body | None:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return _problem("invalid_json_line", "This line is not parseable as valid JSON.")
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(read, dict) or not isinstance(read.get(name), kind):
            message = f"Missing required parameter: '{name}'."
            return _problem("missing_required_parameter", message, name)
    if read["method"] != "POST":
        return _problem("invalid_method", "The method must be POST.", "method")
    if read["url"] != endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        return _problem("url_mismatch", message, "url")
    if read["custom_id"] in seen:
        message = "The custom_id for this request is a duplicate of another request."
        return _problem("duplicate_custom_id", message, "custom_id")
    seen.add(read["custom_id"])
    models.add(str(read["body"].get("model")))
    if len(models) > 1:
        message = "The model for this request does not match the rest of the batch. "
        message += "Each batch must contain requests for a single model."
        return _problem("model_mismatch", message, "body.model")
    return None


def _problem(code: str, message: str, param: str | None = None) -> Body:
    return {"code": code, "line": None, "message": message, "param": param}


def _too_many_tokens(most: int, order: Order) -> Body:
    model = json.loads(order.lines[0])["body"].get("model")
    message = (
        f"Enqueued token limit reached for {model} in organization org-sandbox. Limit: {most:,} "
        "enqueued tokens. Please try again once some in_progress batches have been completed."
    )
    return _problem("token_limit_exceeded", message)


def _list(visit: Visit, batches: BatchStore) -> Body:
    limit = min(visit.number("limit", 20), 100)
    page, more = page_after(batches.of("openai"), visit.asked("after", ""), limit)
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {}
    return {"object": "list", "data": [_shape(one) for one in page], **ends, "has_more": more}


def _shape(batch: Batch) -> Body:
    order, ended, begun = batch.order, batch.ended_at, batch.begun_at
    if batch.problems:
        begun = None
    at = {name: ended if batch.status == name else None for name in _ENDED_AT}
    failed = batch.status == "failed"
    problems = batch.problems or [_problem("internal_error", "The batch could not be processed.")]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": order.path,
        "errors": {"object": "list", "data": problems} if failed else None,
        **order.about,
        "status": _STATUSES.get(batch.status, batch.status),
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": int(batch.created_at),
        "in_progress_at": _whole(begun),
        "expires_at": int(batch.created_at) + _DAY,
        "finalizing_at": _whole(at["completed"]),
        "cancelling_at": _whole(batch.cancelled_at),
        **{f"{name}_at": _whole(moment) for name, moment in at.items()},
        "request_counts": {
            "total": 0 if batch.problems or begun is None else batch.total,
            "completed": batch.succeeded,
            "failed": batch.failed,
        },
        "usage": _usage(batch),
        "metadata": order.metadata,
    }


_ENDED_AT = ("completed", "failed", "expired", "cancelled")


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _usage(batch: Batch) -> Body:
    usage = batch.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
