"""The lock file of a cache folder: who makes the database, and who works on which key."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from . import file_lock
from .base import StoreError
from .folder import identity

NAME = "lock"
PAUSE = 0.01


class LockFile:
    """One open file: closing any other descriptor of it would free all locks of the process.

    The lock guards `_file` and `_claims`, and is held over system calls that never wait: between a
    count and the lock that it stands for, nobody may come. Whoever has had it looks once more at
    `_released`, which is used by atomic operations only.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: int | None = None
        self._claims: Counter[int] = Counter()
        self._released: deque[int] = deque()
        self._lock = threading.Lock()

    def claim(self, key: str) -> bool:
        """Claim the work on a key; False where another process has it."""
        at = _offset(key)
        try:
            with self._lock:
                if not self._claims[at] and not file_lock.lock(self._open(), at=at):
                    del self._claims[at]
                    return False
                self._claims[at] += 1
                return True
        finally:
            self._give_back()

    def release(self, key: str) -> None:
        """Give a claim back.

        It does not queue for the lock behind all who claim: the writer, which releases by the
        hundred, would fall behind. Whoever has the lock does it when done.
        """
        self._released.append(_offset(key))
        self._give_back()

    def _give_back(self) -> None:
        while self._released and self._lock.acquire(blocking=False):
            try:
                while self._released:
                    self._unlock(self._released.popleft())
            finally:
                self._lock.release()

    def _unlock(self, at: int) -> None:
        if self._claims[at] > 1:
            self._claims[at] -= 1
            return
        held = self._claims.pop(at, 0)
        if held and self._file is not None:
            file_lock.unlock(self._file, at=at)

    @contextmanager
    def creation(self, seconds: float) -> Iterator[None]:
        """Be the one process that makes, or sets aside, the database. One thread at a time."""
        with self._lock:
            file = self._open()
        self._give_back()
        give_up = time.monotonic() + seconds
        while not file_lock.lock(file):
            if time.monotonic() > give_up:
                raise StoreError(f"another process has locked {self._folder} for {seconds:.0f} s")
            time.sleep(PAUSE)
        try:
            yield
        finally:
            file_lock.unlock(file)

    def renew(self) -> None:
        """Open anew, with the next use, a file that was removed or replaced: nobody else can see
        the locks on the old one.
        """
        with self._lock:
            path = os.path.join(self._folder, NAME)
            if self._file is not None and identity(path) != _of(self._file):
                if not self._claims:
                    os.close(self._file)
                self._file = None  # with claims it stays open: they are freed there at the end
        self._give_back()

    def close(self) -> None:
        """Close the file, unless something is claimed."""
        with self._lock:
            if self._file is not None and not self._claims:
                os.close(self._file)
                self._file = None
        self._give_back()

    def _open(self) -> int:
        if self._file is None:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(os.path.join(self._folder, NAME), flags, 0o600)
        return self._file


def _of(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino


def _offset(key: str) -> int:
    """The byte that stands for a key; byte 0 guards the database's making."""
    return int(key[:15], 16) + 1
