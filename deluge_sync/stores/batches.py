"""Work done in batches by a thread that lives only while there is some."""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Generic, TypeVar, Union

Item = TypeVar("Item")


class _Mark:
    """A place in the line of items; `passed` once all before it are handled."""

    passed = False


class Batches(Generic[Item]):
    """Collects items from many threads and has one thread handle them, many at once.

    `handle(items)` gets 1 to `most` items, `delay` seconds after the first of them at the latest.
    It must not raise. The thread starts with the first item and ends when there are no more; it is
    not a daemon, so the interpreter waits for it and nothing is lost at exit. Where a thread can no
    longer be started, or nobody would wait for it, items are handled by who adds them.

    To add is to append, without a lock: with many threads, one that loses its turn while it holds
    a lock holds up all the others. The condition guards `_busy` and `_flushing`; only who has made
    `_busy` true takes items; `handle` runs outside it.
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
        self._line: deque[Union[Item, _Mark]] = deque()
        self._flushing = 0
        self._busy = False
        self._changed = threading.Condition()

    def add(self, item: Item) -> None:
        """Have `item` handled soon."""
        self._line.append(item)
        if not self._busy:  # who is busy looks once more after saying that it is not any longer
            self._begin()
        elif len(self._line) == self._most:
            self._wake()

    def flush(self) -> None:
        """Return when all that was added before has been handled."""
        if not self._busy and not self._line:
            return
        mark = _Mark()
        self._line.append(mark)
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
        try:
            while not mark.passed:
                self._begin()
                with self._changed:
                    while self._busy and not mark.passed:
                        self._changed.wait()
        finally:
            with self._changed:
                self._flushing -= 1

    def __len__(self) -> int:
        return len(self._line)

    def _begin(self) -> None:
        """Have somebody work, unless somebody does."""
        with self._changed:
            if self._busy or not self._line:
                return
            self._busy = True
        try:
            # Once the main thread is over the interpreter may be past joining its threads.
            if threading.main_thread().is_alive() and self._start_thread():
                return
        except BaseException:  # Ctrl-C: there may be no thread
            self._end()
            raise
        self._work(delay=0.0)

    def _start_thread(self) -> bool:
        """Whether there is a thread to work; not where the system is out of them, or at the end."""
        worker = threading.Thread(
            target=self._work, args=(self._delay,), name=self._name, daemon=False
        )
        try:
            worker.start()
        except RuntimeError:
            return False
        return True

    def _work(self, delay: float) -> None:
        try:
            while self._line:
                self._wait(delay)
                items = self._batch()
                if items:
                    self._handle(items)
        finally:  # after Ctrl-C, where who adds is who handles, the next one goes on
            self._end()
        if self._line:
            self._begin()

    def _end(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _wait(self, delay: float) -> None:
        if delay:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._flushing or len(self._line) >= self._most, timeout=delay
                )

    def _batch(self) -> list[Item]:
        """The next items, up to a mark; marks that they stand behind are passed."""
        items: list[Item] = []
        while self._line and len(items) < self._most:
            first = self._line[0]
            if not isinstance(first, _Mark):
                items.append(first)
            elif items:
                break
            else:
                self._pass(first)
            self._line.popleft()
        return items

    def _pass(self, mark: _Mark) -> None:
        with self._changed:
            mark.passed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
