"""`deluge-sync cache`."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from pathlib import Path

import pytest

from deluge_sync.stores.disk import DiskStore

from .helpers import deluge_here as deluge

KEYS = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with three answers."""
    store = DiskStore(tmp_path / "cache")
    for number, key in enumerate(KEYS):
        store.put(key, b"answer", tags=("gpt", f"run-{number}"))
    store.close()
    return tmp_path / "cache"


def test_stats_counts_what_is_there(folder: Path) -> None:
    done = deluge("cache", "stats", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"path     {folder}", "entries  3", "expired  0"]
    assert "tag      3 gpt" in lines
    assert "tag      1 run-2" in lines
    facts = json.loads(deluge("cache", "stats", "--json", str(folder)).stdout)
    assert facts["entries"] == 3
    assert facts["by_tag"]["gpt"] == 3


def test_purge_deletes_what_has_the_tag(folder: Path) -> None:
    done = deluge("cache", "purge", "--tag", "run-1", str(folder))
    assert (done.returncode, done.stdout) == (0, "deleted  1\n")
    store = DiskStore(folder)
    assert set(store.get_many(KEYS)) == {KEYS[0], KEYS[2]}
    store.close()


def test_clear_deletes_everything(folder: Path) -> None:
    done = deluge("cache", "clear", "--json", str(folder))
    assert (done.returncode, json.loads(done.stdout)) == (0, {"deleted": 3})


def test_verify_lists_bad_rows_and_gives_exit_code_1(folder: Path) -> None:
    assert deluge("cache", "verify", str(folder)).stdout == "sound    3\nexpired  0\nbad      0\n"
    connection = sqlite3.connect(folder / "cache.db")
    connection.execute("UPDATE Cache SET mode = 4 WHERE key = ?", (KEYS[1],))
    connection.commit()
    connection.close()
    done = deluge("cache", "verify", str(folder))
    assert done.returncode == 1
    assert f"row 2 {KEYS[1]} of a kind that would run code" in done.stdout
    facts = json.loads(deluge("cache", "verify", "--json", str(folder)).stdout)
    assert (facts["ok"], facts["sound"], facts["bad"][0]["rowid"]) == (False, 2, 2)


def test_verify_of_a_damaged_file_changes_nothing(folder: Path) -> None:
    (folder / "cache.db").write_bytes(b"garbage" * 1000)
    before = sorted(os.listdir(folder))
    done = deluge("cache", "verify", str(folder))
    assert done.returncode == 1
    assert "damage   file is not a database" in done.stdout
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("action", [["stats"], ["clear"], ["verify"], ["purge", "--tag", "x"]])
def test_a_path_without_a_cache_is_a_usage_error_and_stays_without(tmp_path, action) -> None:
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.mkdir()
    for path in (missing, empty):
        done = deluge("cache", *action, str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"deluge-sync: there is no cache in {path}\n"
    assert not missing.exists()
    assert list(empty.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = deluge("cache", "stats", str(tmp_path / "file"))
    assert done.returncode == 3
    assert "is a file" in done.stderr


def test_the_default_is_the_users_own_folder(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "deluge_sync")
    store.put(KEYS[0], b"answer")
    store.close()
    done = deluge("cache", "stats", XDG_CACHE_HOME=str(tmp_path))
    assert "entries  1" in done.stdout
