"""What all calls of one client to one model share, and the steps of every request over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from .cache import Answers, KeySpace
from .engine.cancellation import Cancellation
from .engine.lane import Lane, Reservation, Weights
from .engine.retry import RetryPolicy
from .values.errors import CallError, DeadlineExceededError, ThrottledError, TransientError
from .values.model import Model
from .values.secret import Credential
from .values.wire import HttpRequest, HttpResponse, LimitHint

if TYPE_CHECKING:
    from .engine.transport import BodyStream, Transport
    from .signing import Signer

SLOWEST_UPLOAD = 200_000.0
"""Bytes a second that an upload is taken to make at least."""

AnyAdapter = TypeVar("AnyAdapter")
Reservations = list[tuple[Lane, Reservation]]


@dataclass(frozen=True)
class Route(Generic[AnyAdapter]):
    """What all calls of one client to one model share, in one process.

    `adapter` is one for prompts, for embeddings or for rankings, and `wire` its name. `lanes` are
    drawn from in order; the last one is the account's. `signer`, where there is one, makes the
    credentials of each request. `answers` is the cache, if there is one, and `keys` tells its keys.
    """

    model: Model
    adapter: AnyAdapter
    credentials: tuple[Credential, ...]
    lanes: tuple[Lane, ...]
    transport: Transport
    policy: RetryPolicy
    request_timeout: float
    keys: KeySpace
    wire: str = ""
    answers: Answers | None = None
    signer: Signer | None = None

    @property
    def answers_later(self) -> bool:
        """Whether an answer may be worked on in the background, and is then looked at again."""
        return hasattr(self.adapter, "poll")

    def reserve(
        self, amounts: Weights, *, deadline: float, cancellation: Cancellation
    ) -> Reservations:
        """Wait until every lane lets go what draws `amounts`; raises what waiting raises."""
        taken: Reservations = []
        try:
            for lane in self.lanes:
                reservation = lane.reserve(amounts, deadline=deadline, cancellation=cancellation)
                taken.append((lane, reservation))
        except BaseException:
            for lane, reservation in taken:
                lane.cancel(reservation)
            raise
        return taken

    def send(
        self, http: HttpRequest, *, now: float, deadline: float, cancellation: Cancellation
    ) -> HttpResponse:
        """The answer, whole. It may take `request_timeout` seconds from `now` on, more where a file
        is sent, and no longer than the call's `deadline`: the first may be tried again, the second
        not.
        """
        limit = now + self.request_timeout
        if http.file is not None:
            limit += http.file.size / SLOWEST_UPLOAD
        until = min(limit, deadline)
        try:
            return self.transport.send(
                http,
                credentials=self.credentials_for(http, until, cancellation),
                deadline=until,
                cancellation=cancellation,
            )
        except DeadlineExceededError as error:
            if limit < deadline:
                raise TransientError(
                    f"no answer within request_timeout={self.request_timeout:g} s ({error.message})"
                ) from error
            raise

    def open(
        self,
        http: HttpRequest,
        *,
        deadline: float,
        cancellation: Cancellation,
        max_bytes: int | None = None,
    ) -> BodyStream:
        """The answer, to be read as it comes. No wait for more may take longer than
        `request_timeout`; `max_bytes` is more than the transport takes otherwise.
        """
        return self.transport.stream(
            http,
            credentials=self.credentials_for(http, deadline, cancellation),
            deadline=deadline,
            silence=self.request_timeout,
            cancellation=cancellation,
            max_bytes=max_bytes,
        )

    def credentials_for(
        self, http: HttpRequest, deadline: float, cancellation: Cancellation
    ) -> tuple[Credential, ...]:
        """What is to be added to `http`, last."""
        if self.signer is None:
            return self.credentials
        return self.signer.credentials(http, deadline=deadline, cancellation=cancellation)

    def settle(
        self,
        reservations: Reservations,
        drawn: Weights | None = None,
        hints: Iterable[LimitHint] = (),
        *,
        failure: CallError | None,
        answered: bool,
        succeeded: bool,
    ) -> float | None:
        """Settle with all lanes for what was `drawn` (None: nobody knows); `hints` are the
        account's. Gives the seconds of the account's pause where this began one.
        """
        paused = None
        account, reservation = reservations[-1]
        if isinstance(failure, ThrottledError):
            paused = account.throttled(reservation, failure.retry_after)
        for lane, its in reservations[:-1]:
            lane.settle(its, drawn, answered=answered, succeeded=succeeded)
        account.settle(reservation, drawn, hints, answered=answered, succeeded=succeeded)
        return paused
