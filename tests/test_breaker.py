"""The circuit breaker, and what a lane says of its next call; by a clock that is told the time."""

from __future__ import annotations

import pytest

from deluge_sync.engine.breaker import (
    FIRST_INTERVAL,
    LONGEST_INTERVAL,
    LONGEST_WAIT,
    THRESHOLD,
    Breaker,
    Entry,
)
from deluge_sync.engine.bucket import Bucket
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.lane import Lane

from .test_lane import FakeClock


class Resource:
    """A breaker whose jitter draws the most there is, and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.breaker = Breaker(clock=self.clock, uniform=lambda low, high: high)

    def entered(self) -> Entry | None:
        entry = self.breaker.enter()
        if entry is not None:
            self.breaker.sent(entry)
        return entry

    def fails(self, **how: object) -> None:
        entry = self.entered()
        assert entry is not None
        self.clock.now += 0.01
        self.breaker.failed(entry, **how)  # type: ignore[arg-type]

    def succeeds(self) -> None:
        entry = self.entered()
        assert entry is not None
        self.clock.now += 0.01
        self.breaker.succeeded(entry)


@pytest.fixture
def resource() -> Resource:
    return Resource()


def test_it_opens_on_repeated_failure_and_not_before(resource: Resource) -> None:
    for _ in range(THRESHOLD - 1):
        resource.fails()
    assert not resource.breaker.is_open
    resource.fails()
    assert resource.breaker.is_open
    assert resource.entered() is None


def test_a_success_in_between_begins_the_count_anew(resource: Resource) -> None:
    for _ in range(3 * THRESHOLD):
        resource.fails()
        resource.succeeds()
    assert not resource.breaker.is_open


def test_a_failure_that_the_next_call_would_meet_as_well_opens_it_at_once(
    resource: Resource,
) -> None:
    resource.fails(at_once=True)
    assert resource.breaker.is_open
    assert resource.breaker.seconds_shut() == FIRST_INTERVAL


def test_after_the_interval_exactly_one_probe_goes_and_its_success_closes_it(
    resource: Resource,
) -> None:
    resource.fails(at_once=True)
    resource.clock.now += FIRST_INTERVAL
    probe = resource.entered()
    assert probe is not None
    assert probe.is_probe
    assert resource.entered() is None
    resource.clock.now += 0.1
    resource.breaker.succeeded(probe)
    assert not resource.breaker.is_open
    assert resource.breaker.seconds_shut() == 0
    assert resource.entered() is not None


def test_the_intervals_grow_to_a_cap_and_no_further(resource: Resource) -> None:
    resource.fails(at_once=True)
    seen = []
    for _ in range(40):
        seen.append(resource.breaker.seconds_shut())
        resource.clock.now += seen[-1]
        resource.fails(at_once=True)
    assert seen[:4] == pytest.approx([5.0, 10.0, 20.0, 30.0])
    assert seen[0] == FIRST_INTERVAL
    assert seen[4:] == pytest.approx([LONGEST_INTERVAL] * 36)


def test_after_it_closed_intervals_are_short_again(resource: Resource) -> None:
    for _ in range(4):
        resource.fails(at_once=True)
        resource.clock.now += resource.breaker.seconds_shut()
    resource.succeeds()
    resource.fails(at_once=True)
    assert resource.breaker.seconds_shut() == FIRST_INTERVAL


@pytest.mark.parametrize(("said", "seconds"), [(12.5, 12.5), (1e6, LONGEST_WAIT)])
def test_the_servers_word_counts_for_the_interval_up_to_a_cap(
    resource: Resource, said: float, seconds: float
) -> None:
    resource.fails(at_once=True, retry_after=said)
    assert resource.breaker.seconds_shut() == seconds


def test_a_probe_that_is_abandoned_lets_another_one_go(resource: Resource) -> None:
    resource.fails(at_once=True)
    resource.clock.now += FIRST_INTERVAL
    probe = resource.entered()
    assert probe is not None
    resource.breaker.abandoned(probe)
    another = resource.entered()
    assert another is not None
    assert another.is_probe


def test_a_probe_that_never_comes_back_shuts_nobody_out(resource: Resource) -> None:
    resource.fails(at_once=True)
    resource.clock.now += FIRST_INTERVAL
    assert resource.entered() is not None
    resource.clock.now += LONGEST_INTERVAL
    another = resource.entered()
    assert another is not None
    assert another.is_probe


def test_calls_of_the_wave_that_opened_it_neither_lengthen_nor_close_it(
    resource: Resource,
) -> None:
    wave = [resource.entered() for _ in range(4)]
    resource.clock.now += 1.0
    for entry in wave[:2]:
        assert entry is not None
        resource.breaker.failed(entry, at_once=True)
        resource.clock.now += 1.0
    assert resource.breaker.seconds_shut() == FIRST_INTERVAL - 2.0
    assert wave[3] is not None
    resource.breaker.succeeded(wave[3])
    assert resource.breaker.is_open


def test_a_success_of_who_passed_anyway_closes_it(resource: Resource) -> None:
    resource.fails(at_once=True)
    resource.clock.now += 0.1
    entry = resource.breaker.pass_anyway()
    assert not entry.is_probe
    resource.breaker.sent(entry)
    resource.breaker.succeeded(entry)
    assert not resource.breaker.is_open


def test_a_failure_of_who_passed_anyway_does_not_put_the_probe_off(resource: Resource) -> None:
    resource.fails(at_once=True)
    left = resource.breaker.seconds_shut()
    for _ in range(50):
        resource.breaker.failed(resource.breaker.pass_anyway(), at_once=True)
    assert resource.breaker.seconds_shut() == left


def a_lane(requests: float | None = 600, **options: object) -> tuple[Lane, FakeClock]:
    clock = FakeClock()
    lane = Lane("a lane", {"requests": requests}, clock=clock, max_in_flight=100, **options)  # type: ignore[arg-type]
    return lane, clock


def drawn(lane: Lane, count: int) -> None:
    for _ in range(count):
        lane.settle(lane.reserve({"requests": 1}, deadline=1e9, cancellation=Cancellation()))


@pytest.mark.parametrize("used", [0, 3, 10])
def test_the_outlook_of_a_call_that_comes_alone_is_what_its_bucket_says(used: int) -> None:
    bucket = Bucket(600)
    for _ in range(used):
        bucket.draw(1, 1_000.0)
    assert bucket.outlook(1, 0, 1_000.0) == pytest.approx(bucket.wait(1, 1_000.0))


def test_the_outlook_foretells_when_a_line_of_calls_is_through() -> None:
    bucket, now = Bucket(600), 1_000.0
    foretold = [bucket.outlook(1, ahead, now) for ahead in range(40)]
    for at, seconds in enumerate(foretold):
        while (wait := bucket.wait(1, now)) > 0:
            now += wait
        assert now - 1_000.0 == pytest.approx(seconds, abs=0.01), at
        bucket.draw(1, now)


def test_calls_that_are_on_their_way_to_a_lane_count_in_its_outlook() -> None:
    lane, _ = a_lane()
    drawn(lane, 5)
    lane.announce()
    before, _ = lane.outlook({"requests": 1})
    for _ in range(20):
        lane.announce()
    during, _ = lane.outlook({"requests": 1})
    assert before == 0
    assert during == pytest.approx((5 + 1 + 20 + 1) * 60.6 / 600 - 1.0)
    for _ in range(20):
        lane.withdraw()
    assert lane.outlook({"requests": 1})[0] == before


def test_a_pause_counts_in_the_outlook() -> None:
    lane, clock = a_lane()
    reservation = lane.reserve({"requests": 1}, deadline=1e9, cancellation=Cancellation())
    clock.now += 0.1
    lane.throttled(reservation, 7.0)
    assert lane.outlook({"requests": 1})[0] == pytest.approx(7.0)
    assert lane.seconds_paused == pytest.approx(7.0)


def test_of_two_lanes_that_are_both_free_the_one_with_less_of_its_limit_used_is_less_full() -> None:
    small, _ = a_lane(600)
    large, _ = a_lane(1_200)
    drawn(small, 5)
    drawn(large, 8)
    assert large.outlook({"requests": 1}) < small.outlook({"requests": 1})


def test_what_waits_is_taken_to_draw_what_calls_have_drawn_not_what_they_reserve() -> None:
    clock = FakeClock()
    lane = Lane("a lane", {"requests": 6_000, "tokens": 6_000}, clock=clock, max_in_flight=100)
    weights = {"requests": 1, "tokens": 1_000}
    reservation = lane.reserve(weights, deadline=1e9, cancellation=Cancellation())
    lane.settle(reservation, {"tokens": 10})
    for _ in range(50):
        lane.announce()
    assert lane.outlook(weights)[0] < 10  # and 500 s if each drew a thousand
