"""What `stream_chat` gives: a generator that may be dropped anywhere."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from types import TracebackType
from typing import Any, Callable, Optional

Orphans = deque[Callable[[], None]]


class Pieces(Generator[Any, None, None]):
    """The pieces of a stream, and last its response; `close()` ends the call at once.

    One that is dropped cuts its connection, and what else it held (its place in the limits) is
    given back with the client's next call, through `orphans`. Not right then: Python may find out
    in the middle of anything, in a thread that holds any lock.
    """

    def __init__(
        self, steps: Generator[Any, None, None], *, cut: Callable[[], None], orphans: Orphans
    ) -> None:
        self._steps = steps
        self._cut = cut
        self._orphans = orphans
        self._pid = os.getpid()

    def send(self, value: None) -> Any:
        """The next piece."""
        return self._steps.send(value)

    def throw(
        self,
        kind: Any,
        value: Any = None,
        trace: Optional[TracebackType] = None,
    ) -> Any:
        """Have the call end with that error."""
        return self._steps.throw(kind if value is None else value)

    def close(self) -> None:
        """End the call; once it is over, nothing."""
        self._steps.close()

    def __del__(self) -> None:
        steps = self._steps
        if steps.gi_frame is None or os.getpid() != self._pid:  # type: ignore[attr-defined]
            return  # it is over; or it is the parent's, whose sockets and locks are not ours
        self._cut()
        self._orphans.append(steps.close)
