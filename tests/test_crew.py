"""The crew: every piece is done once, whatever happens to the pool."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from deluge_sync.engine.crew import SHIFT, Crew
from deluge_sync.values.errors import CallCancelledError


def of(pool: ThreadPoolExecutor):
    """`pool` as a crew wants it: closed, it raises our error."""

    def execute(function) -> None:
        try:
            pool.submit(function)
        except RuntimeError as error:
            raise CallCancelledError("closed") from error

    return execute


def test_every_piece_is_done_once_by_at_most_as_many_workers_as_allowed() -> None:
    done: deque[int] = deque()
    at_once, most, lock = 0, 0, threading.Lock()

    def piece(number: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        done.append(number)
        with lock:
            at_once -= 1

    with ThreadPoolExecutor(16) as pool:
        crew = Crew(of(pool), size=4)
        for number in range(5_000):
            crew.do(lambda number=number: piece(number))
    assert sorted(done) == list(range(5_000))
    assert most <= 4


def test_two_crews_of_one_pool_take_turns() -> None:
    order: list[str] = []
    go, done = threading.Event(), threading.Semaphore(0)
    now = [0.0]

    def piece(name: str) -> None:
        order.append(name)
        now[0] += SHIFT / 4
        done.release()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(go.wait, 5)
        first, second = (Crew(of(pool), size=1, clock=lambda: now[0]) for _ in range(2))
        for _ in range(12):
            first.do(lambda: piece("first"))
        second.do(lambda: piece("second"))
        go.set()
        assert all(done.acquire(timeout=5) for _ in range(13))
    assert order.index("second") == 4


def test_what_is_left_when_the_pool_closes_is_still_done() -> None:
    done: list[int] = []
    tasks: list = []
    now = [0.0]

    def closing_pool(function) -> None:
        if tasks:
            raise CallCancelledError("closed")
        tasks.append(function)

    def piece(number: int) -> None:
        done.append(number)
        now[0] += SHIFT

    crew = Crew(closing_pool, size=1, clock=lambda: now[0])
    for number in range(20):
        crew.do(lambda number=number: piece(number))
    tasks[0]()
    assert done == list(range(20))


def test_a_closed_pool_is_an_error_for_who_brings_the_first_piece() -> None:
    def closed_pool(function) -> None:
        raise CallCancelledError("closed")

    with pytest.raises(CallCancelledError):
        Crew(closed_pool, size=1).do(lambda: None)
