"""Mistral's `/v1/batch/jobs`.

Fields as in the mistralai SDK 3.7 (`models/batchjob.py`, `createbatchjobrequest.py`). Lines have no
model, it is the job's; result lines have OpenAI's form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .batch_lines import Call, Lines, Outcome
from .batches import Batch, BatchStore, Order
from .checks import ARRAY, OBJECT, STRING, STRINGS, VendorError, check_fields, integer_from
from .codec import dump_json, parse_json, timestamp
from .http import Answer
from .openai_voice import VOICE
from .pages import Visit, json_answer
from .wire import Body

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings")
_FIELDS = {
    "endpoint": STRING,
    "input_files": STRINGS,
    "requests": ARRAY,
    "model": STRING,
    "agent_id": STRING,
    "metadata": OBJECT,
    "timeout_hours": integer_from(1),
}
_STATUSES = {
    "waiting": "QUEUED",
    "running": "RUNNING",
    "cancelling": "CANCELLATION_REQUESTED",
    "completed": "SUCCESS",
    "expired": "TIMEOUT_EXCEEDED",
}
_KNOWN_QUERY = frozenset(
    (
        "agent_id",
        "created_after",
        "created_by_me",
        "inline",
        "metadata",
        "model",
        "order_by",
        "page",
        "page_size",
        "status",
    )
)


class MistralForm:
    """See `Form`."""

    wire = "mistral"
    file_wire = "openai"
    file_form = "file-sandbox{:012d}"
    one_file = False
    keeps = frozenset(("completed", "expired", "cancelled"))

    def call(self, line: bytes, batch: Batch) -> Call:
        """See `Form`."""
        read = json.loads(line)
        body = {"model": batch.order.model, **read["body"]}
        return Call(str(read.get("custom_id") or ""), batch.order.path, body)

    def done(self, batch: Batch, at: int, call: Call, outcome: Outcome) -> bytes:
        """See `Form`."""
        identity = f"batch-sandbox{batch.number:06d}-{at:08d}-{call.custom_id}"
        response = {"status_code": outcome.status, "body": outcome.body}
        line = {"id": identity, "custom_id": call.custom_id, "response": response, "error": None}
        return dump_json(line)

    def undone(self, batch: Batch, at: int, call: Call) -> bytes | None:
        """See `Form`. What was not begun is in no file."""
        return None


FORM = MistralForm()


def mistral_page(visit: Visit, batches: BatchStore, identity: str, action: str) -> Answer:
    """The answer to a request for the list ("" for `identity`), for one, or to cancel it."""
    if not identity:
        visit.require("GET", "POST")
        if visit.incoming.method == "POST":
            return json_answer(_shape(_create(visit, batches)))
        return json_answer(_list(visit, batches))
    batch = batches.get("mistral", identity)
    if action:
        visit.require("POST")
        return json_answer(_shape(batches.cancel(batch, visit.now)))
    visit.require("GET", "DELETE")
    if visit.incoming.method == "DELETE":
        batches.remove(batch)
        return json_answer({"id": identity, "object": "batch", "deleted": True})
    body = _shape(batches.look(batch, visit.now))
    if visit.asked("inline", "") == "true" and batch.order.inline:
        body["outputs"] = _outputs(batch)
    return json_answer(body)


def _create(visit: Visit, batches: BatchStore) -> Batch:
    body = parse_json(visit.incoming)
    check_fields(body, _FIELDS, VOICE, required=("endpoint",), strict=visit.strict)
    if body["endpoint"] not in ENDPOINTS:
        raise VOICE.wrong(("endpoint",), "one of " + ", ".join(ENDPOINTS))
    if not body.get("model"):
        raise VOICE.missing(("model",))
    ids, requests = body.get("input_files") or [], body.get("requests") or []
    if bool(ids) == bool(requests):
        raise VendorError(422, "Exactly one of input_files and requests must be given.")
    if requests:
        data = b"\n".join(map(dump_json, requests))
    else:
        files = [visit.store.get("openai", file_id, visit.now) for file_id in ids]
        data = files[0].data if len(files) == 1 else b"\n".join(file.data for file in files)
    lines = Lines(data)
    order = Order(
        FORM,
        lines,
        body["endpoint"],
        visit.incoming.headers,
        body["model"],
        metadata=body.get("metadata"),
        problems=list(_problems(lines))[:100],
        about={"input_files": ids, "agent_id": body.get("agent_id")},
        inline=bool(requests),
    )
    if batches.crowded(order) is not None:
        raise VendorError(429, "Too many tokens are enqueued in batches.")
    return batches.add("00000000-0000-4000-8000-{:012d}", order, visit.now)


def _problems(lines: Lines) -> Iterator[Body]:
    if not len(lines):
        yield {"message": "The input is empty.", "count": 1}
    seen: set[Any] = set()
    for number, line in enumerate(lines, 1):
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            yield {"message": f"Line {number} is not valid JSON.", "count": 1}
            continue
        if not isinstance(read, dict) or not isinstance(read.get("body"), dict):
            yield {"message": f"Line {number} has no body.", "count": 1}
            continue
        custom_id = read.get("custom_id")
        if custom_id is not None and custom_id in seen:
            yield {"message": f"The custom_id of line {number} comes twice.", "count": 1}
        seen.add(custom_id)


def _list(visit: Visit, batches: BatchStore) -> Body:
    found = [batch for batch in batches.of("mistral") if _fits(batch, visit)]
    if visit.asked("order_by", "-created") == "created":
        found.reverse()
    size = visit.number("page_size", 100)
    start = visit.number("page", 0) * size
    data = [_shape(batch) for batch in found[start : start + size]]
    return {"object": "list", "data": data, "total": len(found)}


def _fits(batch: Batch, visit: Visit) -> bool:
    """Whether a batch is one that the query asks for."""
    statuses = visit.query.get("status")
    if statuses and _status(batch) not in statuses:
        return False
    if visit.asked("model", batch.order.model) != batch.order.model:
        return False
    if visit.asked("created_after", "") > timestamp(batch.created_at):
        return False
    has = {name: str(value) for name, value in (batch.order.metadata or {}).items()}
    return _wanted_metadata(visit).items() <= has.items()


def _wanted_metadata(visit: Visit) -> dict[str, str]:
    """The SDK writes each pair into the query as it is; JSON and brackets are taken too."""
    wanted: dict[str, str] = {}
    for name, values in visit.query.items():
        if name == "metadata":
            try:
                pairs = json.loads(values[0])
                wanted.update({key: str(value) for key, value in pairs.items()})
            except (ValueError, AttributeError):
                raise VOICE.wrong(("metadata",), "a JSON object") from None
        elif name not in _KNOWN_QUERY:
            inside = name.startswith("metadata[") and name.endswith("]")
            wanted[name[len("metadata[") : -1] if inside else name] = values[0]
    return wanted


def _status(batch: Batch) -> str:
    return _STATUSES.get(batch.status, batch.status.upper())


def _outputs(batch: Batch) -> list[Any]:
    lines = b"".join((*batch.output, *batch.errors)).splitlines()
    return [json.loads(line) for line in lines]


def _shape(batch: Batch) -> Body:
    failed = [{"message": "The batch could not be processed.", "count": 1}]
    begun = None if batch.begun_at is None else int(batch.begun_at)
    return {
        "id": batch.id,
        "object": "batch",
        **batch.order.about,
        "endpoint": batch.order.path,
        "model": batch.order.model,
        "metadata": batch.order.metadata,
        "errors": batch.problems or failed if batch.status == "failed" else [],
        "status": _status(batch),
        "created_at": int(batch.created_at),
        "started_at": begun,
        "completed_at": None if batch.ended_at is None else int(batch.ended_at),
        "total_requests": batch.total,
        "completed_requests": batch.succeeded + batch.failed,
        "succeeded_requests": batch.succeeded,
        "failed_requests": batch.failed,
        "output_file": batch.output_file,
        "error_file": batch.error_file,
        "outputs": None,
    }
