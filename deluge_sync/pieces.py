"""What `stream_chat` gives: a generator that may be dropped anywhere."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator
from types import TracebackType
from typing import Any, Callable, Optional

Steps = Generator[Any, None, None]

_open: set[Steps] = set()
"""The steps of streams that are not over. They hold places in limits, and so must not end by being
forgotten: Python may do that in the middle of anything, in a thread that holds any lock."""

_dropped: deque[tuple[int, Steps]] = deque()
"""Those whose stream nobody has any more, with the process they belong to."""


class Pieces(Generator[Any, None, None]):
    """The pieces of a stream, and last its response; `close()` ends the call at once.

    One that is dropped cuts its connection, and what else it held is given back when a client of
    this process is next used (`end_dropped`).
    """

    _steps: Optional[Steps] = None

    def __init__(self, steps: Steps, *, cut: Callable[[], None]) -> None:
        self._cut = cut
        self._pid = os.getpid()
        _open.add(steps)
        self._steps = steps

    def send(self, value: None) -> Any:
        """The next piece."""
        assert self._steps is not None
        try:
            return self._steps.send(value)
        except BaseException:
            _open.discard(self._steps)
            raise

    def throw(self, kind: Any, value: Any = None, trace: Optional[TracebackType] = None) -> Any:
        """Have the call end with that error."""
        assert self._steps is not None
        try:
            return self._steps.throw(kind if value is None else value)
        finally:
            _open.discard(self._steps)

    def close(self) -> None:
        """End the call; once it is over, nothing."""
        if self._steps is not None:
            self._steps.close()
            _open.discard(self._steps)

    def __del__(self) -> None:
        if self._steps is not None and self._steps in _open and os.getpid() == self._pid:
            self._cut()
            _dropped.append((self._pid, self._steps))


def end_dropped() -> None:
    """Give back what dropped streams held; called where no lock is held."""
    while _dropped:
        with contextlib.suppress(IndexError):  # another thread was faster
            pid, steps = _dropped.popleft()
            if pid == os.getpid():  # else the parent's, whose sockets and locks are not ours
                steps.close()
                _open.discard(steps)
