"""What all `DiskStore`s of one process have of one folder: files, claims, and the writer thread."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, NamedTuple, Union

from ..notices import warn_once
from ..values.errors import ConfigError
from .base import StoreError
from .batches import Batches
from .database import BUSY_SECONDS, Database
from .gate import Gate
from .lock_file import LockFile
from .packed import pack
from .schema import is_damage

if TYPE_CHECKING:
    from .safe_disk import OneConnection

logger = logging.getLogger(__name__)

PENDING_BYTES = 512 << 20
"""How much may wait to be written; beyond that who puts waits for the writer."""

OFF_SECONDS = 60.0
"""How long a store that failed is left alone."""

FORK_SECONDS = 10.0
"""How long a fork waits for statements under way."""

TAG_SEPARATOR = "\n"


class Put(NamedTuple):
    """A value on its way into the database.

    It is compressed by who writes it: compressing lets go of the GIL, and who puts would wait for
    all others to get it back.
    """

    key: str
    value: bytes
    tag: str | None
    expires: float | None
    size_limit: int
    then: Callable[[], None]


@dataclass(frozen=True)
class Task:
    """Other work for the thread that writes; gives a number of rows."""

    run: Callable[[OneConnection], int]
    size_limit: int
    done: Future[int]


Work = Union[Put, Task]


class Outage:
    """Reading or writing is off for a while after trouble, which is told once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._untold: StoreError | None = None

    def begin(self, error: StoreError, *, told: bool) -> None:
        """Be off from now on."""
        self._until = self._clock() + OFF_SECONDS
        self._untold = None if told else error

    def tell(self) -> None:
        """Raise the trouble, if nobody was told of it."""
        error, self._untold = self._untold, None
        if error is not None:
            raise error

    @property
    def is_over(self) -> bool:
        """Whether to try."""
        return self._clock() >= self._until


class Pending:
    """The puts that are not written yet, which are found as if they were.

    Adding takes no lock, as in `Batches`: only the writer does arithmetic, with the sizes that were
    appended since it last did. The condition guards nothing; it wakes those who wait for room.
    """

    def __init__(self) -> None:
        self._puts: dict[str, Put] = {}
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._room = threading.Condition()

    def add(self, put: Put) -> None:
        """Add, waiting while there is too much."""
        while self._bytes > PENDING_BYTES:
            with self._room:
                self._room.wait(0.1)
        self._sizes.append(len(put.value))
        self._puts[put.key] = put

    def remove(self, puts: Sequence[Put]) -> None:
        """These are written, or never will be; called by the writer only."""
        added = sum(self._sizes.popleft() for _ in range(len(self._sizes)))
        self._bytes += added - sum(len(put.value) for put in puts)
        for put in puts:
            if self._puts.get(put.key) is put:  # one put in this very moment is found when written
                del self._puts[put.key]
        with self._room:
            self._room.notify_all()

    def get(self, key: str) -> Put | None:
        """The last put of the key that is not written yet."""
        return self._puts.get(key)

    def __len__(self) -> int:
        return len(self._puts)


class SharedFolder:
    """One folder in one process. Nothing is opened before it is needed."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.pending = Pending()
        self.lock_file = LockFile(path)
        self.reading = Outage(clock)
        self.writing = Outage(clock)
        self._database = Database(path, self.lock_file)
        self._gate = Gate()
        self._batches: Batches[Work] = Batches(self._handle)

    def read(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Have `work` read, if there is a cache and reading is not off.

        Trouble becomes `StoreError`. A damaged database is set aside, and then there is none.
        """
        if not self.reading.is_over:
            return
        known = self._database.identity
        try:
            self.read_only(work)
        except Exception as error:
            trouble = self._trouble("read", error, known)
            if trouble is not None:
                self.reading.begin(trouble, told=True)
                raise trouble from error

    def read_only(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """The same, changing nothing and raising whatever is found."""
        self._database.renew_readers()
        with self._gate.inside(BUSY_SECONDS), self._database.reader() as connection:
            if connection is not None:
                work(connection)

    def put(self, put: Put) -> None:
        """Have it written."""
        self.pending.add(put)
        self._batches.add(put)

    def run(self, task: Task) -> int:
        """Have the writer do it, and wait for that. Raises `StoreError`."""
        self._batches.add(task)
        self._batches.flush()
        return task.done.result(timeout=0)

    def flush(self) -> None:
        """Return when all that was put is written."""
        self._batches.flush()

    def close(self) -> None:
        """Write and close all; used again, it opens again."""
        self.flush()
        self.shut()
        self.lock_file.close()
        self.open()

    def shut(self) -> None:
        """Close the connections, and hold back who wants one, until `open`."""
        if self._gate.shut(FORK_SECONDS):
            self._database.close()

    def abandon(self) -> None:
        """In a child: close what the parent had open."""
        self._database.abandon()

    def open(self) -> None:
        """Let them go on."""
        self._gate.open()

    def _handle(self, items: list[Work]) -> None:
        """The writer's work; it does not raise."""
        puts = [item for item in items if isinstance(item, Put)]
        tasks = [item for item in items if isinstance(item, Task)]
        try:
            if tasks or self.writing.is_over:
                self._write(puts, tasks)
        finally:
            self.pending.remove(puts)
        for put in puts:
            try:
                put.then()
            except Exception:
                logger.exception("what was to be done after a put failed")

    def _write(self, puts: list[Put], tasks: list[Task]) -> None:
        trouble = None
        for _ in range(2):  # a second time where the database was damaged and is now another
            known = self._database.identity
            try:
                with self._gate.inside(2 * BUSY_SECONDS):
                    self._commit(puts, tasks)
                return
            except Exception as error:
                trouble = self._trouble("written", error, known)
                if trouble is not None:
                    break
        trouble = trouble or StoreError(f"the cache in {self.path} is damaged again and again")
        self.writing.begin(trouble, told=False)
        # In the words of who catches what the next put raises: there may be no next put.
        warn_once(f"going on without the cache: {trouble}")
        for task in tasks:
            if not task.done.done():
                task.done.set_exception(trouble)

    def _commit(self, puts: list[Put], tasks: list[Task]) -> None:
        self._database.renew_cache()
        cache = self._database.cache((puts or tasks)[-1].size_limit)
        if puts:
            with cache.transact():
                for put in puts:
                    _set(cache, put)
        for task in tasks:
            if not task.done.done():
                task.done.set_result(task.run(cache))
        cache.cull_in_time()

    def _trouble(
        self, what: str, error: Exception, known: tuple[int, int] | None
    ) -> StoreError | None:
        """What to raise after an error; None where a damaged database was set aside."""
        cause = _cause(error)
        try:
            if is_damage(cause):
                self._database.set_aside(cause, known or self._database.identity)
                return None
            self._database.close()
        except Exception as another:
            logger.debug("cannot set aside or close the cache in %s: %s", self.path, another)
        if isinstance(cause, (StoreError, ConfigError)):
            return StoreError(str(cause))
        return StoreError(f"the cache in {self.path} cannot be {what}: {_words(cause)}")


def _set(cache: OneConnection, put: Put) -> None:
    expire = None if put.expires is None else put.expires - time.time()
    cache.set(put.key, pack(put.value), expire=expire, tag=put.tag)


def _cause(error: BaseException) -> BaseException:
    """What is behind diskcache's `Timeout`, or behind a rollback that failed after it."""
    hiding = type(error).__name__ == "Timeout" or "cannot rollback" in str(error)
    return error.__context__ if hiding and error.__context__ is not None else error


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error) or type(error).__name__


_folders: dict[tuple[int, str], SharedFolder] = {}


def shared_folder(path: str) -> SharedFolder:
    """That of this process for the real path of a folder."""
    pid = os.getpid()
    folder = _folders.get((pid, path))
    if folder is None:
        for (owner, its_path), inherited in list(_folders.items()):
            if owner != pid and its_path == path:  # forked by C code, which runs no hooks
                inherited.abandon()
        # Atomic, and one that loses the race has opened nothing.
        folder = _folders.setdefault((pid, path), SharedFolder(path))
    return folder


def _ours() -> list[SharedFolder]:
    pid = os.getpid()
    return [folder for (owner, _), folder in list(_folders.items()) if owner == pid]


def _before_fork() -> None:
    """SQLite's own locks and mutexes must not be inherited: no connection is open in a fork."""
    for folder in _ours():
        folder.shut()


def _after_fork() -> None:
    for folder in _ours():
        folder.open()


def _close_at_exit() -> None:
    """The last one to close moves what is in the write-ahead log into the database."""
    for folder in _ours():
        folder.shut()
        folder.open()


def _forget() -> None:
    """In a child: a process that had our number may have left something here."""
    for folder in _ours():
        del _folders[os.getpid(), folder.path]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forget)
atexit.register(_close_at_exit)
