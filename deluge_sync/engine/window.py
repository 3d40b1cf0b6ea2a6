"""Feeding workers from an iterator, in the caller's thread, never far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, Generic, TypeVar

from .alarm import Alarm

Result = TypeVar("Result")

TICK = 0.25
"""Seconds after which the waiting caller looks up, for its progress display."""


class Inbox(Generic[Result]):
    """Results put by many workers and taken, many at once, by one caller.

    The caller says how many it waits for, so that it is not woken for each one. Appends and lengths
    of a deque are atomic.
    """

    def __init__(self) -> None:
        self._results: deque[Result] = deque()
        self._wanted = 1
        self._alarm = Alarm()

    def put(self, result: Result) -> None:
        """Called by a worker."""
        self._results.append(result)
        if len(self._results) >= self._wanted:
            self._alarm.ring()

    def take(self, wanted: int) -> list[Result]:
        """All there is, as soon as `wanted` are there or `TICK` seconds have passed."""
        self._wanted = wanted
        if len(self._results) < wanted:
            self._alarm.wait(TICK)
        return self.drain()

    def __bool__(self) -> bool:
        return bool(self._results)

    def drain(self) -> list[Result]:
        """All there is."""
        return [self._results.popleft() for _ in range(len(self._results))]


class Window(Generic[Result]):
    """At most `2 * width` items of `source` are under way: `width` in work, the rest next in line.

    `start(index, item, put)` begins the work on an item; its result comes through `put` as
    (index, result), from any thread. The source is read in the caller's thread (a database cursor
    belongs to it), as calls *finish*, so that one straggler does not hold up the rest. `started()`
    is called when no more will be started for now.
    """

    def __init__(
        self,
        source: Iterator[Any],
        start: Callable[[int, Any, Callable[[tuple[int, Result]], None]], None],
        *,
        width: int,
        started: Callable[[], None] = lambda: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._start = start
        self._ahead = 2 * width
        self._started = started
        self._tick = tick
        self._inbox: Inbox[tuple[int, Result]] = Inbox()
        self._read = 0
        self._finished = 0
        self._exhausted = False

    def as_completed(self) -> Iterator[tuple[int, Result]]:
        """(index, result) as they finish; refilled one by one, so each is handed on at once."""
        while self._refill(self._finished, eager=True):
            yield from self._collect(1)

    def in_bulk(self) -> Iterator[tuple[int, Result]]:
        """The same for a caller who wants all of them anyway: woken far less often."""
        while self._refill(self._finished):
            yield from self._collect(max(1, min(self._read - self._finished, self._ahead // 4)))

    def in_order(self) -> Iterator[tuple[int, Result]]:
        """(index, result) in the order of the source; what is early waits, within the window."""
        early: dict[int, Result] = {}
        turn = 0
        while self._refill(turn, eager=True):
            early.update(self._collect(1))
            while turn in early:
                yield turn, early.pop(turn)
                turn += 1

    def left(self) -> list[tuple[int, Result]]:
        """What came in and was not given out, for a caller whose source or `start` raised."""
        return self._inbox.drain()

    def _refill(self, since: int, *, eager: bool = False) -> bool:
        """Start items until `2 * width` are ahead of `since`; whether any are under way.

        With `eager`, only until a result is there: a slow source must not hold it up.
        """
        while not self._exhausted and self._read - since < self._ahead:
            if eager and self._inbox:
                break
            try:
                item = next(self._source)
            except StopIteration:
                self._exhausted = True
                break
            index = self._read
            self._read += 1
            self._start(index, item, self._inbox.put)
        self._started()
        return self._read > self._finished

    def _collect(self, wanted: int) -> list[tuple[int, Result]]:
        results = self._inbox.take(wanted)
        self._finished += len(results)
        self._tick()
        return results
