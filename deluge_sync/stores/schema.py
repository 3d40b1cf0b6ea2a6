"""What a database of ours looks like. One that looks different is not opened for use."""

from __future__ import annotations

import sqlite3

from .base import StoreError

APPLICATION_ID = 0x64656C75
"""What says in a database's header that it is ours; other programs use diskcache too."""


class DamagedError(Exception):
    """The database is damaged, or was changed by something else; the message says where."""

    identity: tuple[int, int] | None = None
    """(device, inode) of the file, where that was known."""


_TRIGGER = (
    "CREATE TRIGGER Settings_{} ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = {}; END"
)

SCHEMA = {
    "Settings": "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)",
    "sqlite_autoindex_Settings_1": None,
    "Cache": "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER,"
    " store_time REAL, expire_time REAL, access_time REAL, access_count INTEGER DEFAULT 0,"
    " tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0, filename TEXT, value BLOB)",
    "Cache_key_raw": "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)",
    "Cache_expire_time": "CREATE INDEX Cache_expire_time ON Cache (expire_time)",
    "Cache_store_time": "CREATE INDEX Cache_store_time ON Cache (store_time)",
    "Settings_count_insert": _TRIGGER.format(
        "count_insert AFTER INSERT", 'value + 1 WHERE key = "count"'
    ),
    "Settings_count_delete": _TRIGGER.format(
        "count_delete AFTER DELETE", 'value - 1 WHERE key = "count"'
    ),
    "Settings_size_insert": _TRIGGER.format(
        "size_insert AFTER INSERT", 'value + NEW.size WHERE key = "size"'
    ),
    "Settings_size_update": _TRIGGER.format(
        "size_update AFTER UPDATE", 'value + NEW.size - OLD.size WHERE key = "size"'
    ),
    "Settings_size_delete": _TRIGGER.format(
        "size_delete AFTER DELETE", 'value - OLD.size WHERE key = "size"'
    ),
}
"""The objects that diskcache 5.6 makes, by name, and the statement each is made by."""

NUMBERS = frozenset(
    {
        "cull_limit",
        "disk_min_file_size",
        "disk_pickle_protocol",
        "size_limit",
        "sqlite_auto_vacuum",
        "sqlite_cache_size",
        "sqlite_mmap_size",
        "sqlite_synchronous",
        "statistics",
        "tag_index",
    }
)
COUNTS = frozenset({"count", "hits", "misses", "size"})
"""What triggers sum up of the rows, and nobody uses: one odd row makes them odd."""

WORDS = {"eviction_policy": b"least-recently-stored", "sqlite_journal_mode": b"wal"}


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing has been made in the database yet."""
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def check_owner(connection: sqlite3.Connection) -> None:
    """Raise `StoreError` for the database of another program, which is left alone."""
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    if found != APPLICATION_ID:
        raise StoreError("the database in that folder is not a cache of ours; name another folder")


def check(connection: sqlite3.Connection) -> None:
    """Raise `DamagedError` unless the database is as diskcache makes it.

    A trigger or a view of somebody else's would run with our statements; a setting would be run as
    a PRAGMA. The connection gives text as bytes.
    """
    rows = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    found = {_text(name): None if sql is None else _text(sql) for name, sql in rows}
    for name in sorted({*found, *SCHEMA}):
        if name not in SCHEMA:
            raise DamagedError(f"it has a {name!r:.60} that is not ours")
        if name not in found or found[name] != SCHEMA[name]:
            raise DamagedError(f"its {name} is not as we make it")
    for key, value in connection.execute("SELECT key, value FROM Settings LIMIT 100"):
        name = _text(key)
        if not _ours(name, value):
            raise DamagedError(f"its setting {name!r:.60} is not ours")
    # Without it the file never shrinks, and culling to a size would cull everything.
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 1:
        raise DamagedError("it does not give back what is freed")


def _ours(name: str, value: object) -> bool:
    """Whether diskcache could have written that setting."""
    if name in COUNTS:
        return value is None or isinstance(value, (int, float))
    if name in NUMBERS:
        return isinstance(value, int)
    return name in WORDS and value == WORDS[name]


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the database is of no use any more."""
    if isinstance(error, DamagedError):
        return True
    words = str(error)
    return isinstance(error, sqlite3.DatabaseError) and any(
        word in words for word in ("malformed", "not a database", "unsupported file format")
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
