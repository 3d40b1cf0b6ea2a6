"""A gate that everybody may pass until it is shut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Counts who is inside, so that somebody can wait until nobody is and keep it so.

    The condition guards both counts. A thread must not go in twice.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._shut = 0
        self._changed = threading.Condition()

    @contextmanager
    def inside(self, seconds: float) -> Iterator[None]:
        """Be inside; raises `TimeoutError` if the gate stays shut that long."""
        inside = False
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: not self._shut, timeout=seconds):
                    raise TimeoutError("it is being closed")
                self._inside += 1
                inside = True
            yield
        finally:
            if inside:
                with self._changed:
                    self._inside -= 1
                    if self._shut:
                        self._changed.notify_all()

    def shut(self, seconds: float) -> bool:
        """Let nobody in any more; whether all were out within that time."""
        with self._changed:
            self._shut += 1
            return self._changed.wait_for(lambda: not self._inside, timeout=seconds)

    def open(self) -> None:
        """Let everybody in again."""
        with self._changed:
            self._shut -= 1
            self._changed.notify_all()
