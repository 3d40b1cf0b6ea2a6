"""What a call gives back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from .errors import CallError, DelugeError
from .prompt import Message, Text, ToolCall

PAUSED = "pause_turn"
"""A finish reason: the vendor's own tools take long, and it wants to be asked to go on
(Anthropic)."""


class Usage(NamedTuple):
    """Tokens of one answer, with one meaning for all vendors.

    `input_tokens` is everything the model read, cache reads and writes included;
    `output_tokens` is everything it wrote, thinking included. The others are parts of those two;
    `cache_write_long_tokens` is the part of `cache_write_tokens` that was written for the vendor's
    longer time to live (an hour at Anthropic), which costs more.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_long_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: Usage) -> Usage:
        """That of both together."""
        return Usage(*(mine + its for mine, its in zip(self, other)))


class TokenLogprob(NamedTuple):
    """One token of an answer and the logarithm of its probability; `top` are the likeliest ones in
    its place, as (token, logprob).
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Answer(NamedTuple):
    """What an adapter read out of one good HTTP answer.

    `finish_reason` is "stop", "length", "tool_calls", "refusal" or "content_filter", or the
    vendor's own word where it is none of these. `error` is set where the answer was paid for but
    is not one (a refusal).

    `pending` is the vendor's word ("queued", "in_progress") where it still works on the answer, of
    which there is nothing then but its `response_id`. `continuation` is a token to ask for the
    rest with, where the vendor broke the answer off. `service_tier` is the one that served.
    """

    content: Message
    usage: Usage
    finish_reason: Optional[str]
    response_id: Optional[str] = None
    error: Optional[CallError] = None
    logprobs: Optional[tuple[TokenLogprob, ...]] = None
    pending: Optional[str] = None
    continuation: Optional[str] = None
    service_tier: Optional[str] = None


class RouteStep(NamedTuple):
    """One model that a call went to, and what came of it: "answered", or the error's `kind`."""

    model: str
    outcome: str


def joined(first: Answer, rest: Answer) -> Answer:
    """An answer that came in two pieces; a text that was broken off goes on."""
    *parts, last = first.content.parts or (Text(""),)
    head, *more = rest.content.parts or (Text(""),)
    middle = [last, head]
    if isinstance(last, Text) and isinstance(head, Text):
        middle = [Text(last.text + head.text, last.phase)]
    both = (first.logprobs or ()) + (rest.logprobs or ())
    return rest._replace(
        content=Message("assistant", (*parts, *middle, *more)),
        usage=first.usage.plus(rest.usage),
        logprobs=both or None,
    )


@dataclass(frozen=True)
class Response:
    """The outcome of one call: an answer, or the error it failed with.

    `cost` is US dollars (None where the price is not known); `latency` is the seconds of the last
    attempt, from send to the whole body; `attempts` counts sends; `prompt` is the prompt as it was
    given, `index` its position in its `map`. An answer that was `cached`, or that another call of
    the same request brought, cost 0; its `saved_cost` is what it would have cost.

    `request_id` names the exchange for the vendor's support, `response_id` the answer, where the
    vendor keeps it. `parsed` is the object that was asked for with `output_schema`; `logprobs` are
    those of the answer's tokens. A stream that broke off has an `error`, and in `content` what had
    come until then.

    `model` is the one that answered. For a client of several models, `route` has all that the call
    went to, in order; attempts, usage and cost are those of all of them together.
    """

    model: str
    prompt: Any = None
    index: int | None = None
    content: Message | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    error: DelugeError | None = None
    attempts: int = 0
    latency: float | None = None
    cached: bool = False
    saved_cost: float | None = None
    request_id: str | None = None
    response_id: str | None = None
    parsed: Any = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    service_tier: str | None = None
    route: tuple[RouteStep, ...] = ()

    @property
    def completion(self) -> str | None:
        """The answer's text; None where there is none."""
        return self.content.text if self.content is not None else None

    @property
    def thinking(self) -> str | None:
        """The model's thinking as far as the vendor shows it."""
        return self.content.thinking if self.content is not None else None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools the model asks for; () where there is none."""
        return self.content.tool_calls if self.content is not None else ()

    @property
    def is_error(self) -> bool:
        """Whether the call failed."""
        return self.error is not None

    def replace(self, **changes: Any) -> Response:
        """A copy with `changes`; the way for `postprocess` to change an answer."""
        return dataclasses.replace(self, **changes)

    def raise_for_error(self) -> Response:
        """Raise `error` if there is one, else return this response."""
        if self.error is not None:
            raise self.error
        return self
