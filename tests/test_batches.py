"""Work in batches, by a thread that lives only while there is some."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deluge_sync.stores.batches import Batches

ROOT = Path(__file__).parent.parent


def test_every_item_is_handled_once_and_in_order() -> None:
    seen: list[int] = []
    batches = Batches(seen.extend, delay=0.001, most=7)
    for item in range(1000):
        batches.add(item)
    batches.flush()
    assert seen == list(range(1000))


def test_a_batch_is_never_larger_than_said() -> None:
    sizes: list[int] = []
    batches: Batches[int] = Batches(lambda items: sizes.append(len(items)), delay=0.01, most=5)
    for item in range(23):
        batches.add(item)
    batches.flush()
    assert sum(sizes) == 23
    assert max(sizes) <= 5


def test_flush_does_not_wait_for_the_delay() -> None:
    seen: list[int] = []
    batches = Batches(seen.extend, delay=3600)
    batches.add(1)
    batches.flush()
    assert seen == [1]


def test_flush_waits_only_for_what_was_added_before() -> None:
    entered, go_on = threading.Event(), threading.Event()
    second_entered, second_may_end = threading.Event(), threading.Event()

    def handle(items: list[int]) -> None:
        if items == [1]:
            entered.set()
            assert go_on.wait(20)
        else:
            second_entered.set()
            assert second_may_end.wait(20)

    batches = Batches(handle, delay=0.0, most=1)
    batches.add(1)
    assert entered.wait(20)
    flushed = threading.Thread(target=batches.flush)
    flushed.start()
    while not batches._flushing:
        pass
    batches.add(2)
    go_on.set()
    assert second_entered.wait(20)
    flushed.join(20)
    assert not flushed.is_alive()
    second_may_end.set()
    batches.flush()


def test_the_thread_ends_when_there_is_no_more_work() -> None:
    batches: Batches[int] = Batches(lambda items: None, delay=0.0, name="seldom-used")
    batches.add(1)
    batches.flush()
    for thread in threading.enumerate():
        if thread.name == "seldom-used":
            thread.join(20)
            assert not thread.is_alive()


def test_what_a_daemon_thread_adds_is_not_lost_at_exit() -> None:
    script = """
import threading
from deluge_sync.stores.batches import Batches
batches = Batches(lambda items: print(*items, flush=True), delay=0.2)
thread = threading.Thread(target=lambda: batches.add("kept"), daemon=True)
thread.start()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_an_interrupt_before_the_thread_starts_leaves_the_next_one_working(monkeypatch) -> None:
    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    seen: list[int] = []
    batches = Batches(seen.extend)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batches.add(1)
    batches.flush()
    assert seen == [1]


def test_who_adds_handles_where_no_thread_can_be_started(monkeypatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen: list[int] = []
    batches = Batches(seen.extend, delay=3600)
    batches.add(1)
    assert seen == [1]
    assert len(batches) == 0


def test_an_interrupt_in_the_handler_leaves_the_next_one_working(monkeypatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen: list[int] = []

    def handle(items: list[int]) -> None:
        if items == [1]:
            raise KeyboardInterrupt
        seen.extend(items)

    batches = Batches(handle)
    with pytest.raises(KeyboardInterrupt):
        batches.add(1)
    batches.add(2)
    batches.flush()
    assert seen == [2]


@pytest.mark.parametrize(
    "moment", ["", "atexit.register(late)", "threading.Thread(target=wait).start()"]
)
def test_what_is_added_as_the_interpreter_ends_is_handled(moment: str) -> None:
    script = f"""
import atexit, sys, threading
from deluge_sync.stores.batches import Batches
seen = []
def handle(items):
    sys.stdout.write("".join(f"{{item}}\\n" for item in items)); sys.stdout.flush()
batches = Batches(handle, delay=0.01)
def late():
    for item in range(100):
        batches.add(item)
def wait():
    threading.main_thread().join()
    late()
if {not moment}:
    late()
{moment}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(map(int, done.stdout.split())) == list(range(100))
