"""Single flight inside a process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import pytest

from deluge_sync import CallCancelledError, DeadlineExceededError
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.clock import monotonic
from deluge_sync.engine.flights import Flights

NEVER = float("inf")


def fetched(flights: Flights[str], fetch: object, **options: object) -> tuple[str, bool]:
    waiting = {"deadline": NEVER, "cancellation": Cancellation(), **options}
    return flights.fetch("key", fetch, **waiting)  # type: ignore[arg-type]


def test_of_many_who_ask_at_once_one_fetches() -> None:
    flights: Flights[str] = Flights()
    gate, fetches = threading.Event(), []

    def fetch() -> str:
        fetches.append(1)
        gate.wait(10)
        return "answer"

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(fetched, flights, fetch) for _ in range(20)]
        wait_for(lambda: len(waiters(flights)) == 19)
        gate.set()
        outcomes = [future.result(10) for future in futures]
    assert len(fetches) == 1
    assert sorted(led for _, led in outcomes) == [False] * 19 + [True]
    assert {answer for answer, _ in outcomes} == {"answer"}


def wait_for(true: Callable[[], bool]) -> None:
    give_up = monotonic() + 20
    while not true():
        assert monotonic() < give_up


def waiters(flights: Flights[str]) -> list[object]:
    flight = flights._flights.get("key")
    return [] if flight is None else list(flight.alarms)


def test_who_asks_after_it_is_over_fetches_anew() -> None:
    flights: Flights[str] = Flights()
    assert fetched(flights, lambda: "one") == ("one", True)
    assert fetched(flights, lambda: "two") == ("two", True)


def test_a_failure_belongs_to_who_fetched_and_the_next_takes_over() -> None:
    flights: Flights[str] = Flights()
    gate = threading.Event()

    def failing() -> str:
        gate.wait(10)
        raise ValueError("mine alone")

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(fetched, flights, failing)
        wait_for(lambda: bool(flights._flights))
        others = [pool.submit(fetched, flights, lambda: "answer") for _ in range(4)]
        wait_for(lambda: len(waiters(flights)) == 4)
        gate.set()
        assert isinstance(first.exception(10), ValueError)
        outcomes = [future.result(10) for future in others]
    assert {answer for answer, _ in outcomes} == {"answer"}
    assert any(led for _, led in outcomes)


@pytest.mark.parametrize("ended", ["deadline", "cancelled"])
def test_waiting_ends_with_the_own_deadline_or_cancellation(ended: str) -> None:
    flights: Flights[str] = Flights()
    gate = threading.Event()
    cancellation = Cancellation()
    deadline = monotonic() + 0.05 if ended == "deadline" else NEVER
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetched, flights, lambda: str(gate.wait(10)))
        wait_for(lambda: bool(flights._flights))
        second = pool.submit(
            fetched, flights, lambda: "never", deadline=deadline, cancellation=cancellation
        )
        wait_for(lambda: bool(waiters(flights)))
        if ended == "cancelled":
            cancellation.cancel()
        wanted = CallCancelledError if ended == "cancelled" else DeadlineExceededError
        assert isinstance(second.exception(10), wanted)
        gate.set()
        assert first.result(10) == ("True", True)
