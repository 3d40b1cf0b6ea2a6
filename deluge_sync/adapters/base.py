"""What an adapter is."""

from __future__ import annotations

from collections.abc import Generator
from typing import Optional, Protocol, TypeVar

from ..values.batch import BatchState, ResultLine
from ..values.deltas import Delta
from ..values.embedding import Embedded, EmbedRequest, Ranking, RerankRequest
from ..values.errors import CallError
from ..values.model import Model
from ..values.request import Request
from ..values.response import Answer
from ..values.wire import FileBody, HttpRequest, HttpResponse, LimitHint
from .sse import ServerEvent

Result = TypeVar("Result")
Flow = Generator[HttpRequest, HttpResponse, Result]
"""What takes several requests: it yields them one by one, and is sent the answer to each."""


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


class EmbedAdapter(Protocol):
    """One vendor's wire format for embeddings, as pure functions; see `Adapter` for the rules."""

    def encode(self, request: EmbedRequest, model: Model) -> HttpRequest:
        """The call for `request`. The same request gives the same bytes. What the vendor or the
        model has no form for (`dimensions`, `input_type`) is a `ConfigError`.
        """

    def decode(self, response: HttpResponse, request: EmbedRequest, model: Model) -> Embedded:
        """The vectors, in the order of the texts whatever the order of the answer. An answer that
        lacks one, has one too many or of another length, is a `DecodeError`; see `Adapter.decode`
        for the rest. Texts that are too long, one or all together, are a `TooLongError`.
        """

    def limits(self, response: HttpResponse) -> tuple[LimitHint, ...]:
        """See `Adapter.limits`."""

    def request_id(self, response: HttpResponse) -> str | None:
        """See `Adapter.request_id`."""


class RerankAdapter(Protocol):
    """One vendor's wire format for ranking documents, as pure functions."""

    def encode(self, request: RerankRequest, model: Model) -> HttpRequest:
        """The call for `request`."""

    def decode(self, response: HttpResponse, request: RerankRequest, model: Model) -> Ranking:
        """The documents told of, the best first; one that was not sent, or twice, is a
        `DecodeError`. See `Adapter.decode` for the rest.
        """

    def limits(self, response: HttpResponse) -> tuple[LimitHint, ...]:
        """See `Adapter.limits`."""

    def request_id(self, response: HttpResponse) -> str | None:
        """See `Adapter.request_id`."""


class BatchAdapter(Protocol):
    """One vendor's wire format for batches, as pure functions.

    The requests of a batch are the lines of a file, put together by `BETWEEN`. What takes several
    requests is a `Flow` (see `uploads`): it yields them and is sent their answers, and raises the
    `CallError` that fits. `name` is ours and unique: file and batch are found again by it.
    """

    BETWEEN: bytes
    UPLOADS: bool
    """Whether the file is uploaded first; else it goes with the batch's creation."""

    NAMED: bool
    """Whether batches keep their name. Those that do not are told by their results only."""

    def line(self, custom_id: str, request: HttpRequest, model: Model) -> bytes:
        """A call, as its adapter has encoded it, as one line of the file, without line feeds.

        `ConfigError` for one that cannot be in a batch: at an endpoint that the vendor has no
        batches for, with headers that would be lost.
        """

    def shared(self, request: HttpRequest, model: Model) -> tuple[str, ...]:
        """What a call says that is said once for all calls of a batch (its endpoint, its model,
        headers): those of one batch have the same, or some of them would lose theirs.
        """

    def custom_id(self, line: bytes) -> str:
        """The `custom_id` of a line that `line` made; any other is a `DecodeError`."""

    def upload(self, file: FileBody, name: str, model: Model) -> Flow[str]:
        """Upload the file of a batch; gives the vendor's id for it."""

    def find_upload(self, name: str, model: Model) -> Flow[str | None]:
        """The id of the upload of that name, where there is one: the newest."""

    def create(
        self,
        file: FileBody,
        file_id: str | None,
        name: str,
        shared: tuple[str, ...],
        model: Model,
    ) -> Flow[BatchState]:
        """Have the vendor begin. `shared` is that of its calls."""

    def find(self, name: str, since: float, model: Model) -> Flow[list[BatchState]]:
        """The batches that may be the one of that name, created at `since` (seconds since the
        epoch) or later: with `NAMED` that one or none.
        """

    def look(self, batch_id: str, model: Model) -> Flow[BatchState]:
        """How a batch is doing. `NotFoundError` for one that the vendor does not have."""

    def cancel(self, batch_id: str, model: Model) -> Flow[BatchState]:
        """Have the vendor stop; what is done by then is kept. One that has ended stays so."""

    def download(self, result: str, model: Model) -> HttpRequest:
        """How to read one of `BatchState.results`: JSON lines, of any length."""

    def failure(self, response: HttpResponse, model: Model) -> CallError:
        """The error that an answer to a download is."""

    def result(self, line: bytes, model: Model) -> ResultLine:
        """What one line of them says; `DecodeError` where it cannot be read."""
