"""The bucket: arithmetic over a clock that the tests own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.engine.bucket import BIN, SLACK, WINDOW, Bucket


def grants(bucket: Bucket, weights: list[float], start: float = 0.0) -> list[float]:
    """When each of `weights` is granted to a caller who takes them one after the other."""
    now, times = start, []
    for weight in weights:
        for _ in range(10_000):
            seconds = bucket.wait(weight, now)
            if seconds <= 0:
                break
            now += seconds
        else:
            raise AssertionError("never granted")
        bucket.draw(weight, now)
        times.append(now)
    return times


def worst_minute(times: list[float], weights: list[float]) -> float:
    """The most that any sliding minute holds."""
    return max(
        sum(weight for time, weight in zip(times, weights) if start <= time <= start + WINDOW)
        for start in times
    )


def test_a_bucket_without_a_limit_never_waits() -> None:
    bucket = Bucket(None)
    assert grants(bucket, [1e9] * 50) == [0.0] * 50


def test_the_first_burst_is_one_second_of_the_limit() -> None:
    times = grants(Bucket(600), [1] * 100)
    assert 9 <= sum(time == 0 for time in times) <= 10


def test_a_minute_uses_the_limit_nearly_up_and_never_exceeds_it() -> None:
    times = grants(Bucket(600), [1] * 3_000)
    assert worst_minute(times, [1] * 3_000) <= 600
    last_minute = [time for time in times if time > times[-1] - 60]
    assert len(last_minute) >= 0.97 * 600


@given(
    limit=st.floats(1, 1_000),
    weights=st.lists(st.floats(0.1, 300), min_size=1, max_size=80),
    burst=st.floats(0, 20),
)
def test_no_sliding_minute_holds_more_than_the_limit(
    limit: float, weights: list[float], burst: float
) -> None:
    weights = [min(weight, limit) for weight in weights]
    times = grants(Bucket(limit, burst_seconds=burst), weights)
    assert worst_minute(times, weights) <= limit * (1 + 1e-6)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1)), min_size=2, max_size=60))
def test_what_is_given_back_is_never_granted_twice(draws: list[tuple[float, float]]) -> None:
    bucket, now, times, kept = Bucket(200, burst_seconds=10), 0.0, [], []
    for weight, used in draws:
        while bucket.wait(weight, now) > 0:
            now += bucket.wait(weight, now)
        number, _ = bucket.draw(weight, now)
        bucket.give_back(weight * (1 - used), number)
        times.append(now)
        kept.append(weight * used)
    assert worst_minute(times, kept) <= 200 * (1 + 1e-6)


def test_a_weight_above_the_limit_goes_when_the_minute_is_empty() -> None:
    bucket = Bucket(100)
    assert bucket.wait(500, 0.0) == 0.0
    bucket.draw(500, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(WINDOW + SLACK, abs=1.0)


def test_a_limit_that_changes_takes_its_debt_along_at_its_own_pace() -> None:
    bucket = Bucket(1_000)
    bucket.draw(1_000, 0.0)
    bucket.change(1_000_000, 0.0)
    assert bucket.wait(100, 0.0) < 1.0
    bucket.change(1, 0.0)
    bucket.draw(1_000, 0.0)
    bucket.change(1_000_000, 0.0)
    assert bucket.wait(100, 0.0) < 1.0


def test_giving_back_what_was_forgiven_takes_nothing_twice() -> None:
    bucket = Bucket(1_000, burst_seconds=60)
    number, _ = bucket.draw(500, 0.0)
    bucket.forgive(500)
    bucket.give_back(490, number)
    assert bucket.used(0.0) == 0


def test_a_log_entry_expires_a_whole_window_after_its_bin() -> None:
    bucket = Bucket(10, burst_seconds=60)
    bucket.draw(10, 0.0)
    assert bucket.wait(10, 0.0) == pytest.approx(WINDOW + SLACK + BIN)


def test_what_others_drew_expires_at_the_servers_reset() -> None:
    bucket = Bucket(100, burst_seconds=60)
    bucket.book(100, now=1_000.0, reset_after=5.0)
    assert 5.0 <= bucket.wait(100, 1_000.0) <= 6.0 + SLACK + BIN


def test_forgiving_drops_the_oldest_draws_first() -> None:
    bucket = Bucket(100, burst_seconds=60)
    bucket.draw(60, 0.0)
    bucket.draw(40, 10.0)
    bucket.forgive(70)
    assert bucket.used(10.0) == pytest.approx(30)
    assert bucket.drawn_since(int(10 // BIN)) == pytest.approx(30)
