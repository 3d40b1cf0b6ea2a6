"""The disk store under many threads, processes, forks and kills."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deluge_sync.stores.disk import DiskStore

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROCESSES, THREADS, PUTS = 4, 64, 2_500

WRITER = """
import os, sys, threading
from deluge_sync.stores.disk import DiskStore
path, process, threads, puts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
store = DiskStore(path, size_limit=8 << 30)
most = 0
def work(thread):
    for n in range(puts):
        store.put("%04x%04x%056x" % (process, thread, n), b"%d %d %d" % (process, thread, n))
workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for worker in workers: worker.start()
for worker in workers:
    while worker.is_alive():
        most = max(most, len(os.listdir("/proc/self/fd")))
        worker.join(0.05)
most = max(most, len(os.listdir("/proc/self/fd")))
print(most)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def key_of(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def test_no_put_of_many_threads_and_processes_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    writers = [start(WRITER, path, n, THREADS, PUTS) for n in range(PROCESSES)]
    open_files = [int(writer.communicate(timeout=900)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    assert max(open_files) <= THREADS + 20
    store = DiskStore(path)
    missing = 0
    for process in range(PROCESSES):
        for thread in range(THREADS):
            wanted = {
                f"{process:04x}{thread:04x}{n:056x}": b"%d %d %d" % (process, thread, n)
                for n in range(PUTS)
            }
            found = store.get_many(wanted)
            missing += sum(found.get(key) != value for key, value in wanted.items())
    assert missing == 0
    store.close()


def test_forks_while_others_write_neither_hang_nor_lose(tmp_path: Path) -> None:
    script = """
import os, sys, threading
from deluge_sync.stores.disk import DiskStore
store = DiskStore(sys.argv[1])
stop = threading.Event()
def work(thread):
    n = 0
    while not stop.is_set():
        store.put("%064x" % (thread * 10**9 + n), b"parent"); store.get("%064x" % n); n += 1
        stop.wait(0.001)
workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for worker in workers: worker.start()
codes = []
for turn in range(40):
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            key = "%064x" % (10**15 + turn * 10 + child)
            store.put(key, b"child"); store.flush()
            os._exit(0 if store.get(key) == b"child" else 1)
        children.append(pid)
    codes += [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for worker in workers: worker.join()
keys = ["%064x" % (10**15 + turn * 10 + child) for turn in range(40) for child in range(4)]
print(sum(codes), len(store.get_many(keys)))
"""
    out, _ = start(script, tmp_path / "cache").communicate(timeout=120)
    assert out == "0 160\n"


def test_a_fork_that_runs_no_hooks_loses_nothing(tmp_path: Path) -> None:
    """As uWSGI forks: the parent's connections, idle, are there in the child."""
    path = tmp_path / "cache"
    script = """
import ctypes, os, sys
from deluge_sync.stores.disk import DiskStore
store = DiskStore(sys.argv[1])
store.put("%064x" % 1, b"parent"); store.flush(); store.get("%064x" % 1)
fork = ctypes.PyDLL(None).fork
go_reading, go = os.pipe()
done, done_writing = os.pipe()
pid = fork()
if pid == 0:
    store.put("%064x" % 2, b"child"); store.flush()
    os.write(done_writing, b"x"); os.read(go_reading, 1)
    store.put("%064x" % 3, b"child"); store.flush()
    found = store.get_many(["%064x" % n for n in (1, 2, 3)])
    os._exit(0 if len(found) == 3 else 1)
os.read(done, 1)
store.close()
os.write(go, b"x")
code = os.waitpid(pid, 0)[1]
print(code, len(store.get_many(["%064x" % n for n in (1, 2, 3)])), store.verify().ok)
"""
    assert ctypes.PyDLL is not None
    out, _ = start(script, path).communicate(timeout=60)
    assert out == "0 3 True\n"


def test_claims_end_with_a_killed_process(tmp_path: Path) -> None:
    script = """
import sys, time
from deluge_sync.stores.disk import DiskStore
store = DiskStore(sys.argv[1])
print(store.claim(sys.argv[2]), flush=True)
time.sleep(600)
"""
    store = DiskStore(tmp_path / "cache")
    holder = start(script, store.path, key_of(1))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert not store.claim(key_of(1))
    assert store.claim(key_of(2))
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert store.claim(key_of(1))
    store.close()


def test_kills_leave_a_sound_database_with_all_that_was_flushed(tmp_path: Path) -> None:
    script = """
import sys
from deluge_sync.stores.disk import DiskStore
store = DiskStore(sys.argv[1])
n = int(sys.argv[2]) * 10**6
while True:
    for _ in range(50):
        store.put("%064x" % n, b"%d" % n); n += 1
    store.flush()
    print(n, flush=True)
"""
    path = tmp_path / "cache"
    for turn in range(1, 11):
        writer = start(script, path, turn)
        assert writer.stdout is not None
        until = time.monotonic() + 0.02 * turn
        written = 0
        for line in writer.stdout:
            written = int(line)
            if time.monotonic() > until:
                break
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        store = DiskStore(path)
        keys = [f"{n:064x}" for n in range(turn * 10**6, written)]
        assert len(store.get_many(keys)) == len(keys) > 0
        assert store.verify().ok
        store.close()
