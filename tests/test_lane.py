"""The lane: one queue, its slots, its pause, and what servers say of limits."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deluge_sync.engine.breaker import LONGEST_WAIT
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.lane import PROBES, Lane, Reservation, _Waiter
from deluge_sync.values.errors import CallCancelledError, DeadlineExceededError
from deluge_sync.values.wire import LimitHint

ONE = {"requests": 1, "tokens": 10}
LONG = 1e9


class FakeClock:
    """Monotonic seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def lane(requests: float | None = 600, tokens: float | None = 1e6, **options: object) -> Lane:
    options.setdefault("clock", FakeClock())
    options.setdefault("max_in_flight", 100)
    return Lane("a lane", {"requests": requests, "tokens": tokens}, **options)  # type: ignore[arg-type]


def reserve(a_lane: Lane, weights: dict[str, float] | None = None, deadline: float = LONG):
    return a_lane.reserve(weights or ONE, deadline=deadline, cancellation=Cancellation())


def wait_until(condition) -> None:
    done = threading.Event()
    for _ in range(5_000):
        if condition():
            return
        done.wait(0.001)
    raise AssertionError("it did not happen")


def test_slots_bound_what_is_in_flight_and_settling_frees_one() -> None:
    a_lane = lane(max_in_flight=2)
    first, _ = reserve(a_lane), reserve(a_lane)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(reserve, a_lane)
        wait_until(lambda: a_lane.waiting == 1)
        assert a_lane.bottleneck() == "concurrency"
        a_lane.settle(first)
        third.result(5)
    assert a_lane.in_flight == 2


def test_the_queue_is_first_come_first_served_whatever_the_weight() -> None:
    a_lane = lane(max_in_flight=1, tokens=1_000)
    held = reserve(a_lane)
    order: list[int] = []

    def take(number: int) -> None:
        mine = reserve(a_lane, {"requests": 1, "tokens": 200 if number == 0 else 1})
        order.append(number)
        a_lane.settle(mine, {"tokens": 0})

    threads = []
    for number in range(6):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        wait_until(lambda: a_lane.waiting == len(threads))
    a_lane.settle(held, {"tokens": 0})
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4, 5]


def test_a_settled_reservation_moves_the_waiting_forward_at_once() -> None:
    a_lane = lane(tokens=1_000)
    big = reserve(a_lane, {"requests": 1, "tokens": 1_000})
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(reserve, a_lane, {"requests": 1, "tokens": 1_000})
        wait_until(lambda: a_lane.waiting == 1)
        a_lane.settle(big, {"tokens": 0})
        second.result(5)


def test_a_wait_ends_at_its_deadline_with_a_typed_error_and_leaves_the_queue() -> None:
    a_lane = lane(max_in_flight=1, clock=time.monotonic)
    reserve(a_lane)
    with pytest.raises(DeadlineExceededError):
        reserve(a_lane, deadline=time.monotonic() + 0.05)
    assert a_lane.waiting == 0


def test_a_pause_longer_than_the_deadline_fails_at_once() -> None:
    a_lane = lane()
    a_lane.throttled(reserve(a_lane), 171.0)
    with pytest.raises(DeadlineExceededError, match=r"171\.0 s.* 8\.0 s left") as caught:
        reserve(a_lane, deadline=1_008.0)
    assert caught.value.retry_after == pytest.approx(171.0)


def test_cancelling_wakes_a_waiter_and_gives_nothing_away() -> None:
    a_lane = lane(max_in_flight=1)
    first = reserve(a_lane)
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(a_lane.reserve, ONE, deadline=LONG, cancellation=cancellation)
        wait_until(lambda: a_lane.waiting == 1)
        cancellation.cancel()
        with pytest.raises(CallCancelledError):
            waiting.result(5)
    assert a_lane.waiting == 0
    a_lane.settle(first)
    assert a_lane.in_flight == 0


def test_one_wave_of_throttled_calls_makes_one_pause_and_a_server_time_is_obeyed() -> None:
    clock = FakeClock()
    a_lane = lane(clock=clock, uniform=lambda low, high: high)
    wave = [reserve(a_lane) for _ in range(5)]
    clock.now += 1
    for reservation in wave:
        a_lane.throttled(reservation, None)
        a_lane.settle(reservation, succeeded=False)
    assert pause_of(a_lane, clock) == pytest.approx(1.0)
    clock.now += 2
    again = reserve(a_lane)
    a_lane.throttled(again, None)
    assert pause_of(a_lane, clock) == pytest.approx(2.0)
    a_lane.throttled(again, 34.0)
    assert pause_of(a_lane, clock) == pytest.approx(34.0)


def pause_of(a_lane: Lane, clock: FakeClock) -> float:
    with pytest.raises(DeadlineExceededError) as caught:
        reserve(a_lane, deadline=clock.now + 1e-9)
    return caught.value.retry_after or 0.0


def test_unknown_limits_start_with_a_few_probes_until_an_answer_comes() -> None:
    a_lane = lane(None, None)
    probes = [reserve(a_lane) for _ in range(PROBES)]
    with ThreadPoolExecutor(1) as pool:
        more = pool.submit(reserve, a_lane)
        wait_until(lambda: a_lane.waiting == 1)
        a_lane.settle(probes[0])
        more.result(5)
    assert a_lane.limits["requests"] is None


def test_limits_are_learned_from_the_first_answer_and_followed() -> None:
    a_lane = lane(None, None)
    a_lane.settle(reserve(a_lane), hints=[LimitHint("requests", 600, 599, 0.1)])
    assert a_lane.limits["requests"] == 600
    a_lane.settle(reserve(a_lane), hints=[LimitHint("requests", 300, 298, 0.1)])
    assert a_lane.limits["requests"] == 300


def test_given_limits_only_go_down_by_what_the_server_says() -> None:
    clock = FakeClock()
    a_lane = lane(600, clock=clock)
    for said, in_force in ((10_000, 600), (100, 100), (10_000, 600)):
        clock.now += 10
        a_lane.settle(reserve(a_lane), hints=[LimitHint("requests", said, said - 1, 0.1)])
        assert a_lane.limits["requests"] == in_force


def test_a_lower_limit_that_was_learned_survives_a_further_client() -> None:
    a_lane = lane(600)
    a_lane.settle(reserve(a_lane), hints=[LimitHint("requests", 100, 99, 0.1)])
    a_lane.widen({"requests": 1_000, "tokens": None}, 5)
    assert a_lane.limits["requests"] == 100


def test_no_time_to_wait_is_no_hot_loop() -> None:
    clock = FakeClock()
    a_lane = lane(clock=clock, uniform=lambda low, high: high)
    assert a_lane.throttled(reserve(a_lane), 0.0) == pytest.approx(1.0)


def test_a_pause_of_days_is_not_waited_for_by_calls_without_a_deadline() -> None:
    a_lane = lane()
    a_lane.throttled(reserve(a_lane), 277_403.0)
    with pytest.raises(DeadlineExceededError, match="paused by the server"):
        reserve(a_lane, deadline=math.inf)


def test_a_lane_waits_for_a_server_no_longer_than_a_breaker_does() -> None:
    a_lane = lane()
    a_lane.throttled(reserve(a_lane), LONGEST_WAIT + 1)
    with pytest.raises(DeadlineExceededError, match=f"the call has {LONGEST_WAIT:.1f} s left"):
        reserve(a_lane, deadline=math.inf)


def test_a_grant_that_comes_as_its_call_gives_up_is_given_back() -> None:
    a_lane = lane(max_in_flight=1)
    first = reserve(a_lane)
    cancellation = Cancellation()
    waiter = _Waiter(ONE)
    a_lane._queue.append(waiter)
    a_lane.settle(first)  # grants to the waiter, who is just giving up
    cancellation.cancel()
    a_lane._leave(waiter)
    assert a_lane.in_flight == 0


def test_what_others_used_up_of_the_account_is_waited_for() -> None:
    clock = FakeClock()
    a_lane = lane(600, clock=clock)
    a_lane.settle(reserve(a_lane), hints=[LimitHint("requests", 600, 0, 30.0)])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, a_lane)
        wait_until(lambda: a_lane.waiting == 1)
        assert a_lane.bottleneck() == "requests"
        clock.now += 32
        look_again(a_lane)
        waiting.result(5)


def look_again(a_lane: Lane) -> None:
    """Have the lane look at its queue, as any settled call does."""
    a_lane._in_flight += 1
    a_lane.settle(Reservation({}, 0.0))


def test_the_largest_limit_that_a_client_names_holds_for_the_account() -> None:
    a_lane = lane(600)
    a_lane.widen({"requests": 100, "tokens": None}, 5)
    assert a_lane.limits["requests"] == 600
    a_lane.widen({"requests": 1_000, "tokens": None}, 500)
    assert a_lane.limits["requests"] == 1_000
    assert a_lane.max_in_flight == 500


def test_retries_run_out_unless_successes_earn_them() -> None:
    a_lane = lane()
    assert sum(a_lane.may_retry() for _ in range(600)) == 500
    a_lane.settle(reserve(a_lane), succeeded=True)
    assert a_lane.may_retry()
    assert not a_lane.may_retry()
