"""Many streams at once, Ctrl-C in the middle of one, and forks beside one."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.session_transport import SessionTransport
from deluge_sync.engine.transport import PooledTransport
from deluge_sync.values.errors import CallCancelledError
from deluge_sync.values.wire import HttpRequest

from ..helpers import interruptible
from ..transport_server import GENEROUS, Server

ROOT = Path(__file__).parent.parent.parent
THREADS = 64
STREAMS = 12
CHUNKS = 30
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Echo:
    """Streams each request's body back, `CHUNKS` times; counts the connections it has open."""

    def __init__(self) -> None:
        self.open = 0
        self._lock = threading.Lock()  # guards `open`

    def __call__(self, sock: socket.socket, server: Server) -> None:
        self._count(1)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := server.read_request(sock):
                body = request.partition(b"\r\n\r\n")[2]
                sock.sendall(HEAD)
                for _ in range(CHUNKS):
                    sock.sendall(chunk(body))
                sock.sendall(b"0\r\n\r\n")
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self.open += more


@pytest.fixture(params=["pooled", "session"])
def transport(request: pytest.FixtureRequest) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        own = PooledTransport(use_environment=False)
        yield own if request.param == "pooled" else SessionTransport(session)
        own.close()


def wait_until(true: Any) -> None:
    until = time.monotonic() + GENEROUS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_64_streams_at_once_that_end_at_random_leak_no_sockets(transport: Any) -> None:
    def one(number: int) -> bool:
        """Whether it was read whole; its bytes are those that were asked for."""
        luck = random.Random(number)
        body = b"%06d" % number
        switch = Cancellation()
        stream = transport.stream(
            HttpRequest("POST", server.url, (), body),
            credentials=(),
            deadline=time.monotonic() + 3 * GENEROUS,
            silence=3 * GENEROUS,
            cancellation=switch,
        )
        end = luck.choice(("whole", "whole", "close", "cancel", "drop"))
        got = b""
        try:
            for _ in range(10_000 if end == "whole" else luck.randrange(CHUNKS)):
                piece = stream.read()
                got += piece
                if not piece:
                    break
            if end == "cancel":
                switch.cancel()
                with suppress(CallCancelledError):
                    got += stream.read()
        finally:
            if end != "drop":
                stream.close()
        whole = body * CHUNKS
        assert got == whole or (end != "whole" and whole.startswith(got))
        return got == whole

    echo = Echo()
    with Server(echo) as server:
        with ThreadPoolExecutor(THREADS) as pool:
            wholes = list(pool.map(one, range(THREADS * STREAMS)))
        assert sum(wholes) >= THREADS * STREAMS / 4
        if isinstance(transport, PooledTransport):
            idle = [sock for stack in transport._idle.values() for sock in stack]
            assert transport._open == set(idle)
            wait_until(lambda: echo.open == len(idle))
            assert len(idle) <= THREADS
            transport.close()
            wait_until(lambda: echo.open == 0)
        else:
            assert not transport._flights
            wait_until(lambda: echo.open <= THREADS)


SETUP = """
import os, sys, time
import requests
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.session_transport import SessionTransport
from deluge_sync.engine.transport import PooledTransport
from deluge_sync.values.errors import ForkedError
from deluge_sync.values.wire import HttpRequest
own = sys.argv[2] == "pooled"
transport = PooledTransport() if own else SessionTransport(requests.Session())
stream = transport.stream(
    HttpRequest("POST", sys.argv[1], (), b"{}"), credentials=(), deadline=time.monotonic() + 60,
    silence=60, cancellation=Cancellation(),
)
print(stream.read().decode(), flush=True)
"""


class Halting:
    """Streams "one", waits for its turn, and then the rest; `cut` is set when it is cut off."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.cut = threading.Event()

    def __call__(self, sock: socket.socket, server: Server) -> None:
        server.read_request(sock)
        sock.sendall(HEAD + chunk(b"one"))
        threading.Thread(target=self._watch, args=(sock,), daemon=True).start()
        self.turn.wait(3 * GENEROUS)
        sock.sendall(chunk(b"two") + b"0\r\n\r\n")
        self.cut.wait(GENEROUS)

    def _watch(self, sock: socket.socket) -> None:
        with suppress(OSError):
            sock.recv(10)
        self.cut.set()


def start(server: Server, script: str, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SETUP + script, server.url, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=interruptible,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    return process


@pytest.mark.parametrize("kind", ["pooled", "session"])
def test_ctrl_c_ends_a_read_at_once(kind: str) -> None:
    script = """
try:
    stream.read()
except KeyboardInterrupt:
    sys.exit(130)
"""
    halting = Halting()
    with Server(halting) as server:
        process = start(server, script, kind)
        time.sleep(0.3)  # it waits for more by now; what follows must not depend on luck
        interrupted_at = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=GENEROUS)
        assert time.monotonic() - interrupted_at < 1
        assert (process.returncode, out, err) == (130, "", "")
        assert halting.cut.wait(GENEROUS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["pooled", "session"])
def test_a_forked_child_can_neither_read_nor_end_its_parents_stream(kind: str) -> None:
    script = """
import warnings
warnings.simplefilter("ignore")
for ending in ("stream.read()", "stream.close()", "del stream"):
    pid = os.fork()
    if pid == 0:
        try:
            exec(ending)
        except ForkedError:
            os._exit(7)
        os._exit(0)
    print(os.waitpid(pid, 0)[1] >> 8, flush=True)
print(stream.read().decode(), stream.read())
stream.close()
"""
    halting = Halting()
    with Server(halting) as server:
        process = start(server, script, kind)
        halting.turn.set()
        out, err = process.communicate(timeout=GENEROUS)
        assert (process.returncode, out.split(), err) == (0, ["7", "0", "0", "two", "b''"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["pooled", "session"])
def test_a_close_cuts_the_connection_although_a_forked_child_holds_it_too(kind: str) -> None:
    script = """
import signal, warnings
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    signal.pause()
stream.close()
sys.stdin.readline()
os.kill(pid, signal.SIGKILL)
"""
    halting = Halting()
    with Server(halting) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", SETUP + script, server.url, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert halting.cut.wait(GENEROUS)
        process.communicate(b"\n", timeout=GENEROUS)
        assert process.returncode == 0
