"""One request that is no prompt and costs money: within the budget, then within the limits."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar

from .engine.budget import Budget, Purse
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .errand import Errand
from .outlay import is_free
from .route import Route
from .values.errors import CallError
from .values.wire import HttpRequest, HttpResponse, LimitHint

Result = TypeVar("Result")

LONGEST_CALL = 900.0
"""Seconds after which a request without a deadline is not tried again, counted from its first send:
one behind a small limit is slow, it does not hang."""


class Terms(NamedTuple):
    """What all requests of one call of the client have in common. `deadline` may be infinite."""

    deadline: float
    cancellation: Cancellation
    budget: Optional[Budget] = None


class PaidRequest(Generic[Result]):
    """One request, until it is answered or given up.

    `read` makes the result of an answer, `cost` and `tokens` tell of that what it cost and drew
    (None and 0: nobody knows). It is expected to draw `guess` tokens, and to cost `ceiling` US
    dollars at most. `sends`, `retries` and `latency` (seconds) say what it took.
    """

    def __init__(
        self,
        route: Route[Any],
        terms: Terms,
        http: HttpRequest,
        *,
        read: Callable[[HttpResponse], Result],
        limits: Callable[[HttpResponse], Iterable[LimitHint]],
        cost: Callable[[Result], float | None],
        tokens: Callable[[Result], int],
        guess: float,
        ceiling: Callable[[], float],
        clock: Clock = monotonic,
    ) -> None:
        self.sends = 0
        self._terms = terms
        self._http = http
        self._read = read
        self._limits = limits
        self._cost = cost
        self._tokens = tokens
        self._amounts = {"requests": 1.0, "tokens": guess, "input_tokens": guess}
        self._ceiling = ceiling
        self._clock = clock
        self._errand = Errand(
            route, deadline=terms.deadline, cancellation=terms.cancellation, clock=clock
        )
        self._purse = Purse(0.0)
        self._failures: list[CallError] = []
        self._began: float | None = None
        self._sent_at = 0.0
        self._ended_at = 0.0

    def run(self) -> Result:
        """The result; raises what it failed with."""
        try:
            return self._errand.tried(self._once, self._failures)
        finally:
            self._ended_at = self._clock()

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made."""
        return [error.kind for error in self._failures[: max(self.sends - 1, 0)]]

    @property
    def latency(self) -> float | None:
        """Seconds of the last attempt; None where nothing was sent."""
        return self._ended_at - self._sent_at if self.sends else None

    def _once(self) -> Result:
        """Money first, then the limits: who waits for money holds no slot."""
        terms = self._terms
        if terms.budget is None:
            held: Any = nullcontext(self._purse)
        else:
            held = terms.budget.reserved(self._ceiling(), terms.deadline, terms.cancellation)
        with held as self._purse:
            try:
                result = self._exchanged()
            except CallError as error:
                if is_free(error, error.status is not None):
                    self._purse.spent = 0.0
                if self._began is not None and self._clock() - self._began > LONGEST_CALL:
                    error.retryable = False
                raise
            cost = self._cost(result)
            if cost is not None:
                self._purse.spent = cost
            return result

    def _exchanged(self) -> Result:
        return self._errand.exchange(
            self._http,
            self._read,
            amounts=self._amounts,
            drawn=self._drawn,
            limits=self._limits,
            sending=self._let_go,
        )

    def _drawn(self, result: Result) -> dict[str, float] | None:
        tokens = self._tokens(result)
        return {"tokens": tokens, "input_tokens": tokens} if tokens else None

    def _let_go(self) -> None:
        self.sends += 1
        self._sent_at = self._clock()
        if self._began is None:
            self._began = self._sent_at
        self._purse.spent = self._purse.amount  # what nobody knows counts as the most it can be
