"""Reading the rows of a cache's database, none of which is trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .packed import UnsoundError, unpack, unpack_data

CHUNK = 500
"""Keys or rows of one statement."""

SOUND = """
    raw IS 1 AND mode IS 1 AND filename IS NULL
    AND (expire_time IS NULL OR typeof(expire_time) IN ('real', 'integer') AND expire_time > ?)
    AND typeof(value) = 'blob' AND length(value) <= ?
"""
# What could be large, or of a type that is not ours, is not even read.
COLUMNS = """
    raw IS 1,
    CASE WHEN typeof(expire_time) IN ('null', 'real', 'integer') THEN expire_time ELSE 'bad' END,
    CASE WHEN typeof(mode) = 'integer' THEN mode END,
    CASE WHEN filename IS NOT NULL THEN 'a file' END,
    CASE WHEN typeof(value) = 'blob' AND length(value) <= ? THEN value END
"""


@dataclass(frozen=True)
class Found:
    """Values by key, and what was wrong with rows that were asked for."""

    values: dict[str, bytes] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stats:
    """What a cache holds. `bytes` are those of the compressed values, times are Unix seconds."""

    entries: int = 0
    expired: int = 0
    bytes: int = 0
    file_bytes: int = 0
    oldest: float | None = None
    newest: float | None = None
    by_tag: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that this library did not write, or that was damaged since."""

    rowid: int
    key: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """How many rows are sound or out of date, and those that are bad; `damage` is of the file."""

    sound: int = 0
    expired: int = 0
    bad: tuple[BadRow, ...] = ()
    damage: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.bad and not self.damage


def select(connection: sqlite3.Connection, keys: Sequence[str], *, most: int, now: float) -> Found:
    """The values there are of at most `CHUNK` keys; one bad row costs no other key its value."""
    found = Found()
    query = (
        f"SELECT key, CASE WHEN {SOUND} THEN value END FROM Cache"
        f" WHERE key IN ({','.join('?' * len(keys))})"
    )
    odd = []
    for key, data in connection.execute(query, (now, most, *keys)).fetchall():
        try:
            if data is None:
                odd.append(key.decode())
            else:
                found.values[key.decode()] = unpack_data(data, most)
        except UnsoundError as error:
            found.faults.add(str(error))
    if odd:
        found.faults.update(_faults(connection, odd, most, now))
    return found


def _faults(
    connection: sqlite3.Connection, keys: Sequence[str], most: int, now: float
) -> Iterator[str]:
    """What is wrong with the rows of these keys; nothing where their time is over."""
    query = f"SELECT {COLUMNS} FROM Cache WHERE key IN ({','.join('?' * len(keys))})"
    for row in connection.execute(query, (most, *keys)).fetchall():
        try:
            _value(row, most, now)
        except UnsoundError as error:
            yield str(error)


def _value(row: Sequence[object], most: int, now: float) -> bytes | None:
    """The value of a row of `COLUMNS`; None where its time is over. Raises `UnsoundError`."""
    raw, expires, mode, filename, data = row
    if not raw:
        raise UnsoundError("has a key that would be unpickled")
    if expires is not None:
        if not isinstance(expires, (int, float)):
            raise UnsoundError("has a time of expiry that is none")
        if expires <= now:
            return None
    return unpack(mode, filename, data, most)


def stats(connection: sqlite3.Connection, *, now: float) -> Stats:
    """Count what is in the database."""
    (row,) = connection.execute(
        "SELECT count(*), total(expire_time IS NOT NULL AND expire_time <= ?),"
        " total(length(value)),"
        " min(CASE WHEN typeof(store_time) = 'real' THEN store_time END),"
        " max(CASE WHEN typeof(store_time) = 'real' THEN store_time END) FROM Cache",
        (now,),
    ).fetchall()
    entries, expired, size, oldest, newest = row
    pages, page_size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    tags: dict[str, int] = {}
    rows = connection.execute(
        "SELECT substr(CAST(tag AS TEXT), 1, 10000), count(*) FROM Cache"
        " WHERE tag IS NOT NULL GROUP BY 1"
    )
    for joined, count in rows:
        for tag in joined.decode("utf-8", "replace").split("\n"):
            tags[tag] = tags.get(tag, 0) + count
    return Stats(
        entries=entries,
        expired=int(expired),
        bytes=int(size),
        file_bytes=pages * page_size,
        oldest=oldest,
        newest=newest,
        by_tag=dict(sorted(tags.items())),
    )


def verify(connection: sqlite3.Connection, *, most: int, now: float) -> Verification:
    """Look at every row, and at the file as SQLite does."""
    counts = {"sound": 0, "expired": 0}
    bad: list[BadRow] = []
    for rowid, key, row in _all_rows(connection, most):
        try:
            if key is None:
                raise UnsoundError("has a key that is no text")
            value = _value(row, most, now)
        except UnsoundError as error:
            bad.append(BadRow(rowid, key or "", str(error)))
        else:
            counts["expired" if value is None else "sound"] += 1
    said = connection.execute("PRAGMA quick_check(20)").fetchall()
    damage = tuple(str(line, "utf-8", "replace") for (line,) in said if line != b"ok")
    return Verification(counts["sound"], counts["expired"], tuple(bad), damage)


def _all_rows(
    connection: sqlite3.Connection, most: int
) -> Iterator[tuple[int, str | None, Sequence[object]]]:
    last = -(1 << 63)
    while True:
        # Few at once, and no statement left open: others may write meanwhile.
        rows = connection.execute(
            "SELECT rowid, CASE WHEN typeof(key) = 'text' THEN substr(key, 1, 200) END,"
            f" {COLUMNS} FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT 100",
            (most, last),
        ).fetchall()
        for last, key, *row in rows:
            yield last, None if key is None else key.decode("utf-8", "replace"), row
        if not rows:
            return
