"""What Converse answers with: whole, and in the events of ConverseStream.

Written from botocore 1.44's model of `bedrock-runtime` (2023-09-30).
"""

from __future__ import annotations

from typing import Any, Callable

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall, VendorBlock
from ..values.response import Answer, Usage
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
from .failures import Fault, cut_off, failure, refusal, unreadable
from .sse import ServerEvent

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

_SERVER = "server_tool_use"
"""The type of a call that Bedrock answers by itself; others have none."""


def read(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    """The answer in the body of a Converse call."""
    message = as_object(details(body.get("output"), "message"), "output.message")
    parts: list[Part] = []
    for block in as_list(message.get("content"), "content"):
        parts.append(_part(as_object(block, "a content block")))
    return _answer(parts, body.get("stopReason"), body, response, model)


class ConverseFold:
    """See `base.Fold`. `metadata`, with the usage, comes last, after `messageStop`."""

    def __init__(
        self, head: HttpResponse, model: Model, read_fault: Callable[[Any, int], Fault]
    ) -> None:
        self.done = False
        self._head = head
        self._model = model
        self._read_fault = read_fault
        self._blocks: dict[int, dict[str, Any]] = {}
        self._stop: Any = None
        self._metadata: dict[str, Any] = {}

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`."""
        if self.done:
            return []
        try:
            data = as_object(load(event.data), "an event")
            return self._take(event.name, data)
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def answer(self) -> Answer:
        """See `base.Fold`."""
        if not self.done:
            raise cut_off(self._head, self._model)
        try:
            parts = [part for _, block in sorted(self._blocks.items()) for part in _built(block)]
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None
        return _answer(parts, self._stop, self._metadata, self._head, self._model)

    def _take(self, name: str, data: dict[str, Any]) -> list[Delta]:
        if name == "error" or data.get("error"):
            raise failure(self._head, self._model, self._read_fault(data, self._head.status))
        if name == "contentBlockStart":
            return self._begin(count(data.get("contentBlockIndex")), data.get("start"))
        if name == "contentBlockDelta":
            delta = as_object(data.get("delta"), "a delta")
            return self._more(count(data.get("contentBlockIndex")), delta)
        if name == "messageStop":
            self._stop = as_text(data.get("stopReason"), "stopReason")
        elif name == "metadata" and self._stop is not None:
            self._metadata, self.done = data, True
            return [UsageDelta(_usage(data.get("usage")))]
        return []

    def _begin(self, index: int, start: Any) -> list[Delta]:
        block = self._blocks.setdefault(index, {})
        result = details(start, "toolResult")
        if type(result) is dict:
            block["result"] = {**result, "content": []}
        call = details(start, "toolUse")
        if type(call) is not dict:
            return []
        block["id"] = as_text(call.get("toolUseId"), "a toolUse's toolUseId")
        block["name"] = as_text(call.get("name"), "a toolUse's name")
        block["input"] = ""
        if call.get("type") == _SERVER:
            block["server"] = True
            return []
        return [ToolCallDelta(index, "", block["id"], block["name"])]

    def _more(self, index: int, delta: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        text = text_or_none(delta.get("text"))
        if text is not None:
            self._add(index, "text", text)
            deltas.append(TextDelta(text))
        arguments = text_or_none(details(delta.get("toolUse"), "input"))
        if arguments is not None:
            self._add(index, "input", arguments)
            if "server" not in self._blocks[index]:
                deltas.append(ToolCallDelta(index, arguments))
        gained = delta.get("toolResult")
        if type(gained) is list and "result" in self._blocks.get(index, ()):
            self._blocks[index]["result"]["content"] += gained
        reasoning = delta.get("reasoningContent")
        thought = text_or_none(details(reasoning, "text"))
        if thought is not None:
            self._add(index, "thinking", thought)
            deltas.append(ThinkingDelta(thought))
        for name in ("signature", "redactedContent"):
            self._add(index, name, text_or_none(details(reasoning, name)) or "")
        return deltas

    def _add(self, index: int, name: str, text: str) -> None:
        if text:
            block = self._blocks.setdefault(index, {})
            block[name] = block.get(name, "") + text


def _built(block: dict[str, Any]) -> list[Part]:
    """The parts of a block whose deltas have all come."""
    if "result" in block:
        return [VendorBlock({"toolResult": block["result"]})]
    if "id" in block:
        arguments = load_arguments(block["input"], "a toolUse's input")
        if "server" in block:
            call = {"toolUseId": block["id"], "name": block["name"], "input": arguments}
            return [VendorBlock({"toolUse": {**call, "type": _SERVER}})]
        return [ToolCall(block["id"], block["name"], arguments)]
    parts: list[Part] = []
    if "thinking" in block or "signature" in block:
        parts.append(Thinking(block.get("thinking", ""), block.get("signature")))
    if "redactedContent" in block:
        parts.append(Thinking(block["redactedContent"], redacted=True))
    if "text" in block:
        parts.append(Text(block["text"]))
    return parts


def _part(block: dict[str, Any]) -> Part:
    """A block as a part. Those of the vendor's own tools stay as they are, to be sent back."""
    if "text" in block:
        return Text(as_text(block["text"], "a text block"))
    if "toolUse" in block:
        call = as_object(block["toolUse"], "a toolUse")
        if call.get("type") == _SERVER:
            return VendorBlock(block)
        return ToolCall(
            as_text(call.get("toolUseId"), "a toolUse's toolUseId"),
            as_text(call.get("name"), "a toolUse's name"),
            as_object(call.get("input") or {}, "a toolUse's input"),
        )
    if "reasoningContent" not in block:
        return VendorBlock(block)
    reasoning = as_object(block["reasoningContent"], "a reasoningContent")
    if "redactedContent" in reasoning:
        return Thinking(as_text(reasoning["redactedContent"], "redactedContent"), redacted=True)
    thought = as_object(reasoning.get("reasoningText"), "a reasoningText")
    text = as_text(thought.get("text"), "a reasoningText's text")
    return Thinking(text, text_or_none(thought.get("signature")))


def _answer(
    parts: list[Part], word: Any, body: dict[str, Any], response: HttpResponse, model: Model
) -> Answer:
    """`body` is what holds the usage and the tier."""
    reason = text_or_none(word)
    finish = _FINISH.get(reason, reason) if reason else None
    error = None
    if finish in ("content_filter", "refusal"):
        error = refusal(response, model, reason or "", None)
    tier = text_or_none(details(body.get("serviceTier"), "type"))
    content = Message("assistant", tuple(parts))
    return Answer(content, _usage(body.get("usage")), finish, error=error, service_tier=tier)


def _usage(usage: Any) -> Usage:
    """`inputTokens` leaves out what was read from or written to the cache."""
    if type(usage) is not dict:
        return Usage()
    read_tokens = count(usage.get("cacheReadInputTokens"))
    written = count(usage.get("cacheWriteInputTokens"))
    return Usage(
        count(usage.get("inputTokens")) + read_tokens + written,
        count(usage.get("outputTokens")),
        read_tokens,
        written,
        0,
        min(_long(usage.get("cacheDetails")), written),
    )


def _long(entries: Any) -> int:
    """Tokens written to the cache for an hour."""
    held = entries if type(entries) is list else ()
    return sum(count(details(e, "inputTokens")) for e in held if details(e, "ttl") == "1h")
