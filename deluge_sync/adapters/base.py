"""What an adapter is."""

from __future__ import annotations

from typing import Optional, Protocol

from ..values.deltas import Delta
from ..values.model import Model
from ..values.request import Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .sse import ServerEvent


class Fold(Protocol):
    """The events of one stream, folded into deltas as they come and into the answer at the end."""

    done: bool
    """Whether the vendor's sign for the end has come: nothing after it matters."""

    def feed(self, event: ServerEvent) -> list[Delta]:
        """What `event` adds. An error in it is raised as the `CallError` that fits, what cannot be
        read as a `DecodeError`; events of unknown kinds are passed over.
        """

    def answer(self) -> Answer:
        """The whole answer, as `decode` would give it.

        Where the vendor's sign for the end, or the reason it gives for it, has not come, this is a
        `ConnectionFailedError`: a part is never passed off as an answer.
        """


class Adapter(Protocol):
    """One vendor's wire format as pure functions: no I/O, no clock, no environment, no logging.

    A module with these names is an adapter. `UNSUPPORTED` names the `SamplingParams` fields that
    no model of this wire format can take; the caller drops them (and what `Model.refuses`) before
    `encode`, which leaves them out in silence.
    """

    UNSUPPORTED: frozenset[str]

    def encode(self, request: Request, model: Model) -> HttpRequest:
        """The call for `request`, complete but for its secrets.

        The same request gives the same bytes. A prompt this vendor has no form for is a
        `PromptError`, an option it has none for a `ConfigError`, each naming what and why.
        """

    def needs_stream(self, request: Request, model: Model) -> bool:
        """Whether the vendor gives an answer as long as `request` allows in events only.

        The caller then sends it with `Request.stream` set, reads it through `fold` and gives it
        back whole.
        """

    def decode(self, response: HttpResponse, model: Model) -> Answer:
        """What `response` says, whatever its status and body.

        A refusal that was paid for is an `Answer` with `error` set; everything that is not an
        answer is raised as the `CallError` that fits, with `status`, `code`, `request_id` and
        `retry_after` as far as the response gives them. Nothing else is ever raised.
        """

    def fold(self, head: HttpResponse, model: Model) -> Fold:
        """The reader of a stream whose head is `head` (its body is empty), of a good status."""

    def limits(self, response: HttpResponse) -> tuple[LimitHint, ...]:
        """What the headers say of the account's limits; () where they say nothing."""

    def request_id(self, response: HttpResponse) -> str | None:
        """The vendor's id of this exchange, for its support."""


class ResumableFold(Fold, Protocol):
    """A fold that knows where its stream stands, so that another connection can go on with it."""

    response_id: Optional[str]
    sequence_number: Optional[int]


class BackgroundAdapter(Adapter, Protocol):
    """The further functions of a wire format whose vendor works without a connection."""

    def poll(self, response_id: str, request: Request, model: Model) -> HttpRequest:
        """How to ask for a response by its id."""

    def follow(
        self, response_id: str, starting_after: int | None, request: Request, model: Model
    ) -> HttpRequest:
        """How to go on with the stream of one, behind the event of that number."""

    def cancel(self, response_id: str, request: Request, model: Model) -> HttpRequest:
        """How to have the vendor stop working on one."""
