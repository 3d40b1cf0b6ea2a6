"""One switch that ends every wait."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.deadlines import Deadlines
from deluge_sync.values.errors import CallCancelledError


def test_cancelling_runs_each_interrupter_once_and_late_ones_at_once() -> None:
    cancellation, rung = Cancellation(), []
    cancellation.add(lambda: rung.append("early"))
    cancellation.cancel()
    cancellation.cancel()
    cancellation.add(lambda: rung.append("late"))
    assert rung == ["early", "late"]


def test_a_child_is_cancelled_with_its_parent_and_not_the_other_way_round() -> None:
    parent = Cancellation()
    child, sibling = Cancellation(parent), Cancellation(parent)
    child.cancel()
    assert not parent.cancelled
    assert not sibling.cancelled
    parent.cancel()
    assert sibling.cancelled


def test_a_discarded_interrupter_is_not_called() -> None:
    cancellation, rung = Cancellation(), []

    def ring() -> None:
        rung.append(1)

    cancellation.add(ring)
    cancellation.discard(ring)
    cancellation.cancel()
    assert rung == []


def test_a_sleep_ends_when_cancelled() -> None:
    cancellation = Cancellation()
    threading.Timer(0.05, cancellation.cancel).start()
    with pytest.raises(CallCancelledError):
        cancellation.sleep(60)


def test_a_parent_does_not_keep_its_children_alive() -> None:
    parent = Cancellation()
    child = weakref.ref(Cancellation(parent))
    gc.collect()
    assert child() is None


def test_a_child_of_a_cancelled_parent_is_cancelled() -> None:
    parent = Cancellation()
    parent.cancel()
    assert Cancellation(parent).cancelled


class Recorder:
    """Remembers that it was called."""

    def __init__(self) -> None:
        self.called = threading.Event()

    def call(self) -> None:
        self.called.set()


def test_a_deadline_calls_its_method_and_its_thread_ends_with_the_last_one() -> None:
    deadlines, recorder = Deadlines(), Recorder()
    deadlines.add(0.0, recorder.call)
    assert recorder.called.wait(5)
    forgotten = Recorder()
    deadlines.add(0.0, forgotten.call)
    for thread in threading.enumerate():
        if thread.name == "deluge-sync-deadlines":
            thread.join(5)
            assert not thread.is_alive()


def test_what_was_finished_and_forgotten_is_not_called() -> None:
    clock = threading.local()
    clock.now = 0.0
    deadlines, recorder = Deadlines(), Recorder()
    called = recorder.called
    deadlines.add(1e12, recorder.call)
    del recorder
    deadlines.close()
    assert not called.is_set()
