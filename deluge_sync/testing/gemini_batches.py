"""Gemini's `models/{model}:batchGenerateContent` and the batches it makes.

From google-genai 3.4 (`batches.py`, what it reads of an operation) and Google's pages on the Batch
API. One that has expired or failed has no results, as there; what a cancelled one has done is kept.
"""

from __future__ import annotations

import json
from typing import Any

from .batch_lines import Call, Lines, Outcome
from .batches import Batch, BatchStore, Order
from .checks import ARRAY, OBJECT, STRING, VendorError, check_fields
from .codec import dump_json, parse_json, timestamp
from .gemini_fields import VOICE
from .http import Answer
from .pages import Visit, json_answer, page_after
from .wire import Body

MOST_INLINE_BYTES = 20 << 20
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_STATES = {
    "waiting": "PENDING",
    "running": "RUNNING",
    "cancelling": "RUNNING",
    "completed": "SUCCEEDED",
}
_ERRORS = {
    "failed": (13, "The batch could not be processed."),
    "expired": (4, "The batch has expired."),
    "cancelled": (1, "The batch was cancelled."),
}


class GeminiForm:
    """See `Form`."""

    wire = "gemini"
    file_wire = "gemini"
    file_form = "files/batch-sandbox{:012d}"
    one_file = True
    keeps = frozenset(("completed", "cancelled"))

    def call(self, line: bytes, batch: Batch) -> Call:
        """See `Form`. A request may name its model again."""
        read = json.loads(line)
        metadata = read.get("metadata") or {}
        body = {name: value for name, value in read["request"].items() if name != "model"}
        return Call(str(read.get("key") or metadata.get("key") or ""), batch.order.path, body)

    def done(self, batch: Batch, at: int, call: Call, outcome: Outcome) -> bytes:
        """See `Form`."""
        read = json.loads(batch.order.lines[at])
        told = {name: read[name] for name in ("key", "metadata") if name in read}
        if outcome.status == 200:
            return dump_json({**told, "response": outcome.body})
        return dump_json({**told, "error": outcome.body["error"]})

    def undone(self, batch: Batch, at: int, call: Call) -> bytes | None:
        """See `Form`."""
        return None


FORM = GeminiForm()


def gemini_begin(visit: Visit, batches: BatchStore, model: str) -> Answer:
    """The answer to a request for a new batch."""
    visit.require("POST")
    body = parse_json(visit.incoming)
    check_fields(body, {"batch": OBJECT}, VOICE, required=("batch",), strict=visit.strict)
    batch = body["batch"]
    fields = {"displayName": STRING, "inputConfig": OBJECT, "model": STRING, "priority": STRING}
    check_fields(
        batch, fields, VOICE, path=("batch",), required=("inputConfig",), strict=visit.strict
    )
    source = batch["inputConfig"]
    check_fields(
        source,
        {"fileName": STRING, "requests": OBJECT},
        VOICE,
        path=("batch", "inputConfig"),
        strict=visit.strict,
    )
    order = _order(visit, source, model)._replace(name=batch.get("displayName") or "")
    if batches.crowded(order) is not None:
        message = "You exceeded your current quota of tokens enqueued in batches."
        raise VendorError(429, message)
    return json_answer(_shape(batches.add("batches/sandbox{:012d}", order, visit.now)))


def gemini_page(visit: Visit, batches: BatchStore, identity: str, action: str) -> Answer:
    """The answer to a request for the list ("" for `identity`), for one, or to cancel it."""
    if not identity:
        visit.require("GET")
        return json_answer(_list(visit, batches))
    batch = batches.get("gemini", f"batches/{identity}")
    if action:
        visit.require("POST")
        if batch.ended:
            message = f"The batch has ended ({batch.status}) and cannot be cancelled."
            raise VendorError(400, message, kind="FAILED_PRECONDITION")
        batches.cancel(batch, visit.now)
        return json_answer({})
    visit.require("GET", "DELETE")
    if visit.incoming.method == "GET":
        return json_answer(_shape(batches.look(batch, visit.now)))
    batches.remove(batch)
    return json_answer({})


def _order(visit: Visit, source: Body, model: str) -> Order:
    path = f"/v1beta/models/{model}:generateContent"
    if "fileName" in source:
        file = visit.store.get("gemini", source["fileName"], visit.now)
        lines = Lines(file.data)
        about = {"inputConfig": {"fileName": file.id}}
        problems = _problems(lines)
        headers = visit.incoming.headers
        return Order(FORM, lines, path, headers, model, problems=problems, about=about)
    inner = (source.get("requests") or {}).get("requests")
    if not ARRAY.accepts(inner) or not inner:
        raise VOICE.missing(("batch", "inputConfig", "requests", "requests"))
    if len(visit.incoming.body) > MOST_INLINE_BYTES:
        raise VendorError(400, "The inline requests are over 20 MB: use a file.")
    for at, request in enumerate(inner):
        inside = ("batch", "inputConfig", "requests", "requests", at)
        fields = {"request": OBJECT, "metadata": OBJECT}
        check_fields(request, fields, VOICE, path=inside, required=("request",))
    lines = Lines(b"\n".join(map(dump_json, inner)))
    return Order(FORM, lines, path, visit.incoming.headers, model, inline=True)


def _problems(lines: Lines) -> list[Any]:
    for number, line in enumerate(lines, 1):
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            return [f"Line {number} is not valid JSON."]
        if not isinstance(read, dict) or not isinstance(read.get("request"), dict):
            return [f"Line {number} has no request."]
    return [] if len(lines) else ["The file is empty."]


def _list(visit: Visit, batches: BatchStore) -> Body:
    found = batches.of("gemini")
    page, more = page_after(found, visit.asked("pageToken", ""), visit.number("pageSize", 20))
    body: Body = {"operations": [_shape(batch) for batch in page]} if page else {}
    return {**body, "nextPageToken": page[-1].id} if more else body


def _shape(batch: Batch) -> Body:
    """The operation. What is in the output is in there twice, as at Google."""
    moment = timestamp(batch.ended_at or batch.begun_at or batch.created_at)
    output = _output(batch)
    metadata = {
        "@type": _TYPE,
        "model": f"models/{batch.order.model}",
        "displayName": batch.order.name,
        **batch.order.about,
        "createTime": timestamp(batch.created_at),
        "updateTime": moment,
        "batchStats": _stats(batch),
        "state": "BATCH_STATE_" + _STATES.get(batch.status, batch.status.upper()),
        "name": batch.id,
    }
    operation: Body = {"name": batch.id, "metadata": metadata}
    if batch.ended:
        metadata["endTime"] = moment
        operation["done"] = True
    if output:
        metadata["output"] = output
    if batch.status in _ERRORS:
        code, message = _ERRORS[batch.status]
        if batch.problems:
            code, message = 3, batch.problems[0]
        operation["error"] = {"code": code, "message": message}
    elif batch.ended:
        operation["response"] = {"@type": _TYPE + "Output", **output}
    return operation


def _output(batch: Batch) -> Body:
    if batch.status not in ("completed", "cancelled"):
        return {}
    if batch.output_file is not None:
        return {"responsesFile": batch.output_file}
    if not batch.order.inline or not len(batch.output):
        return {}
    lines = b"".join(batch.output).splitlines()
    return {"inlinedResponses": {"inlinedResponses": [json.loads(line) for line in lines]}}


def _stats(batch: Batch) -> Body:
    counts = {
        "requestCount": batch.total,
        "successfulRequestCount": batch.succeeded,
        "failedRequestCount": batch.failed,
        "pendingRequestCount": 0 if batch.ended else batch.total - batch.done,
    }
    return {name: str(count) for name, count in counts.items() if count}
