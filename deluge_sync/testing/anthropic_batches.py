"""Anthropic's `/v1/messages/batches`.

Fields as in the anthropic SDK 2.12 (`types/messages`). The params are looked at late, as there: a
bad body is an `errored` result. A batch under no version of the API is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .anthropic_messages import _version
from .anthropic_voice import VOICE
from .batch_lines import Call, Lines, Outcome
from .batches import Batch, BatchStore, Order
from .checks import ARRAY, OBJECT, STRING, VendorError, check_fields
from .codec import dump_json, parse_json, timestamp
from .http import Answer
from .pages import Download, Visit, json_answer
from .wire import Body

MOST_REQUESTS = 100_000
_DAY = 86_400
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_STATUSES = {"waiting": "in_progress", "running": "in_progress", "cancelling": "canceling"}
_UNDONE = {"cancelled": "canceled", "expired": "expired"}


class AnthropicForm:
    """See `Form`."""

    wire = "anthropic"
    file_wire = "anthropic"
    file_form = ""
    one_file = True
    keeps = frozenset(("completed", "expired", "cancelled", "failed"))

    def call(self, line: bytes, batch: Batch) -> Call:
        """See `Form`."""
        read = json.loads(line)
        return Call(read["custom_id"], batch.order.path, read["params"])

    def done(self, batch: Batch, at: int, call: Call, outcome: Outcome) -> bytes:
        """See `Form`."""
        result: Body = {"type": "succeeded", "message": outcome.body}
        if outcome.status != 200:
            result = {"type": "errored", "error": outcome.body}
        return dump_json({"custom_id": call.custom_id, "result": result})

    def undone(self, batch: Batch, at: int, call: Call) -> bytes | None:
        """See `Form`."""
        result: Body = {"type": _UNDONE.get(batch.status, "errored")}
        if batch.status == "failed":
            batch.failed += 1
            error = {"type": "api_error", "message": "Internal server error"}
            request_id = f"req_sandbox{batch.number:08d}{at:09d}"
            result["error"] = {"type": "error", "error": error, "request_id": request_id}
        return dump_json({"custom_id": call.custom_id, "result": result})


FORM = AnthropicForm()


def anthropic_page(
    visit: Visit, batches: BatchStore, identity: str, action: str
) -> Answer | Download:
    """The answer to a request for the list ("" for `identity`), for one, its results, or to
    cancel it.
    """
    _version(visit.incoming.headers)
    if not identity:
        visit.require("GET", "POST")
        if visit.incoming.method == "POST":
            return json_answer(_shape(visit, _create(visit, batches)))
        return json_answer(_list(visit, batches))
    batch = batches.get("anthropic", identity)
    if action == "results":
        visit.require("GET")
        return _results(batch)
    if action == "cancel":
        visit.require("POST")
        if batch.ended:
            raise VendorError(400, f"Batch {identity} has ended and cannot be canceled.")
        return json_answer(_shape(visit, batches.cancel(batch, visit.now)))
    visit.require("GET", "DELETE")
    if visit.incoming.method == "GET":
        return json_answer(_shape(visit, batches.look(batch, visit.now)))
    if not batch.ended:
        raise VendorError(400, f"Batch {identity} cannot be deleted while it is in progress.")
    batches.remove(batch)
    return json_answer({"id": identity, "type": "message_batch_deleted"})


def _results(batch: Batch) -> Download:
    if not batch.ended or not len(batch.output):
        raise VendorError(404, f"Batch {batch.id} has no results available.")
    return Download((("content-type", "application/x-jsonl"),), batch.output)


def _create(visit: Visit, batches: BatchStore) -> Batch:
    body = parse_json(visit.incoming)
    check_fields(body, {"requests": ARRAY}, VOICE, required=("requests",), strict=visit.strict)
    requests = body["requests"]
    if not requests:
        raise VOICE.wrong(("requests",), "a list with at least 1 item")
    if len(requests) > MOST_REQUESTS:
        raise VendorError(413, f"requests: at most {MOST_REQUESTS} requests are allowed")
    seen: set[str] = set()
    for at, request in enumerate(requests):
        _check(request, at, seen, visit.strict)
    lines = Lines(b"\n".join(map(dump_json, requests)))
    order = Order(FORM, lines, "/v1/messages", visit.incoming.headers)
    if batches.crowded(order) is not None:
        raise VendorError(429, "Too many requests are being processed in batches.")
    return batches.add("msgbatch_sandbox{:012d}", order, visit.now)


def _check(request: Any, at: int, seen: set[str], strict: bool) -> None:
    path = ("requests", at)
    fields = {"custom_id": STRING, "params": OBJECT}
    check_fields(request, fields, VOICE, path=path, required=tuple(fields), strict=strict)
    custom_id = request["custom_id"]
    if not _CUSTOM_ID.fullmatch(custom_id):
        expected = "a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'"
        raise VOICE.wrong((*path, "custom_id"), expected)
    if custom_id in seen:
        raise VOICE.wrong((*path, "custom_id"), f"unique; '{custom_id}' comes twice")
    seen.add(custom_id)


def _list(visit: Visit, batches: BatchStore) -> Body:
    found = batches.of("anthropic")
    ids = [batch.id for batch in found]
    limit = min(visit.number("limit", 20), 1000)
    after, before = visit.asked("after_id", ""), visit.asked("before_id", "")
    start, end = 0, len(found)
    if after in ids:
        start = ids.index(after) + 1
    if before in ids:
        end = ids.index(before)
        start = max(0, end - limit)
    page = found[start : min(end, start + limit)]
    more = start > 0 if before in ids else start + limit < len(found)
    return {
        "data": [_shape(visit, batch) for batch in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _shape(visit: Visit, batch: Batch) -> Body:
    has_results = batch.ended and len(batch.output)
    where = f"{visit.site}/v1/messages/batches/{batch.id}/results"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": _STATUSES.get(batch.status, "ended"),
        "request_counts": _counts(batch),
        "created_at": timestamp(batch.created_at),
        "expires_at": timestamp(batch.created_at + _DAY),
        "ended_at": _moment(batch.ended_at),
        "cancel_initiated_at": _moment(batch.cancelled_at),
        "archived_at": None,
        "results_url": where if has_results else None,
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)


def _counts(batch: Batch) -> Body:
    """All are processing until the batch has ended."""
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if not batch.ended:
        return {**counts, "processing": batch.total}
    counts["succeeded"], counts["errored"] = batch.succeeded, batch.failed
    if batch.status in _UNDONE:
        counts[_UNDONE[batch.status]] = batch.total - batch.done
    return counts
