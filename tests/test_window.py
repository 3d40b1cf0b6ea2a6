"""The window: lazily read, refilled as calls finish, in order or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deluge_sync.engine.window import Window


def doubled(index: int, item: int, put) -> None:
    put((index, item * 2))


def counting(numbers: int, read: list[int]) -> Iterator[int]:
    for number in range(numbers):
        read.append(number)
        yield number


@pytest.mark.parametrize("how", ["as_completed", "in_order", "in_bulk"])
def test_every_item_gives_its_own_result(how: str) -> None:
    window: Window[int] = Window(iter(range(1_000)), doubled, width=7)
    assert dict(getattr(window, how)()) == {number: number * 2 for number in range(1_000)}


@pytest.mark.parametrize("how", ["as_completed", "in_order", "in_bulk"])
def test_no_items_give_no_results(how: str) -> None:
    assert list(getattr(Window(iter(()), doubled, width=3), how)()) == []


@pytest.mark.parametrize("how", ["as_completed", "in_order"])
def test_the_source_is_never_read_more_than_twice_the_width_ahead(how: str) -> None:
    read: list[int] = []
    window: Window[int] = Window(counting(100, read), doubled, width=5)
    for given, _ in enumerate(getattr(window, how)()):
        assert len(read) - given <= 2 * 5 + 1
    assert len(read) == 100


def test_results_come_in_order_whatever_order_they_finish_in() -> None:
    barrier = threading.Event()

    def start(index: int, item: int, put) -> None:
        def work() -> None:
            if index == 0:
                barrier.wait(5)
            put((index, item))
            if index == 3:
                barrier.set()

        pool.submit(work)

    with ThreadPoolExecutor(4) as pool:
        window: Window[int] = Window(iter(range(20)), start, width=2)
        assert [index for index, _ in window.in_order()] == list(range(20))


def test_a_straggler_does_not_hold_up_the_others() -> None:
    finished = threading.Semaphore(0)

    def start(index: int, item: int, put) -> None:
        if index == 0:
            pool.submit(lambda: ([finished.acquire(timeout=5) for _ in range(99)], put((0, 0))))
        else:
            pool.submit(lambda: (put((index, item)), finished.release()))

    with ThreadPoolExecutor(4) as pool:
        order = [index for index, _ in Window(iter(range(100)), start, width=2).as_completed()]
    assert order[-1] == 0


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="database"):
        list(Window(broken(), doubled, width=3).as_completed())


def test_the_tick_is_called_while_the_caller_waits() -> None:
    ticks: list[int] = []

    def start(index: int, item: int, put) -> None:
        threading.Timer(0.6, put, ((index, item),)).start()

    window: Window[int] = Window(iter([1]), start, width=1, tick=lambda: ticks.append(1))
    assert list(window.in_bulk()) == [(0, 1)]
    assert len(ticks) >= 2
