"""A scripted server for the tests of the transport: threads, sockets, and no HTTP library."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.transport import PooledTransport
from deluge_sync.values.secret import Credential, Secret
from deluge_sync.values.wire import HttpRequest

KEY = "sk-very-secret-0123456789"
BEARER = (Credential("Authorization", "Bearer ", Secret(KEY)),)
GENEROUS = 20.0
"""Seconds after which a test that hangs fails."""


def answer(body=b"ok", *headers, status=200):
    """A proper answer."""
    lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Server:
    """Runs `handler(sock, server)` in a thread for each connection, then closes it.

    `requests` are the requests that handlers read with `read_request`, `connections` counts
    accepted ones. Handlers wait on `released`, which is set at the end of the test.
    """

    def __init__(self, handler, *, tls=None):
        self.requests: list[bytes] = []
        self.connections = 0
        self.released = threading.Event()
        self.request_came = threading.Event()
        self.connection_came = threading.Event()
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._socks: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.scheme = "https" if tls else "http"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        for sock in [self._listener, *self._socks]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @property
    def origin(self):
        host = "localhost" if self._tls else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self):
        return f"{self.origin}/v1/chat"

    def _accept(self):
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._socks.append(sock)
                self.connections += 1
                self.connection_came.set()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with suppress(OSError):
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._socks.append(sock)
            with sock:
                self._handler(sock, self)

    def read_request(self, sock):
        """The next request's bytes; b"" at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65_536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line[15:]):
                    body += sock.recv(65_536)
        self.requests.append(head + b"\r\n\r\n" + body)
        self.request_came.set()
        return self.requests[-1]


def answering(*answers):
    """A handler that gives `answers` in turn, and the last one for ever."""
    left = list(answers)

    def handle(sock, server):
        while server.read_request(sock):
            sock.sendall(left.pop(0) if len(left) > 1 else left[0])

    return handle


def closing(data):
    """A handler that reads a request, sends `data` and closes."""

    def handle(sock, server):
        server.read_request(sock)
        sock.sendall(data)

    return handle


def silent(sock, server):
    """Reads the request, and never answers."""
    server.read_request(sock)
    server.released.wait(GENEROUS)


def dripping(*first):
    """A handler that sends `first`, then a byte every 10 ms."""

    def handle(sock, server):
        server.read_request(sock)
        sock.sendall(b"".join(first))
        while not server.released.wait(0.01):
            sock.sendall(b"a")

    return handle


def post(url, body=b"{}", headers=(("Content-Type", "application/json"),), method="POST"):
    return HttpRequest(method, url, tuple(headers), body)


_made: list[PooledTransport] = []


def pooled(**options):
    """A pooled transport that `close_all` closes."""
    _made.append(PooledTransport(**options))
    return _made[-1]


def close_all():
    """Close what `pooled` made."""
    while _made:
        _made.pop().close()


def send(transport, request, *, seconds=GENEROUS, credentials=BEARER, cancellation=None):
    """`transport.send` with a deadline in so many seconds."""
    return transport.send(
        request if isinstance(request, HttpRequest) else post(request),
        credentials=credentials,
        deadline=time.monotonic() + seconds,
        cancellation=cancellation or Cancellation(),
    )


def cancel_at(event):
    """A switch that is cancelled as soon as `event` is set."""
    switch = Cancellation()
    event.clear()
    threading.Thread(target=lambda: event.wait(GENEROUS) and switch.cancel(), daemon=True).start()
    return switch


def fields(request):
    """The header lines of a request as (lower-case name, value)."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (ln.partition(":") for ln in lines)]


def exposed(error):
    """Everything an error report could show of `error`: texts, causes, and the variables of the
    library's own frames.
    """
    shown = []
    pending, seen = [error], set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        shown += [repr(current), str(current), repr(vars(current))]
        pending += [current.__cause__, current.__context__]
        trace = current.__traceback__
        while trace is not None:
            if "deluge_sync" in trace.tb_frame.f_code.co_filename:
                shown.append(repr(trace.tb_frame.f_locals))
            trace = trace.tb_next
    return "\n".join(shown)
