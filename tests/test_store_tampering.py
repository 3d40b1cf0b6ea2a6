"""Caches that somebody else wrote to: no code runs, no file is touched, no other answer is lost."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import sqlite3
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import notices
from deluge_sync.stores.disk import DiskStore
from deluge_sync.stores.packed import UnsoundError, unpack
from deluge_sync.stores.safe_disk import SafeDisk
from deluge_sync.values.errors import DelugeWarning

GOOD = hashlib.sha256(b"good").hexdigest()
BAD = hashlib.sha256(b"bad").hexdigest()


@pytest.fixture(autouse=True)
def each_warning_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_told", set())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    """A store with one good answer, closed so that others can write to its file."""
    store = DiskStore(tmp_path / "cache", most_bytes=1 << 20)
    store.put(GOOD, b"good")
    store.close()
    yield store
    store.close()


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def statement(store: DiskStore, sql: str, *values: object) -> None:
    connection = sqlite3.connect(os.path.join(store.path, "cache.db"))
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def insert(store: DiskStore, **columns: object) -> None:
    """A row of somebody else's; sound in all that is not named."""
    row: dict[str, object] = {"key": BAD, "raw": 1, "mode": 1, "value": zlib.compress(b"bad")}
    row = {"store_time": 1.0, "access_time": 1.0, "size": 0, **row, **columns}
    marks = ",".join("?" * len(row))
    statement(store, f"INSERT INTO Cache ({','.join(row)}) VALUES ({marks})", *row.values())


def test_a_sound_row_of_the_helper_is_found(store: DiskStore) -> None:
    insert(store)
    assert store.get_many([GOOD, BAD]) == {GOOD: b"good", BAD: b"bad"}


def check_miss(store: DiskStore) -> None:
    """The bad row is a miss with one warning, and costs the other key nothing."""
    with pytest.warns(DelugeWarning, match=f"cache in {store.path} has a row") as told:
        assert store.get_many([GOOD, BAD]) == {GOOD: b"good"}
    assert len(told) == 1
    assert not store.verify().ok


@pytest.mark.parametrize("mode", [0, 2, 3, 4, 5, -1, 1 << 40, "text", b"bytes", None, 1.5])
def test_a_row_of_another_mode_is_a_miss_and_runs_nothing(store, tmp_path, mode) -> None:
    insert(store, mode=mode, value=pickle.dumps(Payload(tmp_path / "ran")))
    check_miss(store)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_value_in_a_raw_row_is_a_miss(store: DiskStore, tmp_path: Path) -> None:
    insert(store, value=pickle.dumps(Payload(tmp_path / "ran")))
    check_miss(store)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_key_is_never_unpickled(store: DiskStore, tmp_path: Path) -> None:
    insert(store, key=pickle.dumps(Payload(tmp_path / "ran")), raw=0)
    insert(store, raw=0)
    check_miss(store)
    store.put(BAD, b"ours")
    store.flush()
    assert store.get(BAD) == b"ours"
    assert len(store.verify().bad) == 2
    assert store.clear() == 4
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
@pytest.mark.parametrize("where", ["relative", "absolute", "system"])
@pytest.mark.parametrize("ending", ["put", "clear", "cull", "expire", "purge"])
def test_a_file_that_a_row_names_is_neither_read_nor_deleted(
    store: DiskStore, tmp_path: Path, mode: int, where: str, ending: str
) -> None:
    victim = tmp_path / "x"
    victim.write_bytes(zlib.compress(b"secret"))
    name = {"relative": "../x", "absolute": str(victim), "system": "/etc/passwd"}[where]
    insert(store, mode=mode, filename=name, value=None, tag="t")
    check_miss(store)
    if ending == "put":
        store.put(BAD, b"ours")
    elif ending == "clear":
        store.clear()
    elif ending == "purge":
        assert store.purge("t") == 1
    elif ending == "expire":
        store.close()
        statement(store, "UPDATE Cache SET expire_time = 5 WHERE key = ?", BAD)
        store.put(GOOD, b"good")
    else:
        small = DiskStore(store.path, size_limit=1)
        small.put(GOOD, b"good")
    store.flush()
    assert store.get(BAD) == (b"ours" if ending == "put" else None)
    assert victim.read_bytes() == zlib.compress(b"secret")
    assert os.path.getsize("/etc/passwd") > 0


def test_a_compression_bomb_is_a_miss_that_never_unfolds(store: DiskStore) -> None:
    insert(store, value=zlib.compress(b"\0" * (200 << 20)))
    check_miss(store)


def test_a_row_that_is_too_large_is_not_even_read(store: DiskStore) -> None:
    insert(store, value=os.urandom(2 << 20))
    check_miss(store)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"plain",
        "text",
        7,
        1.5,
        None,
        zlib.compress(b"x" * 99)[:-4],
        zlib.compress(b"x") + b"y",
    ],
)
def test_a_value_that_is_not_packed_by_us_is_a_miss(store: DiskStore, value: object) -> None:
    insert(store, value=value)
    check_miss(store)


@pytest.mark.parametrize("expires", ["never", b"\xff"])
def test_a_time_of_expiry_that_is_none_is_a_miss(store: DiskStore, expires: object) -> None:
    insert(store, expire_time=expires)
    check_miss(store)


def test_text_that_is_no_utf8_costs_no_other_answer(store: DiskStore) -> None:
    insert(store)
    statement(
        store, "UPDATE Cache SET tag = CAST(x'ff' AS TEXT), filename = CAST(x'ff' AS TEXT)"
        " WHERE key = ?", BAD,
    )  # fmt: skip
    check_miss(store)
    assert sum(store.stats().by_tag.values()) == 1


def test_a_size_that_a_row_claims_culls_nothing(store: DiskStore) -> None:
    insert(store, size=1 << 60)
    store.put(GOOD, b"good")
    store.flush()
    assert store.get_many([GOOD, BAD]) == {GOOD: b"good", BAD: b"bad"}


def test_a_thousand_fuzzed_rows_run_nothing_and_are_misses(store, tmp_path: Path) -> None:
    fuzz = random.Random(20261122)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    payload = pickle.dumps(Payload(tmp_path / "ran"))
    packed, bomb = zlib.compress(payload), zlib.compress(b"\0" * (2 << 20))

    def junk() -> object:
        return fuzz.choice(
            [
                None, fuzz.randrange(-9, 9), fuzz.random() * 1e300, "text", "", b"",
                bytes(fuzz.randrange(256) for _ in range(fuzz.randrange(60))), payload,
                packed[: fuzz.randrange(1, 40)], "../victim", str(victim),
                bomb, "\udcff".encode("utf-8", "surrogatepass"),
            ]
        )  # fmt: skip

    connection = sqlite3.connect(os.path.join(store.path, "cache.db"))
    keys = [hashlib.sha256(b"fuzz %d" % number).hexdigest() for number in range(1000)]
    for key in keys:
        mode, filename, value = junk(), junk(), junk()
        raw = fuzz.choice([1, 1, 1, 0, "x", None])
        row = (key, raw, junk(), junk(), junk(), fuzz.randrange(9), junk(), junk(), mode, filename)
        connection.execute(
            "INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag,"
            " size, mode, filename, value) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (*row, value),
        )
    connection.commit()
    connection.close()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert store.get_many([*keys, GOOD]) == {GOOD: b"good"}
        found = store.verify()
        store.stats()
    assert 1 <= len(told) <= 8
    assert found.sound == 1
    assert len(found.bad) + found.expired == 1000
    for key in keys:
        store.put(key, key.encode())
    store.flush()
    assert store.get_many(keys) == {key: key.encode() for key in keys}
    store.clear()
    assert not (tmp_path / "ran").exists()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)",
        "INSERT INTO Settings VALUES ('disk_most_bytes', 1)",
        "UPDATE Settings SET value = 'wal; x' WHERE key = 'sqlite_journal_mode'",
        "UPDATE Settings SET value = 'none' WHERE key = 'eviction_policy'",
        "UPDATE Settings SET value = 'many' WHERE key = 'size_limit'",
        "UPDATE Settings SET value = 'text' WHERE key = 'count'",
        "CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE VIEW evil AS SELECT 1",
        "CREATE TABLE evil (x)",
        "DROP TRIGGER Settings_count_insert",
        "DROP TABLE Settings",
        "ALTER TABLE Cache ADD COLUMN more",
    ],
)
@pytest.mark.parametrize("first", ["get", "put"])
def test_a_database_that_is_not_as_we_make_it_is_set_aside(store, sql: str, first: str) -> None:
    statement(store, sql)
    assert store.verify().damage
    with pytest.warns(DelugeWarning, match="damaged and begins anew"):  # noqa: PT031
        if first == "get":
            assert store.get(GOOD) is None
        else:
            store.put(BAD, b"new")
            store.flush()
    store.put(BAD, b"new")
    store.flush()
    assert store.get_many([GOOD, BAD]) == {BAD: b"new"}
    assert store.verify().ok


def test_our_settings_win_over_those_in_the_database(store: DiskStore) -> None:
    statement(store, "UPDATE Settings SET value = 1 WHERE key IN ('size_limit', 'tag_index')")
    store.put(BAD, b"bad")
    store.flush()
    assert store.get_many([GOOD, BAD]) == {GOOD: b"good", BAD: b"bad"}


def test_the_disk_takes_strings_and_bytes_and_nothing_else() -> None:
    disk = SafeDisk("/")
    for key in (b"bytes", 1, 1.5, None, ("a",)):
        with pytest.raises(TypeError):
            disk.put(key)
    for key, raw in ((pickle.dumps("a"), 0), (b"a", 1), ("a", 0)):
        with pytest.raises(ValueError, match="did not write"):
            disk.get(key, raw)
    for value in ("text", 1, None, {"a": 1}):
        with pytest.raises(TypeError):
            disk.store(value, False)
    with pytest.raises(TypeError):
        disk.store(b"", True)
    with pytest.raises(ValueError, match="no files"):
        disk.filename()


def test_unpack_reads_only_what_pack_wrote() -> None:
    for mode in (0, 2, 3, 4, None, "1"):
        with pytest.raises(UnsoundError):
            unpack(mode, None, zlib.compress(b"x"), 10)
    with pytest.raises(UnsoundError):
        unpack(1, "file", zlib.compress(b"x"), 10)
    with pytest.raises(UnsoundError):
        unpack(1, None, zlib.compress(b"x" * 11), 10)
    assert unpack(1, None, zlib.compress(b"x" * 10), 10) == b"x" * 10
