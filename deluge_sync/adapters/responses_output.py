"""A `response` object of OpenAI's Responses as an answer.

From the openai SDK 3.54 (`types/responses/response.py`, `response_output_item.py`,
`response_usage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ..values.errors import CallCancelledError, TransientError
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall, VendorBlock
from ..values.response import Answer, TokenLogprob, Usage
from ..values.wire import HttpResponse
from .body import (
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    load_arguments,
    text_or_none,
)
from .failures import Fault, failure, refusal, request_id
from .openai_common import fault

PENDING = ("queued", "in_progress")
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_LARGEST = 1e9
PARAGRAPH = "\n\n"
"""Between the parts of a reasoning summary, which are paragraphs with a heading each."""


def read_response(body: dict[str, Any], head: HttpResponse, model: Model) -> Answer:
    """The answer in `body`, whose status says what it is.

    A run that failed is raised as the `CallError` that fits its code, a cancelled one as a
    `CallCancelledError`. A model that still works gives an `Answer` with `pending`.
    """
    status = body.get("status")
    if body.get("error") or status == "failed":
        raise failure(head, model, _failed(body, head.status))
    if status == "cancelled":
        raise CallCancelledError(
            f"{model.provider.name} says that this response was cancelled",
            status=head.status,
            request_id=request_id(head),
            code="cancelled",
        )
    identity, tier = text_or_none(body.get("id")), text_or_none(body.get("service_tier"))
    if status in PENDING:
        nothing = Message("assistant", ())
        usage = read_usage(body.get("usage"))
        return Answer(nothing, usage, None, identity, pending=status, service_tier=tier)
    if status not in ("completed", "incomplete"):
        raise MalformedError(f"status is {status!r}")
    return _finished(body, head, model)._replace(response_id=identity, service_tier=tier)


def read_usage(usage: Any) -> Usage:
    """Tokens; both counts have all of their parts in them."""
    if type(usage) is not dict:
        return Usage()
    read = usage.get("input_tokens_details")
    cache_write = count(details(read, "cache_write_tokens"))
    by_ttl = details(read, "cache_write_tokens_details")
    return Usage(
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        count(details(read, "cached_tokens")),
        cache_write,
        count(details(usage.get("output_tokens_details"), "reasoning_tokens")),
        min(count(details(by_ttl, "ttl_12h_tokens")), cache_write),
    )


def _failed(body: dict[str, Any], status: int) -> Fault:
    if body.get("error"):
        return fault(body, status)
    return Fault("the run failed, and no reason is given", kind=TransientError)


def _finished(body: dict[str, Any], head: HttpResponse, model: Model) -> Answer:
    output = _Output()
    for item in as_list(body.get("output"), "output"):
        output.take(as_object(item, "an item of output"))
    finish = _finish(body, output)
    error = None
    if finish in ("refusal", "content_filter"):
        error = refusal(head, model, finish, "".join(output.refusals) or None)
    content = Message("assistant", tuple(output.parts))
    logprobs = tuple(output.logprobs) if output.logprobs else None
    return Answer(
        content, read_usage(body.get("usage")), finish, None, error=error, logprobs=logprobs
    )


def _finish(body: dict[str, Any], output: _Output) -> str:
    """There is no finish reason here: the status, its details and the items together are one."""
    if output.refusals:
        return "refusal"
    if body.get("status") == "incomplete":
        reason = text_or_none(details(body.get("incomplete_details"), "reason")) or "incomplete"
        return _REASONS.get(reason, reason)
    return "tool_calls" if any(type(part) is ToolCall for part in output.parts) else "stop"


class _Output:
    """What the items of one response hold. Those of the vendor's own tools stay as they are."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.refusals: list[str] = []
        self.logprobs: list[TokenLogprob] = []

    def take(self, item: dict[str, Any]) -> None:
        kind = text_or_none(item.get("type"))
        if kind is None:
            return
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._reasoning(item)
        elif kind in _CALLS:
            # One that was broken off has half its arguments, and is not meant to be run.
            if item.get("status") != "incomplete":
                self.parts.append(_CALLS[kind](item))
        else:
            self.parts.append(VendorBlock(item))

    def _message(self, item: dict[str, Any]) -> None:
        phase = text_or_none(item.get("phase"))
        for part in as_list(item.get("content"), "a message's content"):
            part = as_object(part, "a part of a message")
            kind = part.get("type")
            if kind == "output_text":
                self.parts.append(Text(as_text(part.get("text"), "an output text"), phase))
                self.logprobs += _logprobs(part.get("logprobs"))
            elif kind == "refusal":
                self.refusals.append(as_text(part.get("refusal"), "a refusal"))

    def _reasoning(self, item: dict[str, Any]) -> None:
        text = _joined(item.get("summary")) or _joined(item.get("content"))
        signature = text_or_none(item.get("encrypted_content"))
        if text or signature:
            self.parts.append(Thinking(text, signature, id=text_or_none(item.get("id"))))


def _joined(parts: Any) -> str:
    if parts is None:
        return ""
    texts = [details(part, "text") for part in as_list(parts, "a reasoning item's parts")]
    return PARAGRAPH.join(as_text(text, "a reasoning item's text") for text in texts)


def _function_call(item: dict[str, Any]) -> ToolCall:
    arguments = load_arguments(item.get("arguments"), "a call's arguments")
    return ToolCall(_call_id(item), as_text(item.get("name"), "a tool call's name"), arguments)


def _custom_call(item: dict[str, Any]) -> ToolCall:
    """The plain text that a custom tool takes is its argument "input"."""
    arguments = {"input": as_text(item.get("input"), "a tool's input")}
    name = as_text(item.get("name"), "a tool call's name")
    return ToolCall(_call_id(item), name, arguments, kind="custom")


def _computer_call(item: dict[str, Any]) -> ToolCall:
    """Its signature is the item's own id, which is sent back with it."""
    identity, arguments = text_or_none(item.get("id")), computer_arguments(item)
    return ToolCall(_call_id(item), "computer", arguments, identity, kind="computer")


def computer_arguments(item: dict[str, Any]) -> dict[str, Any]:
    """The actions of a `computer_call` (older ones have a single `action`), and its checks."""
    single = item.get("action")
    actions = item.get("actions") or ([] if single is None else [single])
    held = {
        "actions": actions,
        "pending_safety_checks": item.get("pending_safety_checks") or [],
    }
    for name, values in held.items():
        for value in as_list(values, f"a computer call's {name}"):
            as_object(value, f"one of a computer call's {name}")
    return held


def _call_id(item: dict[str, Any]) -> str:
    return as_text(item.get("call_id"), "a tool call's call_id")


_CALLS: Mapping[str, Callable[[dict[str, Any]], ToolCall]] = {
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
    "computer_call": _computer_call,
}


def _logprobs(tokens: Any) -> list[TokenLogprob]:
    return [_logprob(token) for token in tokens] if type(tokens) is list else []


def _logprob(token: Any) -> TokenLogprob:
    token = as_object(token, "a logprob")
    top = [as_object(other, "a logprob") for other in token.get("top_logprobs") or ()]
    return TokenLogprob(*_pair(token), tuple(_pair(other) for other in top))


def _pair(token: dict[str, Any]) -> tuple[str, float]:
    logprob: Any = token.get("logprob")
    if type(logprob) not in (int, float) or not abs(logprob) < _LARGEST:
        raise MalformedError("a logprob is not a number")
    return as_text(token.get("token"), "a logprob's token"), float(logprob)
