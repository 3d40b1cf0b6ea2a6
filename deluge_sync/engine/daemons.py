"""Threads that the program does not wait for when it ends, and those that outlived their time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Callable

from ..values.errors import CallCancelledError


def start(function: Callable[[], None], *, name: str = "deluge-sync-loop") -> threading.Thread:
    """Run `function` in a daemon thread; `CallCancelledError` where the system gives none."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise CallCancelledError(f"no thread could be started ({error})") from error
    return thread


class Stragglers:
    """Threads that nobody waits for any more: they cannot be ended, only counted.

    The lock guards the list.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def add(self, threads: Iterable[threading.Thread]) -> None:
        """Count `threads` for as long as they run."""
        with self._lock:
            self._threads.extend(threads)

    def count(self) -> int:
        """How many still run."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            return len(self._threads)
