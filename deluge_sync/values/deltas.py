"""What a streamed answer arrives in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple, Optional, Union

from .prompt import Text, Thinking, ToolCall
from .response import Answer, Usage


class TextDelta(NamedTuple):
    """More of the answer's text."""

    text: str


class ThinkingDelta(NamedTuple):
    """More of the model's thinking, as far as the vendor shows it."""

    text: str


class ToolCallDelta(NamedTuple):
    """More of a tool call: `number` tells calls apart, `arguments` is the next piece of their JSON.

    `id` and `name` come with the first piece only.
    """

    number: int
    arguments: str = ""
    id: Optional[str] = None
    name: Optional[str] = None


class UsageDelta(NamedTuple):
    """The tokens so far, all together; the last one is final."""

    usage: Usage


Delta = Union[TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta]
DELTAS = (TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta)


def replayed(answer: Answer) -> Iterator[Delta]:
    """An answer that is there already, as a stream would have brought it."""
    calls = 0
    for part in answer.content.parts:
        if isinstance(part, Text):
            yield TextDelta(part.text)
        elif isinstance(part, Thinking) and not part.redacted:
            yield ThinkingDelta(part.text)
        elif isinstance(part, ToolCall):
            arguments = json.dumps(dict(part.arguments), ensure_ascii=False)
            yield ToolCallDelta(calls, arguments, part.id, part.name)
            calls += 1
    yield UsageDelta(answer.usage)
