"""When a failed attempt is made again: one policy, run by tenacity, with an interruptible sleep."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Callable, TypeVar

import tenacity

from ..values.errors import CallError, DeadlineExceededError, DelugeError, ThrottledError
from .cancellation import Cancellation
from .clock import Clock, monotonic

Step = TypeVar("Step")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and how far apart.

    `max_attempts` counts the attempts that failed for another reason than throttling. Before retry
    n comes a pause drawn evenly from 0 to `base_seconds` * 2**(n-1), at most `longest_seconds`
    ("full jitter"), unless the server names one.
    """

    max_attempts: int = 5
    base_seconds: float = 0.25
    longest_seconds: float = 30.0


class RetryBudget:
    """Retries are earned by successes, so that an outage is not multiplied by retrying it.

    Starts full at `capacity`; a retry costs 1, a success earns 1, and so does every second, so that
    a batch is not stuck after a long outage. (botocore's price of 14 a retry would give up a batch
    as soon as 7 % of its attempts fail.) Not thread-safe: guarded by its lane's lock.
    """

    __slots__ = ("_capacity", "_counted_at", "_left")

    def __init__(self, capacity: float = 500.0) -> None:
        self._capacity = capacity
        self._left = capacity
        self._counted_at: float | None = None

    def earn(self) -> None:
        """A success."""
        self._left = min(self._capacity, self._left + 1.0)

    def spend(self, now: float) -> bool:
        """Take one retry, if there is one left."""
        if self._counted_at is not None:
            self._left = min(self._capacity, self._left + now - self._counted_at)
        self._counted_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Attempts:
    """The retries of one call, as the callbacks tenacity asks for.

    `may_retry` is the lane's budget; `deadline` may be moved until the first attempt has begun.
    `final` is set by an attempt that must not be repeated: somebody has seen a part of its answer.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        deadline: float,
        cancellation: Cancellation,
        may_retry: Callable[[], bool],
        clock: Clock = monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.deadline = deadline
        self.failures = 0
        self.final = False
        self._policy = policy
        self._cancellation = cancellation
        self._may_retry = may_retry
        self._clock = clock
        self._uniform = uniform

    def run(
        self, attempt: Callable[[], Generator[Step, None, Result]]
    ) -> Generator[Step, None, Result]:
        """What `attempt` gives, and on the way what it yields; raises what the one that must not be
        repeated raised.

        tenacity is asked only once something has failed: its bookkeeping costs more than all our
        own, and nearly every call succeeds at once.
        """
        failure: CallError | None = None
        try:
            return (yield from attempt())
        except CallError as error:
            if not error.retryable or self.final:
                raise
            failure = error
        retrying = tenacity.Retrying(
            retry=self._again,
            wait=self._pause,
            stop=tenacity.stop_never,
            sleep=self._cancellation.sleep,
            reraise=True,
        )
        for outcome in retrying:
            if failure is None:
                try:
                    return (yield from attempt())
                except CallError as error:
                    failure = error
            with outcome:
                raised, failure = failure, None
                raise raised
        raise AssertionError("tenacity gave up without a word")

    def _again(self, state: tenacity.RetryCallState) -> bool:
        outcome = state.outcome
        error = outcome.exception() if outcome is not None else None
        if not isinstance(error, CallError) or not error.retryable or self.final:
            return False
        self._check_time(error)
        if isinstance(error, ThrottledError):
            return True
        self.failures += 1
        if self.failures >= self._policy.max_attempts:
            return False
        if not self._may_retry():
            _append(error, "not retried: too many calls of this lane fail (retry budget is empty)")
            return False
        return True

    def _check_time(self, error: DelugeError) -> None:
        left = self.deadline - self._clock()
        if left <= 0:
            raise _time_is_up(error)
        if error.retry_after is not None and error.retry_after > left:
            _append(
                error,
                f"the server asks for {error.retry_after:.1f} s, the call has {left:.1f} s left",
            )
            raise error

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next attempt. A throttled call waits in the lane, which is paused."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, ThrottledError):
            return 0.0
        if isinstance(error, CallError) and error.retry_after is not None:
            return error.retry_after
        ceiling = self._policy.base_seconds * 2.0 ** (self.failures - 1)
        pause = self._uniform(0.0, min(self._policy.longest_seconds, ceiling))
        if isinstance(error, CallError) and self._clock() + pause >= self.deadline:
            raise _time_is_up(error)
        return pause


def drained(steps: Generator[Step, None, Result]) -> Result:
    """What `steps` gives in the end; what it yields is not wanted."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def _time_is_up(error: DelugeError) -> DeadlineExceededError:
    late = DeadlineExceededError(
        f"the call's time was up; its last attempt failed: {error.message}",
        request_id=error.request_id,
        status=error.status,
        code=error.code,
    )
    late.__cause__ = error
    return late


def _append(error: DelugeError, remark: str) -> None:
    error.message = f"{error.message} ({remark})"
    error.args = (error.message,)
