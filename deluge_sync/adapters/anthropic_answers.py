"""Anthropic Messages, the reading half: answers, streams and errors.

Written from the types of the anthropic SDK 2.12 (`types/message`, `types/raw_message_stream_event`,
`lib/streaming/_messages`, `_error_classes`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.errors import CallError, QuotaExhaustedError, TooLongError
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
from .failures import Fault, cut_off, failure, refusal, sentence, unreadable, words
from .sse import ServerEvent

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
TOOLSETS = ("computer", "browser")
"""Families of tools that the vendor has trained its models on. A call's is its `kind`."""
_OWN = ("text", "thinking", "tool_use")
"""The blocks that grow in a stream and that we have a value for."""
_BROKEN_OFF = frozenset({"max_tokens", "model_context_window_exceeded", "refusal"})
# These have no code of their own on the wire, only invalid_request_error.
_TOO_LONG = re.compile(r"(?i)(?:prompt|input) is too long|exceed context limit")
_OUT_OF_CREDIT = re.compile(r"(?i)credit balance is too low|specified API usage limits")


def read(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    """The answer in a `Message`, or a `MalformedError`.

    A finish reason that is not one of ours stays as it is: after "pause_turn" the vendor goes on
    when it is sent the answer so far.
    """
    parts: list[Part] = []
    for block in as_list(body.get("content"), "content"):
        parts.append(_part(as_object(block, "a content block")))
    word = body.get("stop_reason")
    finish = _FINISH.get(word, word.lower()) if type(word) is str else None
    error = None
    if finish == "refusal":
        why = body.get("stop_details")
        code = text_or_none(details(why, "category")) or finish
        error = refusal(response, model, code, text_or_none(details(why, "explanation")))
    usage = body.get("usage")
    return Answer(
        Message("assistant", tuple(parts)),
        _usage(usage),
        finish,
        text_or_none(body.get("id")),
        error,
        service_tier=text_or_none(details(usage, "service_tier")),
    )


def fault(body: Any, status: int) -> Fault:
    """What an error's body says went wrong."""
    error = details(body, "error")
    if type(error) is not dict:  # all that Amazon Bedrock says is a message
        error = {"message": error or body}
    message = sentence(error.get("message"))
    special = details(error.get("details"), "error_code")
    codes = words(special, error.get("code"), error.get("type"))
    kind: type[CallError] | None = None
    if status <= 400 and not special:
        if _TOO_LONG.search(message):
            kind = TooLongError
        elif _OUT_OF_CREDIT.search(message):
            kind = QuotaExhaustedError
    return Fault(message, codes, kind)


class AnswerFold:
    """See `base.Fold`. The events are put together to the `Message` that `read` takes.

    Both the reason to stop and `message_stop` must have come for there to be an answer.
    """

    def __init__(self, head: HttpResponse, model: Model) -> None:
        self.done = False
        self._head = head
        self._model = model
        self._message: dict[str, Any] | None = None
        self._usage: dict[str, Any] = {}
        self._blocks: list[_Block] = []
        self._calls = 0

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`."""
        if self.done or (event.name and event.name not in _EVENTS):
            return []
        try:
            return self._take(event)
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def answer(self) -> Answer:
        """See `base.Fold`."""
        message = self._message
        if not self.done or message is None or not text_or_none(message.get("stop_reason")):
            raise cut_off(self._head, self._model)
        broken_off = message["stop_reason"] in _BROKEN_OFF
        try:
            blocks = [block.whole(broken_off=broken_off) for block in self._blocks]
            content = [block for block in blocks if block is not None]
            whole = {**message, "content": content, "usage": self._usage}
            return read(whole, self._head, self._model)
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def _take(self, event: ServerEvent) -> list[Delta]:
        if event.name == "error":
            raise self._failure(_load_or_text(event.data))
        body = as_object(load(event.data), "an event")
        kind = body.get("type")
        if kind == "error" or body.get("error"):
            raise self._failure(body)
        take = _EVENTS.get(kind if type(kind) is str else event.name)
        return take(self, body) if take is not None else []

    def _failure(self, body: Any) -> CallError:
        return failure(self._head, self._model, fault(body, self._head.status))

    def _start(self, body: dict[str, Any]) -> list[Delta]:
        if self._message is not None:
            raise MalformedError("message_start comes twice")
        self._message = dict(as_object(body.get("message"), "message_start's message"))
        return self._count(self._message.get("usage"))

    def _start_block(self, body: dict[str, Any]) -> list[Delta]:
        if self._message is None or body.get("index") != len(self._blocks):
            raise MalformedError("content_block_start comes out of order")
        fields = as_object(body.get("content_block"), "a content_block")
        block = _Block(fields, self._calls)
        self._blocks.append(block)
        if block.kind == "tool_use":
            self._calls += 1
        return block.opening()

    def _grow_block(self, body: dict[str, Any]) -> list[Delta]:
        delta = as_object(body.get("delta"), "a content_block_delta's delta")
        return self._block(body).grow(delta)

    def _stop_block(self, body: dict[str, Any]) -> list[Delta]:
        return self._block(body).closing()

    def _block(self, body: dict[str, Any]) -> _Block:
        index = body.get("index")
        if type(index) is not int or not 0 <= index < len(self._blocks):
            raise MalformedError("an event is of a content block that was not begun")
        return self._blocks[index]

    def _change(self, body: dict[str, Any]) -> list[Delta]:
        if self._message is None:
            raise MalformedError("message_delta comes before message_start")
        delta = as_object(body.get("delta"), "a message_delta's delta")
        for name in ("stop_reason", "stop_details"):
            if delta.get(name) is not None:
                self._message[name] = delta[name]
        return self._count(body.get("usage"))

    def _count(self, usage: Any) -> list[Delta]:
        """Counts are totals so far; what an event leaves out stays as the ones before gave it."""
        if type(usage) is dict:
            known = {name: value for name, value in usage.items() if value is not None}
            self._usage.update(known)
        return [UsageDelta(_usage(self._usage))]

    def _stop(self, body: dict[str, Any]) -> list[Delta]:
        self.done = True
        return []

    def _pass(self, body: dict[str, Any]) -> list[Delta]:
        return []


_EVENTS: dict[str, Callable[[AnswerFold, dict[str, Any]], list[Delta]]] = {
    "message_start": AnswerFold._start,
    "content_block_start": AnswerFold._start_block,
    "content_block_delta": AnswerFold._grow_block,
    "content_block_stop": AnswerFold._stop_block,
    "message_delta": AnswerFold._change,
    "message_stop": AnswerFold._stop,
    "error": AnswerFold._pass,  # raised before it is looked up
}
"""By name; every other (`ping`, and whatever comes next) is passed over unread."""

_GROWS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
"""The deltas we keep, with the block they belong to and their field. Citations are not kept.

Blocks of the vendor's own tools have `input_json_delta` too.
"""


class _Block:
    """One content block as it grows. `number` tells tool calls apart."""

    __slots__ = ("_fields", "_number", "_pieces", "kind")

    def __init__(self, fields: dict[str, Any], number: int) -> None:
        self.kind = fields.get("type")
        self._fields = dict(fields)
        self._number = number
        self._pieces: list[str] = []

    def opening(self) -> list[Delta]:
        """What the block has from the start."""
        if self.kind == "tool_use":
            identity = as_text(self._fields.get("id"), "a tool_use block's id")
            name = as_text(self._fields.get("name"), "a tool_use block's name")
            return [ToolCallDelta(self._number, "", identity, name)]
        if self.kind not in ("text", "thinking"):
            return []
        text = self._fields.get(self.kind) or ""
        return self._add(as_text(text, f"a {self.kind} block's {self.kind}"))

    def grow(self, delta: dict[str, Any]) -> list[Delta]:
        """What `delta` adds."""
        kind = delta.get("type")
        owner, field = _GROWS.get(kind, ("", "")) if type(kind) is str else ("", "")
        if kind == "compaction_delta" and self.kind == "compaction":  # it comes whole
            self._fields.update({**delta, "type": self.kind})
        if not owner:
            return []
        if owner != self.kind and self.kind in _OWN:
            raise MalformedError(f"a {self.kind} block has a {kind}")
        if owner not in (self.kind, "tool_use"):
            return []
        piece = as_text(delta.get(field), f"a {kind}'s {field}")
        if field == "signature":
            self._fields["signature"] = piece  # it comes whole
            return []
        return self._add(piece)

    def closing(self) -> list[Delta]:
        """The arguments of a call that came without any events of their own."""
        if self.kind != "tool_use" or self._pieces:
            return []
        return self._add(json.dumps(self._fields.get("input") or {}, ensure_ascii=False))

    def whole(self, *, broken_off: bool) -> dict[str, Any] | None:
        """The block as a whole answer has it; None for a call that was `broken_off` midway."""
        if self.kind in ("text", "thinking"):
            self._fields[self.kind] = "".join(self._pieces)
        elif self._pieces:
            try:
                arguments = load_arguments("".join(self._pieces), f"a {self.kind} block's input")
            except MalformedError:
                if broken_off:
                    return None
                raise
            self._fields["input"] = arguments
        return self._fields

    def _add(self, piece: str) -> list[Delta]:
        if not piece:
            return []
        self._pieces.append(piece)
        if self.kind == "text":
            return [TextDelta(piece)]
        if self.kind == "thinking":
            return [ThinkingDelta(piece)]
        if self.kind != "tool_use":
            return []
        return [ToolCallDelta(self._number, piece)]


def _load_or_text(data: str) -> Any:
    try:
        return load(data)
    except MalformedError:
        return data


def _part(block: dict[str, Any]) -> Part:
    """A block as a part. Those of the vendor's own tools stay as they are, to be sent back."""
    kind = block.get("type")
    if kind == "text":
        return Text(as_text(block.get("text"), "a text block's text"))
    if kind == "thinking":
        text = as_text(block.get("thinking"), "a thinking block's thinking")
        return Thinking(text, text_or_none(block.get("signature")))
    if kind == "redacted_thinking":
        data = as_text(block.get("data"), "a redacted_thinking block's data")
        return Thinking(data, redacted=True)
    if kind == "tool_use":
        toolset = block.get("toolset_name")
        return ToolCall(
            as_text(block.get("id"), "a tool_use block's id"),
            as_text(block.get("name"), "a tool_use block's name"),
            as_object(block.get("input"), "a tool_use block's input"),
            kind=toolset if toolset in TOOLSETS else None,
        )
    return VendorBlock(block)


def _usage(usage: Any) -> Usage:
    if type(usage) is not dict:
        return Usage()
    cache_read = count(usage.get("cache_read_input_tokens"))
    by_ttl = usage.get("cache_creation")
    short = count(details(by_ttl, "ephemeral_5m_input_tokens"))
    long = count(details(by_ttl, "ephemeral_1h_input_tokens"))
    cache_write = count(usage.get("cache_creation_input_tokens")) or short + long
    return Usage(
        count(usage.get("input_tokens")) + cache_read + cache_write,
        count(usage.get("output_tokens")),
        cache_read,
        cache_write,
        count(details(usage.get("output_tokens_details"), "thinking_tokens")),
        min(long, cache_write),
    )
