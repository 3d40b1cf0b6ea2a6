"""Work done in batches by a thread that lives only while there is some."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Generic, TypeVar

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Collects items from many threads and has one thread handle them, many at once.

    `handle(items)` gets 1 to `most` items, `delay` seconds after the first of them at the latest.
    It must not raise. The thread starts with the first item and ends when there are no more; it is
    not a daemon, so the interpreter waits for it and nothing is lost at exit. Where a thread can no
    longer be started, or nobody would wait for it, items are handled by who adds them.

    The condition guards all that changes; `handle` runs outside it.
    """

    def __init__(
        self,
        handle: Callable[[list[Item]], None],
        *,
        delay: float = 0.05,
        most: int = 500,
        name: str = "deluge-sync-writer",
    ) -> None:
        self._handle = handle
        self._delay = delay
        self._most = most
        self._name = name
        self._items: deque[Item] = deque()
        self._added = 0
        self._handled = 0
        self._flushing = 0
        self._busy = False
        self._changed = threading.Condition()

    def add(self, item: Item) -> None:
        """Have `item` handled soon."""
        with self._changed:
            self._items.append(item)
            self._added += 1
            if len(self._items) == self._most:
                self._changed.notify_all()
            if self._busy:
                return
            self._busy = True
        # Once the main thread is over the interpreter may be past joining its threads.
        if not threading.main_thread().is_alive():
            self._work(delay=0.0)
            return
        try:
            threading.Thread(target=self._work, name=self._name).start()
        except RuntimeError:  # the interpreter is ending, or the system is out of threads
            self._work(delay=0.0)

    def flush(self) -> None:
        """Return when all that was added before has been handled."""
        with self._changed:
            wanted = self._added
            self._flushing += 1
            self._changed.notify_all()
            try:
                while self._handled < wanted and self._busy:
                    self._changed.wait()
            finally:
                self._flushing -= 1

    def __len__(self) -> int:
        return len(self._items)

    def _work(self, delay: float | None = None) -> None:
        delay = self._delay if delay is None else delay
        while True:
            items = self._next(delay)
            if not items:
                return
            try:
                self._handle(items)
            except BaseException:  # Ctrl-C, where who adds is who handles: the next one goes on
                self._done(len(items), busy=False)
                raise
            self._done(len(items), busy=True)

    def _next(self, delay: float) -> list[Item]:
        """The next batch; an empty one, and nobody busy any more, when there is no work left."""
        with self._changed:
            if self._items and delay:
                self._changed.wait_for(
                    lambda: self._flushing or len(self._items) >= self._most, timeout=delay
                )
            count = min(len(self._items), self._most)
            if not count:
                self._busy = False
                self._changed.notify_all()
            return [self._items.popleft() for _ in range(count)]

    def _done(self, count: int, *, busy: bool) -> None:
        with self._changed:
            self._handled += count
            self._busy = busy
            if self._flushing or not busy:
                self._changed.notify_all()
