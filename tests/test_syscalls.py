"""Claims about the system calls that keep the GIL: they do what Python's own do."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from deluge_sync.engine import syscalls
from deluge_sync.engine.syscalls import is_silent, send_at_once

Pair = tuple[socket.socket, socket.socket]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has neither call")


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=["libc", "Python's own"])
def peeking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "libc":
        monkeypatch.setattr(syscalls, "_peek", None)


def test_what_is_sent_arrives(pair: Pair) -> None:
    ours, theirs = pair
    assert send_at_once(ours, memoryview(b"hello")) == 5
    assert theirs.recv(10) == b"hello"


def test_a_full_buffer_takes_nothing_and_waits_for_nobody(pair: Pair) -> None:
    ours, _ = pair
    piece = memoryview(bytes(65_536))
    while send_at_once(ours, piece):
        pass
    assert send_at_once(ours, piece) == 0


def test_sending_to_who_has_gone_raises_as_sockets_do(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(BrokenPipeError):
        send_at_once(ours, memoryview(b"hello"))


def test_sending_on_a_closed_socket_raises_as_sockets_do(pair: Pair) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError, match="descriptor"):
        send_at_once(ours, memoryview(b"hello"))


def test_where_libc_cannot_be_had_nothing_is_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syscalls, "_send", None)
    assert send_at_once(pair[0], memoryview(b"hello")) == 0
    assert is_silent(pair[1])


@pytest.mark.usefixtures("peeking")
def test_a_connection_is_silent_until_something_comes_and_it_is_left_there(pair: Pair) -> None:
    ours, theirs = pair
    assert is_silent(ours)
    theirs.send(b"x")
    assert not is_silent(ours)
    assert ours.recv(10) == b"x"
    assert is_silent(ours)


@pytest.mark.usefixtures("peeking")
def test_an_end_is_not_silence(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    assert not is_silent(ours)


@pytest.mark.usefixtures("peeking")
def test_a_closed_socket_is_an_error(pair: Pair) -> None:
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError, match="descriptor"):
        is_silent(ours)


def test_every_thread_sees_its_own_error(pair: Pair) -> None:
    # The number of an error belongs to a thread: one's broken pipe is not another's.
    ours, theirs = pair
    other, gone = socket.socketpair()
    gone.close()
    failures: list[OSError] = []

    def fail() -> None:
        for _ in range(2_000):
            try:
                send_at_once(other, memoryview(b"x"))
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=fail)
    thread.start()
    for _ in range(2_000):
        assert send_at_once(ours, memoryview(b"x")) == 1
        assert theirs.recv(1) == b"x"
        assert is_silent(ours)
    thread.join()
    other.close()
    assert len(failures) == 2_000
    assert all(isinstance(error, BrokenPipeError) for error in failures)
