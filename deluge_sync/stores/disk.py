"""Answers kept in a folder, shared by all threads and processes of one machine and user."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Hashable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Callable

from ..notices import warn_once
from .base import Store, StoreError, check_number
from .folder import checked
from .rows import CHUNK, Stats, Verification, select, stats, verify
from .schema import DamagedError, is_damage
from .shared import TAG_SEPARATOR, Put, SharedFolder, Task, shared_folder

if TYPE_CHECKING:
    from .safe_disk import OneConnection

DEFAULT_SIZE = 1 << 30
DEFAULT_MOST_BYTES = 64 << 20
DELETED_AT_ONCE = 1_000

TAGGED = "tag IS NOT NULL AND instr(char(10) || CAST(tag AS TEXT) || char(10), ?) > 0"


class DiskStore(Store):
    """Keeps answers in a folder, for `ttl` seconds (for ever), the oldest leaving first. The `ttl`
    is that of who puts.

    `size_limit` is of the whole database in bytes, `most_bytes` of one value. Nothing is opened or
    created before the store is used. Raises `ConfigError` for a folder that cannot be used.

    Nothing in the database is trusted: a row that this library did not write is a miss and a
    warning. After trouble (disk full, a folder that cannot be written) `get_many` or `put` raises
    `StoreError` once; then the store finds and keeps nothing for 60 s, and tries again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ttl: float | None = None,
        size_limit: int = DEFAULT_SIZE,
        most_bytes: int = DEFAULT_MOST_BYTES,
    ) -> None:
        check_number("ttl", ttl, none=True)
        check_number("size_limit", size_limit)
        check_number("most_bytes", most_bytes)
        self._path = checked(path)
        self._ttl = ttl
        self._size_limit = size_limit
        self._most_bytes = most_bytes

    def __repr__(self) -> str:
        return f"DiskStore({self._path!r})"

    @property
    def path(self) -> str:
        """The real path of the folder."""
        return self._path

    @property
    def place(self) -> Hashable:
        """Stores with the same folder hold the same answers."""
        return "disk", self._path

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or None."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values there are of `keys`, written or not yet. Raises `StoreError`."""
        folder = self._folder()
        found = {}
        wanted = list(dict.fromkeys(keys))
        if len(folder.pending):
            found = self._pending(folder, wanted)
            wanted = [key for key in wanted if key not in found]
        if wanted:
            found.update(self._select(folder, wanted))
        return found

    def put(
        self,
        key: str,
        value: bytes,
        *,
        tags: tuple[str, ...] = (),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Have `value` written within some 50 ms; waits only while too much is waiting.

        Raises `StoreError` for a value of more than `most_bytes`, and after trouble.
        """
        folder = self._folder()
        if len(value) > self._most_bytes:
            raise StoreError(
                f"an answer of {len(value):,} bytes is more than the cache keeps "
                f"({self._most_bytes:,} bytes)"
            )
        folder.writing.tell()
        if not folder.writing.is_over:
            then()
            return
        expires = None if self._ttl is None else time.time() + self._ttl
        folder.put(Put(key, value, _joined(tags), expires, self._size_limit, then))

    def claim(self, key: str) -> bool:
        """Take on the work of making the value of `key`, unless another process has."""
        folder = self._folder()
        try:
            return folder.lock_file.claim(key)
        except OSError as error:
            raise StoreError(
                f"the cache in {self._path} cannot be locked: {error.strerror}"
            ) from error

    def release(self, key: str) -> None:
        """Give a claim back."""
        self._folder().lock_file.release(key)

    def flush(self) -> None:
        """Return when all that was put is written."""
        self._folder().flush()

    def close(self) -> None:
        """Write what is left and close the files; the store can be used again."""
        self._folder().close()

    def clear(self) -> int:
        """Delete all; gives how many rows. Raises `StoreError`."""
        return self._run(lambda cache: _delete(cache, "1"))

    def purge(self, tag: str) -> int:
        """Delete what has that tag; gives how many rows. Raises `StoreError`."""
        needle = f"{TAG_SEPARATOR}{_flat(tag)}{TAG_SEPARATOR}"
        return self._run(lambda cache: _delete(cache, TAGGED, needle))

    def stats(self) -> Stats:
        """What the cache holds; nothing where there is none. Raises `StoreError`."""
        folder = self._folder()
        folder.flush()
        found = Stats()

        def count(connection: sqlite3.Connection) -> None:
            nonlocal found
            found = stats(connection, now=time.time())

        try:
            folder.read_only(count)
        except (DamagedError, sqlite3.Error) as error:
            raise StoreError(f"the cache in {self._path} cannot be read: {error}") from error
        return found

    def verify(self) -> Verification:
        """Look at every row and at the file; nothing is changed. Raises `StoreError`."""
        folder = self._folder()
        folder.flush()
        found = Verification()

        def look(connection: sqlite3.Connection) -> None:
            nonlocal found
            found = verify(connection, most=self._most_bytes, now=time.time())

        try:
            folder.read_only(look)
        except (DamagedError, sqlite3.Error) as error:
            if not is_damage(error):
                raise StoreError(f"the cache in {self._path} cannot be read: {error}") from error
            return Verification(damage=(str(error),))
        return found

    def _folder(self) -> SharedFolder:
        return shared_folder(self._path)

    def _pending(self, folder: SharedFolder, keys: list[str]) -> dict[str, bytes]:
        found = {}
        for key in keys:
            put = folder.pending.get(key)
            if put is None or len(put.value) > self._most_bytes:
                continue  # it may be too large for this store, and not for the one that put it
            if put.expires is None or put.expires > time.time():
                found[key] = put.value
        return found

    def _select(self, folder: SharedFolder, keys: list[str]) -> dict[str, bytes]:
        values: dict[str, bytes] = {}
        faults: set[str] = set()

        def look(connection: sqlite3.Connection) -> None:
            for start in range(0, len(keys), CHUNK):
                chunk = keys[start : start + CHUNK]
                found = select(connection, chunk, most=self._most_bytes, now=time.time())
                values.update(found.values)
                faults.update(found.faults)

        folder.read(look)
        for fault in sorted(faults):
            warn_once(
                f"the cache in {self._path} has a row that {fault}; it is not used "
                f"(`deluge-sync cache verify {self._path}` lists all such rows)"
            )
        return values

    def _run(self, work: Callable[[OneConnection], int]) -> int:
        return self._folder().run(Task(work, self._size_limit, Future()))


def _delete(cache: OneConnection, condition: str, *values: str) -> int:
    """Delete the rows, some at once so that others can write between."""
    count = 0
    while True:
        with cache.transact():
            deleted = cache._con.execute(
                "DELETE FROM Cache WHERE rowid IN "
                f"(SELECT rowid FROM Cache WHERE {condition} LIMIT {DELETED_AT_ONCE})",
                values,
            ).rowcount
        count += deleted
        if deleted < DELETED_AT_ONCE:
            return count


def _joined(tags: tuple[str, ...]) -> str | None:
    """What diskcache's one column of tags holds."""
    return TAG_SEPARATOR.join(_flat(tag) for tag in tags) or None


def _flat(tag: str) -> str:
    return tag.replace(TAG_SEPARATOR, " ")
