"""A line of work in front of a pool."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Callable

from ..values.errors import CallCancelledError
from .clock import Clock, monotonic

Piece = Callable[[], None]

SHIFT = 0.02
"""Seconds after which a worker goes to the back of the pool's own queue, so that others who use the
pool get their turn."""


class Crew:
    """Has up to `size` workers of a pool do pieces of work, first come, first served.

    A pool's task costs as much as all our own work on a call; here a worker takes piece after
    piece, and a piece costs an append. `execute` has the pool run a function, or raises
    `CallCancelledError` once the pool is closed: what is left is then done by those still there, so
    that every piece is done. Pieces must not raise.

    The lock guards `_working`; the line is used by atomic operations only.
    """

    def __init__(
        self,
        execute: Callable[[Piece], object],
        *,
        size: int,
        clock: Clock = monotonic,
    ) -> None:
        self._execute = execute
        self._clock = clock
        self._size = size
        self._line: deque[Piece] = deque()
        self._working = 0
        self._lock = threading.Lock()

    def do(self, piece: Piece) -> None:
        """Have `piece` done."""
        self._line.append(piece)
        self._enlist()

    def _enlist(self) -> None:
        """One worker more, unless all are there or nothing is left."""
        if self._working >= self._size:
            return
        with self._lock:
            if self._working >= self._size or not self._line:
                return
            self._working += 1
        try:
            self._execute(self._work)
        except CallCancelledError:
            self._leave()
            raise

    def _work(self) -> None:
        self._take(until=self._clock() + SHIFT)
        self._leave()
        try:
            self._enlist()  # what was put in line after the last look, or is left of it
        except CallCancelledError:
            self._take(until=math.inf)

    def _take(self, *, until: float) -> None:
        while self._line:
            try:
                piece = self._line.popleft()
            except IndexError:
                return
            piece()
            if self._clock() >= until:
                return

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
