"""The SQLite database of one cache folder, as one process has it open."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..notices import warn_once
from .base import StoreError
from .folder import DATABASE, checked, identity
from .lock_file import LockFile
from .schema import APPLICATION_ID, DamagedError, check, check_owner, is_damage, is_empty

if TYPE_CHECKING:
    from .safe_disk import OneConnection

BUSY_SECONDS = 30.0
"""How long another process may hold the database before that is trouble."""

MOST_READERS = 4
FILES = ("", "-wal", "-shm", "-journal")

PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA cache_size = -16384",  # KiB: the index of 200,000 keys
)
WRITER_PRAGMAS = (
    "PRAGMA auto_vacuum = 1",
    "PRAGMA journal_mode = wal",
    "PRAGMA synchronous = 1",
    "PRAGMA secure_delete = FAST",
)


class Database:
    """Connections to the database: a few that read, one that writes, opened when needed.

    `_opening` is held while one thread opens or sets aside; the others need what it opens.
    """

    def __init__(self, folder: str, lock_file: LockFile) -> None:
        self.folder = folder
        self.path = os.path.join(folder, DATABASE)
        self._lock_file = lock_file
        self._readers: Readers | None = None
        self._cache: OneConnection | None = None
        self._identity: tuple[int, int] | None = None
        self._cache_identity: tuple[int, int] | None = None
        self._opening = threading.Lock()

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to read with, which gives text as bytes; None where there is no cache."""
        readers = self._readers or self._open_readers()
        if readers is None:
            yield None
            return
        with readers.one() as connection:
            yield connection

    def cache(self, size_limit: int) -> OneConnection:
        """The cache to write to, by one thread at a time."""
        if self._cache is None:
            self._cache = self._open_cache(size_limit)
        self._cache.size_limit = size_limit
        return self._cache

    @property
    def identity(self) -> tuple[int, int] | None:
        """Which file is open."""
        return self._identity

    def renew_readers(self) -> None:
        """Let go of a database that is not at its path any more; the next use opens what is."""
        readers = self._readers
        if readers is not None and identity(self.path) != readers.identity:
            with self._open_once():
                if self._readers is readers:
                    self._readers = None
            readers.close()

    def renew_cache(self) -> None:
        """The same for the one that writes, by the thread that does."""
        if self._cache is not None and identity(self.path) != self._cache_identity:
            self.close()
            self._lock_file.renew()

    def set_aside(self, error: BaseException, known: tuple[int, int] | None) -> None:
        """Put the damaged database of that identity out of the way, if it is still in it."""
        known = getattr(error, "identity", None) or known
        self.close()
        with self._open_once(), self._lock_file.creation(BUSY_SECONDS):
            if known is None or identity(self.path) != known:
                return
            name = f"{self.path}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            for suffix in FILES:
                if os.path.lexists(self.path + suffix):
                    os.replace(self.path + suffix, name + suffix)
        warn_once(f"the cache in {self.folder} was damaged and begins anew: {error}; see {name}")

    def close(self) -> None:
        """Close what is not in use; the rest when it is given back."""
        with self._open_once():
            readers, self._readers = self._readers, None
            cache, self._cache = self._cache, None
        if readers is not None:
            readers.close()
        if cache is not None:
            cache._connection.close()

    def abandon(self) -> None:
        """In a forked child: close what a parent left open, taking no lock that it may hold.

        SQLite counts locks by process, and would believe that this one has those of the parent.
        A connection that was writing at the fork stays: closing it would undo the parent's work.
        """
        if self._readers is not None:
            self._readers.close()
        if self._cache is not None and not self._cache._connection.in_transaction:
            self._cache._connection.close()

    @contextmanager
    def _open_once(self) -> Iterator[None]:
        if not self._opening.acquire(timeout=2 * BUSY_SECONDS):
            raise StoreError(f"another thread takes too long to open {self.path}")
        try:
            yield
        finally:
            self._opening.release()

    def _open_readers(self) -> Readers | None:
        with self._open_once():
            if self._readers is None and os.path.exists(self.path):
                checked(self.folder)
                self._identity = self._file()
                connection = connect_to_read(self.path)
                if not _sound(connection, self._identity):
                    connection.close()
                    return None
                self._readers = Readers(self.path, connection, self._identity)
            return self._readers

    def _open_cache(self, size_limit: int) -> OneConnection:
        # Here, not above: diskcache brings pickle with it, and is for those who write.
        from .safe_disk import OneConnection

        with self._open_once():
            checked(self.folder)
            with self._lock_file.creation(BUSY_SECONDS):
                self._create()
                self._identity = self._cache_identity = self._file()
                connection = connect(self.path)
                try:
                    is_new = not _sound(connection, self._identity)
                    for pragma in WRITER_PRAGMAS:
                        connection.execute(pragma).fetchall()
                    connection.text_factory = str
                    # In one transaction: nobody sees half of it.
                    connection.execute("BEGIN IMMEDIATE")
                    cache = OneConnection(connection, timeout=BUSY_SECONDS, size_limit=size_limit)
                    if is_new:
                        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute("COMMIT")
                except BaseException:
                    connection.close()
                    raise
            return cache

    def _create(self) -> None:
        """Make the file with its mode before SQLite does; its other files take that mode over.

        One that is there is left alone: closing it would free the locks SQLite has on it.
        """
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if os.name == "posix" and os.stat(self.path).st_mode & 0o077:
                os.chmod(self.path, 0o600)
            return
        os.close(file)

    def _file(self) -> tuple[int, int]:
        """The identity of the file, which must be one, as must its companions."""
        for suffix in FILES:
            try:
                found = os.lstat(self.path + suffix)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(f"{self.path}{suffix} is not a plain file")
            if not suffix:
                known = found.st_dev, found.st_ino
        return known


class Readers:
    """Connections that read, each used by one thread at a time; few are open at once.

    The semaphore counts those in use. The list of idle ones is popped and appended atomically.
    """

    def __init__(self, path: str, first: sqlite3.Connection, identity: tuple[int, int]) -> None:
        self.identity = identity
        self._path = path
        self._idle = [first]
        self._free = threading.Semaphore(MOST_READERS)
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """A connection; it is closed after an error."""
        if not self._free.acquire(timeout=BUSY_SECONDS):
            raise StoreError(f"all connections to {self._path} are in use")
        try:
            connection = self._popped() or connect_to_read(self._path)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            if self._closed:
                self.close()
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the idle ones now and the others when they come back."""
        self._closed = True
        while True:
            connection = self._popped()
            if connection is None:
                return
            connection.close()

    def _popped(self) -> sqlite3.Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


def connect(path: str, options: str = "mode=rw") -> sqlite3.Connection:
    """A connection for whichever thread, that creates no file and commits by itself."""
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = bytes  # text that is no UTF-8 would be an error of the whole query
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma).fetchall()
    except BaseException:  # some read the schema, which may be damaged
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> sqlite3.Connection:
    """A connection that changes nothing; also where nothing can be changed."""
    if os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK):
        connection = connect(path)
        connection.execute("PRAGMA query_only = ON")
        return connection
    # SQLite shares memory through a file beside the database. Where it cannot make that, nobody
    # else writes either, unless the file is there.
    shared = os.path.exists(path + "-wal")
    return connect(path, "mode=ro" if shared else "mode=ro&immutable=1")


def _sound(connection: sqlite3.Connection, known: tuple[int, int]) -> bool:
    """Whether there are tables in it, which are then ours. Raises `DamagedError`, with the file's
    identity.
    """
    try:
        if is_empty(connection):
            return False
        check_owner(connection)
        check(connection)
    except (DamagedError, sqlite3.DatabaseError) as error:
        connection.close()
        if not is_damage(error):
            raise
        damage = DamagedError(str(error))
        damage.identity = known
        raise damage from error
    return True
