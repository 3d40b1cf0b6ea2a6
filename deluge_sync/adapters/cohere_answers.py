"""What Cohere's chat answers with: whole, and in events.

Written from the types of the cohere SDK 7.3 (`v2/types/v2chat_response`, `v2chat_stream_response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.errors import TransientError
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall
from ..values.response import Answer, TokenLogprob, Usage
from ..values.wire import HttpResponse
from .body import (
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    load,
    load_arguments,
    text_or_none,
)
from .cohere_common import units
from .failures import Fault, cut_off, failure, unreadable, words
from .sse import ServerEvent

PLAN = "tool_plan"
"""The `Thinking.id` of what a model means to do with its tools: it goes back in its own field."""

_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
_FAILED = frozenset({"ERROR", "TIMEOUT"})


def read(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    """The answer in a body. One that broke off at the server is a `TransientError`."""
    message = as_object(body.get("message"), "message")
    parts: list[Part] = []
    for block in as_list(message.get("content") or [], "message.content"):
        block = as_object(block, "a content block")
        if block.get("type") == "thinking":
            parts.append(Thinking(as_text(block.get("thinking"), "a block's thinking")))
        elif block.get("type") == "text":
            parts.append(Text(as_text(block.get("text"), "a block's text")))
    plan = text_or_none(message.get("tool_plan"))
    if plan:
        parts.append(Thinking(plan, id=PLAN))
    for call in as_list(message.get("tool_calls") or [], "message.tool_calls"):
        parts.append(_tool_call(as_object(call, "a tool call")))
    word = text_or_none(body.get("finish_reason"))
    if word in _FAILED:
        raise failure(response, model, _broken(word, None))
    return Answer(
        Message("assistant", tuple(parts)),
        _usage(body.get("usage")),
        _FINISH.get(word, word.lower()) if word else None,
        text_or_none(body.get("id")),
        logprobs=_logprobs(body.get("logprobs")),
    )


class CohereFold:
    """See `base.Fold`."""

    def __init__(self, head: HttpResponse, model: Model) -> None:
        self.done = False
        self._head = head
        self._model = model
        self._body: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._plan = ""
        self._logprobs: list[Any] = []

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`."""
        if self.done or event.data.startswith("[DONE]"):
            return []
        try:
            data = as_object(load(event.data), "an event")
            take = _TAKES.get(text_or_none(data.get("type")) or event.name)
            if take is None and data.get("message") and "delta" not in data:
                raise failure(self._head, self._model, _broken("ERROR", data["message"]))
            return take(self, data) if take else []
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def answer(self) -> Answer:
        """See `base.Fold`."""
        if not self.done:
            raise cut_off(self._head, self._model)
        message = {
            "content": [block for _, block in sorted(self._blocks.items())],
            "tool_plan": self._plan,
            "tool_calls": [call for _, call in sorted(self._calls.items())],
        }
        body = {**self._body, "message": message, "logprobs": self._logprobs}
        try:
            return read(body, self._head, self._model)
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def _start(self, data: dict[str, Any]) -> list[Delta]:
        self._body["id"] = data.get("id")
        return []

    def _content(self, data: dict[str, Any]) -> list[Delta]:
        """A block's beginning, which may hold text already, or more of it."""
        content = _held(data, "content")
        index = count(data.get("index"))
        text, thought = text_or_none(content.get("text")), text_or_none(content.get("thinking"))
        if data.get("logprobs"):
            self._logprobs.append(data["logprobs"])
        if thought is None and text is None:
            return []
        name = "text" if thought is None else "thinking"
        block = self._blocks.setdefault(index, {"type": name, name: ""})
        if block["type"] != name:
            raise MalformedError("a block of an answer is both text and thinking")
        block[name] += text or thought
        return [TextDelta(text)] if text is not None else [ThinkingDelta(thought or "")]

    def _plan_delta(self, data: dict[str, Any]) -> list[Delta]:
        text = text_or_none(details(details(data.get("delta"), "message"), "tool_plan"))
        self._plan += text or ""
        return [ThinkingDelta(text)] if text else []

    def _call_start(self, data: dict[str, Any]) -> list[Delta]:
        index, call = count(data.get("index")), _held(data, "tool_calls")
        function = as_object(call.get("function"), "a tool call's function")
        arguments = text_or_none(function.get("arguments")) or ""
        self._calls[index] = {**call, "function": {**function, "arguments": arguments}}
        identity, name = text_or_none(call.get("id")), text_or_none(function.get("name"))
        return [ToolCallDelta(index, arguments, identity, name)]

    def _call_delta(self, data: dict[str, Any]) -> list[Delta]:
        index = count(data.get("index"))
        more = text_or_none(details(_held(data, "tool_calls").get("function"), "arguments"))
        if index not in self._calls:
            raise MalformedError("a piece of a tool call came before its beginning")
        self._calls[index]["function"]["arguments"] += more or ""
        return [ToolCallDelta(index, more)] if more else []

    def _end(self, data: dict[str, Any]) -> list[Delta]:
        delta = as_object(data.get("delta"), "the last delta")
        word = as_text(delta.get("finish_reason"), "finish_reason")
        if word in _FAILED or delta.get("error"):
            raise failure(self._head, self._model, _broken(word, delta.get("error")))
        self._body.update(finish_reason=word, usage=delta.get("usage"))
        self.done = True
        return [UsageDelta(_usage(delta.get("usage")))]


_TAKES: Mapping[Any, Callable[[CohereFold, dict[str, Any]], list[Delta]]] = {
    "message-start": CohereFold._start,
    "content-start": CohereFold._content,
    "content-delta": CohereFold._content,
    "tool-plan-delta": CohereFold._plan_delta,
    "tool-call-start": CohereFold._call_start,
    "tool-call-delta": CohereFold._call_delta,
    "message-end": CohereFold._end,
}
"""What is done with each kind of event; the others add nothing."""


def _held(data: dict[str, Any], name: str) -> dict[str, Any]:
    message = details(data.get("delta"), "message")
    return as_object(details(message, name), f"delta.message.{name}")


def _broken(word: str | None, message: Any) -> Fault:
    said = text_or_none(message) or "the answer broke off at the server"
    return Fault(said, words(word), TransientError)


def _tool_call(call: dict[str, Any]) -> ToolCall:
    function = as_object(call.get("function"), "a tool call's function")
    return ToolCall(
        as_text(call.get("id"), "a tool call's id"),
        as_text(function.get("name"), "a tool call's name"),
        load_arguments(function.get("arguments"), "a tool call's arguments"),
    )


def _usage(usage: Any) -> Usage:
    """What is billed, which leaves out what Cohere itself adds to a prompt, else what was used."""
    if type(usage) is not dict:
        return Usage()
    billed, used = usage.get("billed_units"), usage.get("tokens")
    read_tokens = units(billed, "input_tokens") or units(used, "input_tokens")
    written = units(billed, "output_tokens") or units(used, "output_tokens")
    return Usage(read_tokens, written, min(units(usage, "cached_tokens"), read_tokens))


def _logprobs(items: Any) -> tuple[TokenLogprob, ...] | None:
    """Those of pieces of text that are one token each; others have no one probability."""
    if type(items) is not list or not items:
        return None
    found = []
    for item in items:
        values = details(item, "logprobs")
        if type(values) is list and len(values) == 1 and type(values[0]) in (int, float):
            found.append(TokenLogprob(text_or_none(details(item, "text")) or "", float(values[0])))
    return tuple(found)
