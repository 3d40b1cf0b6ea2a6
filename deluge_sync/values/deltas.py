"""What a streamed answer arrives in."""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from .response import Usage


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
