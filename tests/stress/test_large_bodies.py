"""Memory while bodies of 200 MB go out of a file and come in to be written to disk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ..transport_server import Server

ROOT = Path(__file__).parent.parent.parent
SIZE = 200 << 20
MOST_GROWTH = 24 << 20
"""Bytes: far more than pieces and buffers take, far less than the body."""

CALLER = textwrap.dedent(
    """
    import sys, time
    import requests
    from deluge_sync.engine.cancellation import Cancellation
    from deluge_sync.engine.session_transport import SessionTransport
    from deluge_sync.engine.transport import PooledTransport
    from deluge_sync.values.wire import FileBody, HttpRequest

    kind, url, path, size = *sys.argv[1:4], int(sys.argv[4])

    def peak():
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10

    def fetched(file):
        request = HttpRequest("POST", url, (), b"{}", file)
        stream = transport.stream(
            request, credentials=(), deadline=time.monotonic() + 120, silence=60,
            cancellation=Cancellation(), max_bytes=size,
        )
        try:
            return sum(map(len, iter(stream.read, b"")))
        finally:
            stream.close()

    if kind == "pooled":
        transport = PooledTransport(use_environment=False)
    else:
        session = requests.Session()
        session.trust_env = False
        transport = SessionTransport(session)
    fetched(None)
    before = peak()
    print(fetched(FileBody(path, size)), peak() - before)
    """
)


def large_both_ways(sock: socket.socket, server: Server) -> None:
    """Answers with 200 MB to a request that has as many, and with nothing to a small one."""
    buffer, block = bytearray(1 << 20), bytes(1 << 20)
    while data := sock.recv(65_536):
        while b"\r\n\r\n" not in data:
            data += sock.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split()[0])
        left = size - len(body)
        while left > 0 and (count := sock.recv_into(buffer)):
            left -= count
        blocks = SIZE >> 20 if size > SIZE else 0
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks << 20))
        for _ in range(blocks):
            sock.sendall(block)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", ["pooled", "session"])
def test_memory_stays_flat_while_200_mb_go_out_and_200_mb_come_in(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    with path.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    with Server(large_both_ways) as server:
        done = subprocess.run(
            [sys.executable, "-c", CALLER, kind, server.url, str(path), str(SIZE)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=180,
            check=True,
        )
    came, growth = map(int, done.stdout.split())
    assert came == SIZE
    assert growth < MOST_GROWTH
