"""The events of a streamed response of OpenAI's Responses, folded.

From the openai SDK 3.54 (`types/responses/response_stream_event.py`): every event names its `type`
and has a `sequence_number`; the last one holds the whole response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.model import Model
from ..values.response import Answer
from ..values.wire import HttpResponse
from .body import MalformedError, as_object, as_text, count, details, dump, load, text_or_none
from .failures import cut_off, failure, unreadable
from .openai_common import fault
from .responses_output import PARAGRAPH, computer_arguments, read_response
from .sse import ServerEvent

_LAST = frozenset(
    f"response.{status}" for status in ("completed", "incomplete", "failed", "cancelled")
)


class ResponsesFold:
    """See `base.Fold`.

    `response_id` and `sequence_number` are those that came last (None before any did): where the
    vendor works in the background, its stream goes on from there.
    """

    def __init__(self, head: HttpResponse, model: Model) -> None:
        self.done = False
        self.response_id: str | None = None
        self.sequence_number: int | None = None
        self._head = head
        self._model = model
        self._answer: Answer | None = None

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`."""
        if self.done or event.data.startswith("[DONE]"):
            return []
        try:
            data = as_object(load(event.data), "an event")
            return self._take(data, as_text(data.get("type") or event.name, "an event's type"))
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None

    def answer(self) -> Answer:
        """See `base.Fold`."""
        if self._answer is None:
            raise cut_off(self._head, self._model)
        return self._answer

    def _take(self, data: dict[str, Any], kind: str) -> list[Delta]:
        number = data.get("sequence_number")
        if type(number) is int:
            self.sequence_number = number
        delta = _DELTAS.get(kind)
        if delta is not None:
            return delta(data)
        if kind == "error" or data.get("error"):
            raise failure(self._head, self._model, fault(data, self._head.status))
        if kind in _LAST:
            return self._end(as_object(data.get("response"), "a response"))
        response = data.get("response")
        self.response_id = text_or_none(details(response, "id")) or self.response_id
        return []

    def _end(self, response: dict[str, Any]) -> list[Delta]:
        self.response_id = text_or_none(response.get("id")) or self.response_id
        answer = read_response(response, self._head, self._model)
        if answer.pending is not None:
            raise MalformedError(f"the last event's response is {answer.pending}")
        self._answer, self.done = answer, True
        return [UsageDelta(answer.usage)]


def _text(data: dict[str, Any]) -> list[Delta]:
    return [TextDelta(as_text(data.get("delta"), "a delta"))]


def _thought(data: dict[str, Any]) -> list[Delta]:
    return [ThinkingDelta(as_text(data.get("delta"), "a delta"))]


def _summary_part(data: dict[str, Any]) -> list[Delta]:
    return [ThinkingDelta(PARAGRAPH)] if count(data.get("summary_index")) else []


def _item(data: dict[str, Any]) -> list[Delta]:
    """A tool call begins. A custom tool's text is made the JSON that `decode` makes of it."""
    item = as_object(data.get("item"), "an item")
    kind = item.get("type")
    if kind not in ("function_call", "custom_tool_call"):
        return []
    identity, name = text_or_none(item.get("call_id")), text_or_none(item.get("name"))
    begun = '{"input":"' if kind == "custom_tool_call" else ""
    return [ToolCallDelta(count(data.get("output_index")), begun, identity, name)]


def _item_done(data: dict[str, Any]) -> list[Delta]:
    """A computer's actions come whole."""
    item = as_object(data.get("item"), "an item")
    if item.get("type") != "computer_call":
        return []
    arguments = dump(computer_arguments(item)).decode()
    identity = text_or_none(item.get("call_id"))
    return [ToolCallDelta(count(data.get("output_index")), arguments, identity, "computer")]


def _arguments(data: dict[str, Any]) -> list[Delta]:
    text = as_text(data.get("delta"), "a delta")
    return [ToolCallDelta(count(data.get("output_index")), text)]


def _input(data: dict[str, Any]) -> list[Delta]:
    text = dump(as_text(data.get("delta"), "a delta")).decode()
    return [ToolCallDelta(count(data.get("output_index")), text[1:-1])]


def _input_done(data: dict[str, Any]) -> list[Delta]:
    return [ToolCallDelta(count(data.get("output_index")), '"}')]


_DELTAS: Mapping[str, Callable[[dict[str, Any]], list[Delta]]] = {
    "response.output_text.delta": _text,
    "response.reasoning_summary_part.added": _summary_part,
    "response.reasoning_summary_text.delta": _thought,
    "response.reasoning_text.delta": _thought,
    "response.output_item.added": _item,
    "response.output_item.done": _item_done,
    "response.function_call_arguments.delta": _arguments,
    "response.custom_tool_call_input.delta": _input,
    "response.custom_tool_call_input.done": _input_done,
}
"""What each kind of event adds; every other kind adds nothing to the deltas."""
