"""Stores in memory and on disk: what is kept, where, and what trouble costs."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from deluge_sync import notices
from deluge_sync.stores import folder as folders
from deluge_sync.stores import opened_store, shared
from deluge_sync.stores.base import Store, StoreError
from deluge_sync.stores.disk import DiskStore
from deluge_sync.stores.memory import MemoryStore
from deluge_sync.stores.shared import shared_folder
from deluge_sync.values.errors import ConfigError, DelugeWarning

ROOT = Path(__file__).parent.parent
NOBODY = 65534

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user"
)


def key_of(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


A, B, C = key_of(1), key_of(2), key_of(3)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def each_warning_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_told", set())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    store = DiskStore(tmp_path / "cache")
    yield store
    store.close()


@pytest.fixture(params=["memory", "disk"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "cache")
    yield store
    store.close()


def in_child(work: Callable[[], object], *, uid: int | None = None) -> object:
    """What `work` gives in a forked child (its `repr`), as another user if wanted."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            try:
                said = repr(work())
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


# Any store


def test_what_was_put_is_found_at_once_and_after_a_flush(any_store: Store) -> None:
    value = random.Random(1).randbytes(3000) if hasattr(random, "randbytes") else os.urandom(3000)
    any_store.put(A, value)
    assert any_store.get(A) == value
    any_store.flush()
    assert any_store.get(A) == value
    assert any_store.get_many([A, B]) == {A: value}


def test_the_last_put_of_a_key_counts(any_store: Store) -> None:
    for text in (b"one", b"two", b"three"):
        any_store.put(A, text)
    assert any_store.get(A) == b"three"
    any_store.flush()
    assert any_store.get(A) == b"three"


def test_an_empty_value_is_a_value(any_store: Store) -> None:
    any_store.put(A, b"")
    any_store.flush()
    assert any_store.get(A) == b""


def test_then_is_called_once_when_others_can_see_the_value(any_store: Store) -> None:
    calls: list[bytes | None] = []
    any_store.put(A, b"value", then=lambda: calls.append(any_store.get(A)))
    any_store.flush()
    assert calls == [b"value"]


def test_a_tag_is_purged_whole_and_alone(any_store: Store) -> None:
    any_store.put(A, b"a", tags=("gpt", "run-1"))
    any_store.put(B, b"b", tags=("gpt-5",))
    any_store.put(C, b"c")
    any_store.flush()
    assert any_store.purge("gpt") == 1  # type: ignore[attr-defined]
    assert any_store.get_many([A, B, C]) == {B: b"b", C: b"c"}
    assert any_store.purge("%") == 0  # type: ignore[attr-defined]
    assert any_store.clear() == 2  # type: ignore[attr-defined]
    assert any_store.get_many([A, B, C]) == {}


def test_a_child_of_a_fork_uses_the_store_on_its_own(any_store: Store) -> None:
    any_store.put(A, b"parent")
    any_store.flush()

    def work() -> object:
        any_store.put(B, b"child")
        any_store.flush()
        return any_store.get(B)

    assert in_child(work) == "b'child'"
    assert any_store.get(A) == b"parent"


# In memory


def test_memory_keeps_to_its_size_and_drops_the_oldest() -> None:
    store = MemoryStore(size_limit=10)
    store.put(A, b"1234")
    store.put(B, b"1234")
    store.put(A, b"12345")
    store.put(C, b"1234")
    assert store.get_many([A, B, C]) == {A: b"12345", C: b"1234"}
    store.put(B, b"12345678901")
    assert len(store) == 2


def test_memory_forgets_after_its_time() -> None:
    clock = Clock()
    store = MemoryStore(ttl=5, clock=clock)
    store.put(A, b"a")
    clock.now += 4.9
    assert store.get(A) == b"a"
    clock.now += 0.1
    assert store.get(A) is None
    assert len(store) == 0


# On disk


def test_nothing_is_created_before_the_store_is_used(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    store = DiskStore(path)
    assert store.get(A) is None
    assert store.stats().entries == 0
    assert store.verify().ok
    store.close()
    assert not path.exists()


def test_diskcache_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; from deluge_sync.stores import opened_store; import deluge_sync\n"
        "store = opened_store(sys.argv[1]); store.get('ab'); assert 'diskcache' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "c")], check=True, cwd=ROOT)


def test_folder_and_files_are_for_their_owner_alone(store: DiskStore) -> None:
    before = os.umask(0)
    try:
        store.put(A, b"secret")
        store.claim(A)
        store.flush()
        store.get(B)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o700
    files = sorted(os.listdir(store.path))
    assert files == ["cache.db", "cache.db-shm", "cache.db-wal", "lock"]
    modes = {stat.S_IMODE(os.stat(os.path.join(store.path, file)).st_mode) for file in files}
    assert modes == {0o600}


def test_another_store_of_the_same_folder_is_the_same_place(store: DiskStore) -> None:
    os.symlink(store.path, store.path + "-link")
    other = DiskStore(store.path + "-link")
    assert other.place == store.place == ("disk", store.path)
    store.put(A, b"a")
    assert other.get(A) == b"a"


def test_another_process_sees_what_is_flushed(store: DiskStore) -> None:
    store.put(A, b"a")
    store.flush()
    assert in_child(lambda: store.get(A)) == "b'a'"


def test_a_closed_store_opens_again_and_leaves_no_log_behind(store: DiskStore) -> None:
    store.put(A, b"a")
    store.close()
    assert sorted(os.listdir(store.path)) == ["cache.db"] or sorted(os.listdir(store.path)) == [
        "cache.db",
        "lock",
    ]
    assert store.get(A) == b"a"


def test_answers_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path / "cache", ttl=100)
    store.put(A, b"a")
    store.flush()
    assert store.get(A) == b"a"
    real = shared.time.time
    monkeypatch.setattr("deluge_sync.stores.disk.time.time", lambda: real() + 101)
    assert store.get(A) is None
    assert store.stats().expired == 1
    store.put(B, b"b")
    store.flush()
    assert store.stats().entries == 1
    store.close()


def test_the_file_keeps_to_its_size_and_the_newest_stay(tmp_path: Path) -> None:
    limit = 1 << 20
    store = DiskStore(tmp_path / "cache", size_limit=limit)
    keys = [key_of(number) for number in range(2_000)]
    for key in keys:
        store.put(key, os.urandom(2_000))
    store.flush()
    assert store.stats().file_bytes <= limit
    found = store.get_many(keys)
    assert 150 < len(found) < 600
    assert set(found) == set(keys[-len(found) :])
    store.close()


def test_a_value_that_is_too_large_is_refused(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache", most_bytes=1000)
    with pytest.raises(StoreError, match="1,001 bytes"):
        store.put(A, b"x" * 1001)
    store.put(A, b"x" * 1000)
    store.flush()
    assert store.get(A) == b"x" * 1000
    store.close()


def test_stats_count_entries_bytes_tags_and_times(store: DiskStore) -> None:
    store.put(A, b"a", tags=("m", "run 1"))
    store.put(B, b"b", tags=("m",))
    found = store.stats()
    assert (found.entries, found.by_tag) == (2, {"m": 2, "run 1": 1})
    assert found.bytes > 0
    assert found.oldest is not None
    assert found.oldest <= found.newest


def test_a_tag_with_a_line_break_is_one_tag(store: DiskStore) -> None:
    store.put(A, b"a", tags=("one\ntwo",))
    store.flush()
    assert store.purge("two") == 0
    assert store.purge("one\ntwo") == 1


# Claims


def test_a_claim_excludes_other_processes_until_it_is_released(store: DiskStore) -> None:
    assert store.claim(A)
    assert store.claim(A)  # our own does not exclude us
    assert in_child(lambda: (store.claim(A), store.claim(B))) == "(False, True)"
    store.release(A)
    assert in_child(lambda: store.claim(A)) == "False"
    store.release(A)
    assert in_child(lambda: store.claim(A)) == "True"
    store.release(A)  # one too many changes nothing


def test_closing_a_store_keeps_the_claims_of_another(store: DiskStore) -> None:
    store.claim(A)
    other = DiskStore(store.path)
    other.put(B, b"b")
    other.close()
    assert in_child(lambda: store.claim(A)) == "False"
    store.release(A)


def test_claims_leave_the_byte_of_creation_free(store: DiskStore) -> None:
    store.claim("0" * 64)

    def work() -> object:
        store.put(A, b"a")
        store.flush()
        return store.get(A)

    assert in_child(work) == "b'a'"
    store.release("0" * 64)


# Paths


def refused(path: object, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DiskStore(path)  # type: ignore[arg-type]
    assert str(caught.value).startswith("cache: ")
    for word in words:
        assert word in str(caught.value)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is a file", "name a folder")
    refused(tmp_path / "file" / "under", "is a file")


@pytest.mark.parametrize("path", ["a\0b", "~no-such-user-here/cache"])
def test_what_is_no_path_is_refused(path: str) -> None:
    refused(path)


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    refused(folder, "others may write", "chmod 700")
    folder.chmod(0o1777)
    refused(folder, "others may write")
    folder.chmod(0o755)
    DiskStore(folder)


def test_a_folder_in_one_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    refused(above / "cache", "everybody may rename")
    above.chmod(0o1777)
    DiskStore(above / "cache")


@as_root
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    refused(folder, "belongs to another user", "of your own")


@pytest.fixture
def nobodys(tmp_path: Path) -> Iterator[Path]:
    """A folder that another user may enter, under one that is reachable for all."""
    path = Path("/tmp") / f"deluge-sync-test-{os.getpid()}-{random.randrange(1 << 40):x}"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@as_root
def test_a_folder_that_cannot_be_written_is_refused_without_a_cache_in_it(nobodys: Path) -> None:
    said = in_child(lambda: DiskStore(nobodys / "cache"), uid=NOBODY)
    assert "cannot be written" in said
    assert "ConfigError: cache:" in said
    own = nobodys / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    own.chmod(0o500)
    assert "cannot be written" in in_child(lambda: DiskStore(own), uid=NOBODY)
    assert "belongs to another user (root)" in in_child(lambda: DiskStore(nobodys), uid=NOBODY)


@as_root
def test_a_cache_in_a_read_only_folder_is_read_and_puts_cost_one_warning(nobodys: Path) -> None:
    own = nobodys / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)

    def fill() -> None:
        store = DiskStore(own)
        store.put(A, b"a")
        store.close()

    in_child(fill, uid=NOBODY)
    (own / "lock").unlink()
    (own / "cache.db").chmod(0o400)
    own.chmod(0o500)

    def work() -> object:
        store = DiskStore(own)
        ended: list[str] = []
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            first = store.get(A)
            store.put(B, b"b", then=lambda: ended.append(B))
            store.flush()
            try:
                store.put(B, b"b")
                raised = False
            except StoreError:
                raised = True
            store.put(B, b"b", then=lambda: ended.append("dropped"))
            return first, store.get(A), ended == [B, "dropped"], raised, len(told)

    assert in_child(work, uid=NOBODY) == "(b'a', b'a', True, True, 1)"


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /srv/with\\040space rw - {kind} server:/x rw
24 23 0:41 / /srv/with\\040space/local rw - xfs /dev/vdb rw
broken line
"""


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "ceph", "fuse.sshfs", "fuse.s3fs"]
)
def test_a_network_file_system_is_refused_with_the_reason(tmp_path, monkeypatch, kind) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    monkeypatch.setattr(folders, "MOUNTS", str(mounts))
    with pytest.raises(ConfigError, match="SQLite's locks do not hold"):
        folders._refuse_network("/srv/with space/cache")
    folders._refuse_network("/srv/with space/local/cache")
    folders._refuse_network("/srv/with spaces/cache")
    folders._refuse_network("/home/me")


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "fuse.fuse-overlayfs", "fuseblk"])
def test_a_local_file_system_is_fine(tmp_path, monkeypatch, kind) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    monkeypatch.setattr(folders, "MOUNTS", str(mounts))
    folders._refuse_network("/srv/with space/cache")


def test_the_cache_option_means_a_store_a_folder_or_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = MemoryStore()
    assert opened_store(None) is opened_store(False) is None
    assert opened_store(memory) is memory
    assert opened_store(tmp_path / "c").place == ("disk", os.path.realpath(tmp_path / "c"))
    if sys.platform == "linux":
        assert opened_store(True).place == ("disk", os.path.realpath(tmp_path / "deluge_sync"))
    for wrong in ("", "  ", 7, object()):
        with pytest.raises(ConfigError, match="cache must be"):
            opened_store(wrong)


# Trouble


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def scribbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [garbage, cut_short, scribbled])
@pytest.mark.parametrize("first", ["get", "put"])
def test_a_damaged_database_is_set_aside_with_one_warning(store, damage, first) -> None:
    for number in range(50):
        store.put(key_of(number), os.urandom(500))
    store.close()
    damage(Path(store.path, "cache.db"))
    with pytest.warns(DelugeWarning, match="damaged and begins anew") as told:  # noqa: PT031
        if first == "get":
            assert store.get_many([key_of(number) for number in range(50)]) == {}
        store.put(A, b"new")
        store.flush()
    assert len(told) == 1
    assert store.get(A) == b"new"
    assert len([name for name in os.listdir(store.path) if ".corrupt-" in name]) == 1
    assert store.verify().ok


def test_a_healthy_database_that_took_its_place_is_left_alone(store: DiskStore) -> None:
    store.put(A, b"a")
    store.flush()
    folder = shared_folder(store.path)
    folder._database.set_aside(sqlite3.DatabaseError("malformed"), (1, 2))
    assert store.get(A) == b"a"


def test_an_empty_file_is_a_cache_not_made_yet(store: DiskStore) -> None:
    os.mkdir(store.path)
    Path(store.path, "cache.db").touch()
    assert store.get(A) is None
    store.put(A, b"a")
    store.flush()
    assert store.get(A) == b"a"


def test_a_link_in_place_of_the_database_is_not_followed(store: DiskStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.mkdir(store.path)
    os.symlink(victim, os.path.join(store.path, "cache.db"))
    with pytest.raises(StoreError, match="not a plain file"):
        store.get(A)
    assert store.get(A) is None  # told once
    assert victim.read_text() == "precious"


def test_after_trouble_the_store_is_off_for_a_while_and_tries_again(store, monkeypatch) -> None:
    clock = Clock()
    store.put(A, b"a")
    store.flush()
    folder = shared_folder(store.path)
    monkeypatch.setattr(folder.writing, "_clock", clock)

    def full(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    real = shared._set
    monkeypatch.setattr(shared, "_set", full)
    ended: list[str] = []
    with pytest.warns(DelugeWarning, match="without the cache: .*disk is full"):  # noqa: PT031
        store.put(B, b"b", then=lambda: ended.append(B))
        store.flush()
    assert ended == [B]
    with pytest.raises(StoreError, match=f"{store.path} cannot be written: .*full"):
        store.put(B, b"b")
    monkeypatch.setattr(shared, "_set", real)
    store.put(B, b"b", then=lambda: ended.append("dropped"))
    assert ended == [B, "dropped"]
    assert store.get_many([A, B]) == {A: b"a"}
    clock.now += shared.OFF_SECONDS
    store.put(B, b"b")
    store.flush()
    assert store.get_many([A, B]) == {A: b"a", B: b"b"}


def test_a_folder_deleted_in_use_costs_answers_and_nothing_else(store, monkeypatch) -> None:
    store.put(A, b"a")
    store.flush()
    shutil.rmtree(store.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.put(B, b"b")
        store.flush()
        store.close()
        folder = shared_folder(store.path)
        folder.writing._until = folder.reading._until = 0.0
        folder.writing._untold = None
        store.put(B, b"b")
        store.flush()
    assert store.get(B) == b"b"


@as_root
def test_a_full_disk_costs_one_warning_and_keeps_what_is_there(nobodys: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", str(nobodys)], check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        store = DiskStore(nobodys / "cache")
        store.put(A, b"a")
        store.flush()
        ended: list[int] = []
        with pytest.warns(DelugeWarning, match="full") as told:  # noqa: PT031
            for number in range(10, 110):
                try:
                    store.put(key_of(number), os.urandom(40_000), then=lambda: ended.append(1))
                except StoreError:
                    ended.append(1)
            store.flush()
        assert len(ended) == 100
        assert len(told) == 1
        assert store.get(A) == b"a"
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(nobodys)], check=True)


# Threads and the end


def test_many_threads_read_through_few_connections(store: DiskStore) -> None:
    keys = [key_of(number) for number in range(500)]
    for key in keys:
        store.put(key, key.encode())
    store.flush()
    wrong: list[str] = []
    start = threading.Barrier(32)

    def work() -> None:
        start.wait(20)
        found = store.get_many(keys)
        wrong.extend(key for key in keys if found.get(key) != key.encode())

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(shared_folder(store.path)._database._readers._idle) <= 4


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "atexit.register(put_all)"])
def test_nothing_put_is_lost_at_exit(tmp_path: Path, ending: str) -> None:
    script = f"""
import atexit, sys
from deluge_sync.stores.disk import DiskStore
store = DiskStore(sys.argv[1])
def put_all():
    for n in range(200):
        store.put("%064x" % n, b"%d" % n)
if not {ending.startswith("atexit")}:
    put_all()
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    store = DiskStore(tmp_path / "cache")
    assert len(store.get_many([f"{number:064x}" for number in range(200)])) == 200
    store.close()
