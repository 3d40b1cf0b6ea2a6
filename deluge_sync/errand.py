"""What is sent that is no prompt: files, batches, texts to embed, documents to rank."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Callable, Optional, TypeVar

from .adapters.base import Flow
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.lane import Weights
from .engine.retry import Attempts, drained
from .route import Route
from .values.errors import CallError, DeadlineExceededError
from .values.wire import HttpRequest, HttpResponse, LimitHint

Result = TypeVar("Result")

ONE_REQUEST: Weights = {"requests": 1.0}


class Errand:
    """Sends requests over one route until `deadline`: within its limits, failures tried again."""

    def __init__(
        self,
        route: Route[Any],
        *,
        deadline: float,
        cancellation: Cancellation,
        clock: Clock = monotonic,
    ) -> None:
        self.route = route
        self.deadline = deadline
        self._cancellation = cancellation
        self._clock = clock

    def tried(self, once: Callable[[], Result], failures: list[CallError] | None = None) -> Result:
        """What `once` gives; where it fails in a way that may pass, it is done anew, as often as
        the route's policy says. `failures` gets what it failed with.
        """
        attempts = Attempts(
            self.route.policy,
            deadline=self.deadline,
            cancellation=self._cancellation,
            may_retry=self.route.lanes[-1].may_retry,
            clock=self._clock,
        )

        def attempt() -> Generator[None, None, Result]:
            yield from ()  # a generator without steps, as `Attempts` takes it
            try:
                return once()
            except CallError as error:
                if failures is not None:
                    failures.append(error)
                raise

        return drained(attempts.run(attempt))

    def flow(self, flow: Callable[[], Flow[Result]]) -> Result:
        """What a flow gives; where it fails in a way that may pass, it is begun anew."""
        return self.tried(lambda: self.once(flow()))

    def once(self, flow: Flow[Result], *, pauses: bool = True) -> Result:
        """What a flow gives, begun once only; see `exchange` for `pauses`."""
        try:
            request = next(flow)
            while True:
                request = self.exchange(request, flow.send, pauses=pauses)
        except StopIteration as end:
            result: Result = end.value
            return result

    def exchange(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Result],
        *,
        amounts: Weights = ONE_REQUEST,
        drawn: Callable[[Result], Optional[Weights]] | None = None,
        limits: Callable[[HttpResponse], Iterable[LimitHint]] | None = None,
        sending: Callable[[], object] = lambda: None,
        pauses: bool = True,
    ) -> Result:
        """Send one request that is expected to draw `amounts`; gives what `read` makes of the
        answer. `drawn` tells of that what it did draw, `limits` of the answer what it says of them.
        `sending` is called when the limits let it go. A 429 pauses the lane, unless `pauses` is
        False: it then says nothing of other requests.
        """
        reservations = self.route.reserve(
            amounts, deadline=self.deadline, cancellation=self._cancellation
        )
        head: HttpResponse | None = None
        failure: CallError | None = None
        used: Weights | None = None
        succeeded = False
        try:
            sending()
            head = self._send(request)
            result = read(head)
            succeeded = True
            used = None if drawn is None else drawn(result)
            return result
        except StopIteration:
            succeeded = True  # of a flow: it has come to its end
            raise
        except CallError as error:
            failure = error
            used = None if head is None else dict.fromkeys(amounts.keys() - ONE_REQUEST.keys(), 0.0)
            raise
        finally:
            hints = () if head is None or limits is None else limits(head)
            self.route.settle(
                reservations,
                used,
                hints,
                failure=failure if pauses else None,
                answered=head is not None,
                succeeded=succeeded,
            )

    def pause(self, seconds: float, meanwhile: str) -> None:
        """Sleep; raises `CallCancelledError`, and `DeadlineExceededError` once the time is up."""
        left = self.deadline - self._clock()
        if left <= 0:
            raise DeadlineExceededError(f"the time was up while {meanwhile}")
        self._cancellation.sleep(min(seconds, left))

    def _send(self, request: HttpRequest) -> HttpResponse:
        return self.route.send(
            request, now=self._clock(), deadline=self.deadline, cancellation=self._cancellation
        )
