"""The retry policy, over a clock, a sleep and a chance that the tests own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deluge_sync.engine.retry import Attempts, RetryBudget, RetryPolicy, drained
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    DeadlineExceededError,
    DecodeError,
    QuotaExhaustedError,
    ThrottledError,
    TransientError,
)


class World:
    """A clock and a sleep that moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def attempt_all(failures, *, policy=RetryPolicy(), deadline=1e9, may_retry=lambda: True):
    """Run attempts that fail as listed (None succeeds); gives (how many, the sleeps)."""
    world = World()
    attempts = Attempts(
        policy,
        deadline=deadline,
        cancellation=world,  # type: ignore[arg-type]
        may_retry=may_retry,
        clock=world,
        uniform=lambda low, high: high,
    )
    made = 0
    remaining = iter(failures)

    def attempt() -> Iterator[None]:
        nonlocal made
        made += 1
        world.now += 1.0
        failure = next(remaining)
        yield
        if failure is not None:
            raise failure

    drained(attempts.run(attempt))
    return made, world.slept


def test_a_transient_failure_is_retried_with_doubling_pauses() -> None:
    made, slept = attempt_all([TransientError("503")] * 4 + [None])
    assert made == 5
    assert slept == [0.25, 0.5, 1.0, 2.0]


def test_pauses_are_drawn_from_zero_to_the_ceiling_and_capped() -> None:
    policy = RetryPolicy(max_attempts=12, base_seconds=1.0, longest_seconds=30.0)
    _, slept = attempt_all([TransientError()] * 10 + [None], policy=policy)
    assert slept == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_attempts_are_bounded_and_the_last_error_is_raised_as_it_is() -> None:
    last = DecodeError("half an answer")
    with pytest.raises(DecodeError) as caught:
        attempt_all([TransientError()] * 4 + [last])
    assert caught.value is last


def test_being_throttled_uses_up_no_attempt() -> None:
    made, slept = attempt_all([ThrottledError("429")] * 40 + [None])
    assert made == 41
    assert set(slept) == {0.0}


@pytest.mark.parametrize("error", [BadRequestError, AuthError, QuotaExhaustedError])
def test_what_would_fail_again_is_never_retried(error) -> None:
    with pytest.raises(error):
        attempt_all([error("no"), None])


def test_a_server_time_on_a_transient_error_is_obeyed_exactly() -> None:
    _, slept = attempt_all([TransientError("503", retry_after=7.5), None])
    assert slept == [7.5]


def test_a_server_time_beyond_the_deadline_fails_at_once_saying_so() -> None:
    with pytest.raises(ThrottledError, match=r"asks for 171\.0 s, the call has 7\.0 s left"):
        attempt_all([ThrottledError("429", retry_after=171.0)], deadline=8.0)


def test_a_pause_that_would_end_after_the_deadline_is_not_begun() -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        attempt_all([TransientError("500", status=500)] * 9, deadline=4.0)
    assert isinstance(caught.value.__cause__, TransientError)
    assert caught.value.status == 500


def test_an_empty_budget_ends_the_retries_and_says_so() -> None:
    with pytest.raises(TransientError, match="retry budget"):
        attempt_all([TransientError("500")] * 9, may_retry=lambda: False)


def test_an_outage_is_not_multiplied_and_a_bad_hour_is_survived() -> None:
    outage = RetryBudget()
    retried = sum(outage.spend(0.0) for _ in range(40_000))
    assert retried == 500
    bad_hour = RetryBudget()
    for _ in range(10_000):  # two retries for every three successes
        assert bad_hour.spend(0.0)
        assert bad_hour.spend(0.0)
        for _ in range(3):
            bad_hour.earn()


def test_the_budget_fills_up_with_time() -> None:
    budget = RetryBudget(capacity=2)
    assert [budget.spend(0.0) for _ in range(3)] == [True, True, False]
    assert budget.spend(1.0)
    assert not budget.spend(1.5)
