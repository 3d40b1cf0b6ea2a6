"""Answers kept in memory, as long as the process lives."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import Callable, NamedTuple

from .base import Store, check_number

DEFAULT_SIZE = 256 << 20


class MemoryStore(Store):
    """Keeps answers in this process, for `ttl` seconds (for ever), the oldest leaving first.

    `size_limit` counts the bytes of the values. A forked child begins with none.
    """

    def __init__(
        self,
        *,
        ttl: float | None = None,
        size_limit: int = DEFAULT_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_number("ttl", ttl, none=True)
        check_number("size_limit", size_limit)
        self._ttl = ttl
        self._size_limit = size_limit
        self._clock = clock
        self._shelves: dict[int, _Shelf] = {}

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or None."""
        return self._shelf().get(key, self._clock())

    def put(
        self,
        key: str,
        value: bytes,
        *,
        tags: tuple[str, ...] = (),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep `value` under `key`."""
        expires = None if self._ttl is None else self._clock() + self._ttl
        self._shelf().put(key, _Entry(bytes(value), expires, tags), self._size_limit)
        then()

    def purge(self, tag: str) -> int:
        """Drop what has that tag; gives how many."""
        return self._shelf().drop(lambda entry: tag in entry.tags)

    def clear(self) -> int:
        """Drop all; gives how many."""
        return self._shelf().drop(lambda entry: True)

    def __len__(self) -> int:
        return len(self._shelf().entries)

    def _shelf(self) -> _Shelf:
        # By process: a lock that a thread held at the fork would be held for ever in the child.
        shelf = self._shelves.get(os.getpid())
        return shelf or self._shelves.setdefault(os.getpid(), _Shelf())


class _Entry(NamedTuple):
    value: bytes
    expires: float | None
    tags: tuple[str, ...]


class _Shelf:
    """The entries of one process, oldest first. The lock guards them and their total `size`."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str, now: float) -> bytes | None:
        with self._lock:
            entry = self.entries.get(key)
            if entry is not None and entry.expires is not None and entry.expires <= now:
                self._remove(key)
                entry = None
            return None if entry is None else entry.value

    def put(self, key: str, entry: _Entry, size_limit: int) -> None:
        with self._lock:
            self._remove(key)
            if len(entry.value) > size_limit:
                return
            self.entries[key] = entry
            self._size += len(entry.value)
            while self._size > size_limit:
                self._remove(next(iter(self.entries)))

    def drop(self, unwanted: Callable[[_Entry], bool]) -> int:
        with self._lock:
            keys = [key for key, entry in self.entries.items() if unwanted(entry)]
            for key in keys:
                self._remove(key)
            return len(keys)

    def _remove(self, key: str) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._size -= len(entry.value)
