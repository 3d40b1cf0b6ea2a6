"""One call: the order of its steps, written here and nowhere else."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional

from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.lane import Lane, Reservation, Weights
from .engine.retry import Attempts, RetryPolicy
from .values.errors import (
    CallError,
    DeadlineExceededError,
    DecodeError,
    DelugeError,
    PostprocessError,
    ThrottledError,
    TransientError,
)
from .values.model import Model
from .values.request import Request
from .values.response import Answer, Response
from .values.secret import Credential
from .values.wire import HttpRequest, HttpResponse, LimitHint

if TYPE_CHECKING:
    from .adapters import Adapter
    from .engine.transport import Transport

logger = logging.getLogger(__name__)

Postprocess = Callable[[Response], Response]

LONGEST_CALL = 900.0
"""Seconds a call without a `timeout` may take from its first send on, retries included. Its wait
for the first grant is not bounded: a big job behind a small limit is slow, it does not hang."""

OUTPUT_GUESS = 1_024
"""Output tokens to reserve where the request does not bound them; settled afterwards."""

BYTES_PER_TOKEN = 4
"""Of a request's body, the usual rule of thumb; settled afterwards."""


@dataclass(frozen=True)
class Route:
    """What all calls of one client to one model share, in one process.

    `lanes` are drawn from in order; the last one is the account's.
    """

    model: Model
    adapter: Adapter
    credentials: tuple[Credential, ...]
    lanes: tuple[Lane, ...]
    transport: Transport
    policy: RetryPolicy
    request_timeout: float


class Call:
    """One prompt on its way to its answer; `prompt` is what the response will show it came from.

    `deadline` is a monotonic instant; without one the call may take `timeout` seconds from its
    first grant on: its wait in line is not its own.
    """

    def __init__(
        self,
        route: Route,
        request: Request,
        *,
        prompt: Any,
        cancellation: Cancellation,
        index: int | None = None,
        timeout: float = LONGEST_CALL,
        deadline: float | None = None,
        postprocess: Postprocess | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._failures: list[str] = []
        self._route = route
        self._prompt = prompt
        self._index = index
        self._timeout = timeout
        self._postprocess = postprocess
        self._cancellation = cancellation
        self._clock = clock
        self._sends = 0
        self._latency: float | None = None
        self._request_id: str | None = None
        self._http = route.adapter.encode(request, route.model)
        self._weights = _weights(self._http, request, route.model)
        self._attempts = Attempts(
            route.policy,
            deadline=math.inf if deadline is None else deadline,
            cancellation=cancellation,
            may_retry=route.lanes[-1].may_retry,
            clock=clock,
        )

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made: the failures that were followed by another send."""
        return self._failures[: max(self._sends - 1, 0)]

    def run(self) -> Response:
        """Send until answered or given up; errors of the call come back in the response."""
        try:
            answer = self._attempts.run(self._attempt)
        except DelugeError as error:
            return self.failed(error)
        return self._postprocessed(self._response(answer, error=answer.error))

    def failed(self, error: DelugeError) -> Response:
        """The response of this call with `error` and no answer."""
        return self._response(None, error=error)

    def _attempt(self) -> Answer:
        reservations = self._reserve()
        answer: Answer | None = None
        hints: Iterable[LimitHint] = ()
        failure: CallError | None = None
        answered = False
        try:
            self._start_clock()
            self._sends += 1
            reply = self._send()
            answered = True
            self._request_id = self._route.adapter.request_id(reply)
            hints = self._route.adapter.limits(reply)
            answer = self._route.adapter.decode(reply, self._route.model)
        except CallError as error:
            failure = error
            self._failures.append(error.kind)
            raise
        finally:
            paused = self._settle(reservations, answer, hints, failure, answered)
            if failure is not None:
                self._log(failure, paused)
        return answer

    def _log(self, failure: CallError, paused: float | None) -> None:
        name = self._route.model.name
        logger.debug("%s: attempt %d failed: %s", name, self._sends, failure)
        if paused is not None:
            logger.info("%s: throttled, paused for %.1f s", self._route.lanes[-1].name, paused)

    def _reserve(self) -> list[tuple[Lane, Reservation]]:
        taken: list[tuple[Lane, Reservation]] = []
        try:
            for lane in self._route.lanes:
                reservation = lane.reserve(
                    self._weights,
                    deadline=self._attempts.deadline,
                    cancellation=self._cancellation,
                )
                taken.append((lane, reservation))
        except BaseException:
            for lane, reservation in taken:
                lane.cancel(reservation)
            raise
        return taken

    def _start_clock(self) -> None:
        if self._attempts.deadline == math.inf:
            self._attempts.deadline = self._clock() + self._timeout

    def _send(self) -> HttpResponse:
        sent_at = self._clock()
        limit = sent_at + self._route.request_timeout
        try:
            reply = self._route.transport.send(
                self._http,
                credentials=self._route.credentials,
                deadline=min(limit, self._attempts.deadline),
                cancellation=self._cancellation,
            )
        except DeadlineExceededError as error:
            if limit < self._attempts.deadline:
                raise TransientError(
                    f"no answer within request_timeout={self._route.request_timeout:g} s "
                    f"({error.message})"
                ) from error
            raise
        self._latency = self._clock() - sent_at
        return reply

    def _settle(
        self,
        reservations: list[tuple[Lane, Reservation]],
        answer: Answer | None,
        hints: Iterable[LimitHint],
        failure: CallError | None,
        answered: bool,
    ) -> float | None:
        """Settle with all lanes; gives the seconds of the account's pause where this began one."""
        actual = _actual(answer, failure, answered)
        succeeded = answer is not None
        paused = None
        if isinstance(failure, ThrottledError):
            lane, reservation = reservations[-1]
            paused = lane.throttled(reservation, failure.retry_after)
        for lane, reservation in reservations[:-1]:
            lane.settle(reservation, actual, answered=answered, succeeded=succeeded)
        lane, reservation = reservations[-1]
        lane.settle(reservation, actual, hints, answered=answered, succeeded=succeeded)
        return paused

    def _response(self, answer: Answer | None, *, error: DelugeError | None) -> Response:
        model = self._route.model
        response = Response(
            model=model.name,
            prompt=self._prompt,
            index=self._index,
            content=answer.content if answer is not None else None,
            finish_reason=answer.finish_reason if answer is not None else None,
            usage=answer.usage if answer is not None else None,
            cost=model.prices.cost(answer.usage) if answer is not None else None,
            error=error,
            attempts=self._sends,
            latency=self._latency,
            request_id=self._request_id or (answer.response_id if answer is not None else None),
        )
        if error is not None:
            error.response = response
            _forget_frames(error)
        return response

    def _postprocessed(self, response: Response) -> Response:
        if self._postprocess is None or response.error is not None:
            return response
        error: PostprocessError
        try:
            changed = self._postprocess(response)
        except Exception as cause:
            error = PostprocessError(f"postprocess raised {type(cause).__name__}: {cause}")
            error.__cause__ = cause
        else:
            if isinstance(changed, Response):
                return changed
            error = PostprocessError(
                f"postprocess must return a Response, not {type(changed).__name__}: "
                "change one with response.replace(...)"
            )
        error.response = response
        return response.replace(error=error)


def _weights(http: HttpRequest, request: Request, model: Model) -> Weights:
    """What the call is expected to draw; tokens by the length of its body."""
    read = len(http.body) / BYTES_PER_TOKEN
    written = request.params.max_new_tokens or min(
        OUTPUT_GUESS, model.max_output_tokens or OUTPUT_GUESS
    )
    return {
        "requests": 1,
        "tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
    }


def _actual(answer: Answer | None, failure: CallError | None, answered: bool) -> Optional[Weights]:
    """What the call really drew; None where nobody knows.

    A request that the server refused counts as a request, but its tokens were never used; those of
    an answer that cannot be read were.
    """
    if answer is not None:
        usage = answer.usage
        if not usage.total_tokens:
            return None
        return {
            "tokens": usage.total_tokens,
            "input_tokens": usage.input_tokens - usage.cache_read_tokens,
            "output_tokens": usage.output_tokens,
        }
    if not answered or isinstance(failure, DecodeError):
        return None
    return {"tokens": 0, "input_tokens": 0, "output_tokens": 0}


def _forget_frames(error: BaseException) -> None:
    """Take the tracebacks off `error` and its causes: their frames keep the call in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
