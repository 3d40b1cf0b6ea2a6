"""diskcache without what is dangerous in it. Only this module imports diskcache."""

from __future__ import annotations

import os
import sqlite3
from typing import Any, NoReturn

from diskcache import Cache, Disk, Timeout  # type: ignore[import-untyped]

from .packed import MODE_RAW, unpack

SETTINGS = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",
    "cull_limit": 0,  # culled once a batch, not with each put
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": -16384,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a file cut short under a mapping ends the process
    "sqlite_synchronous": 1,
    "disk_min_file_size": 1 << 40,
    "disk_pickle_protocol": 4,
}
"""Every setting of diskcache but the size limit: what a database says of itself counts nothing."""


class SafeDisk(Disk):  # type: ignore[misc]
    """Keys are strings and values are bytes, in the row; no pickle, and no file ever.

    diskcache's own reads files that a row names and unpickles what a row says is pickled.
    """

    most_bytes = 64 << 20

    def put(self, key: str) -> tuple[str, bool]:
        """The column of a key."""
        if type(key) is not str:
            raise TypeError(f"a key is a string, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """The key of a column. Raises ValueError for one that is not ours."""
        if raw != 1 or type(key) is not str:
            raise ValueError("a key that this library did not write")
        return key

    def store(self, value: bytes, read: bool, key: Any = None) -> tuple[int, int, None, memoryview]:
        """The columns of a value, which is packed already."""
        if read or type(value) is not bytes:
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        return 0, MODE_RAW, None, memoryview(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        """The value of a row. Raises `UnsoundError`."""
        return unpack(mode, filename, value, self.most_bytes)

    def filename(self, key: Any = None, value: Any = None) -> NoReturn:
        """No file is ever written."""
        raise ValueError("values are kept in no files")

    def remove(self, file_path: Any) -> None:
        """Nothing: no row of ours has a file, and a row that names one is not ours."""


class OneConnection(Cache):  # type: ignore[misc]
    """diskcache's `Cache` over one connection of ours, whichever thread uses it.

    Its own opens one a thread, and sets PRAGMAs by what it reads in the database.
    """

    def __init__(self, connection: sqlite3.Connection, *, timeout: float, size_limit: int) -> None:
        self._connection = connection
        # The folder is for files, and there are none; it would be created and "$HOME" expanded.
        super().__init__(os.sep, timeout=timeout, disk=SafeDisk, size_limit=size_limit, **SETTINGS)

    @property
    def _con(self) -> sqlite3.Connection:
        return self._connection

    def cull_in_time(self) -> None:
        """Drop what is out of date or too much, unless others keep the database busy.

        Not within a transaction: the file shrinks only at its end, and all would be dropped.
        """
        try:
            self.cull()
        except Timeout:
            pass

    def volume(self) -> int:
        """Bytes of the database. A row's own word for its size is not added: it may be any."""
        ((pages,),) = self._connection.execute("PRAGMA page_count").fetchall()
        return int(pages) * int(self._page_size)
