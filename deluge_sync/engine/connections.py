"""One connection, and the exchanges over it: one request out, one answer in."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Optional

from urllib3.util.wait import wait_for_read

from ..values.errors import CallCancelledError, DeadlineExceededError
from .clock import Clock
from .dialing import Dialer
from .endpoints import FAILURES, Endpoint
from .exchange import AnswerReader
from .sent_files import SentFile
from .syscalls import is_silent, send_at_once
from .trust import Trust

_BUFFER = 65_536
_PIECE = 16_384

_LONGEST_SEND = 0.5
"""Seconds between two looks for an answer while a file is sent."""

_LONGEST_TIMEOUT = 86_400.0
_TIMEVAL = struct.Struct("@ll")
_KERNEL_TIMEOUTS = os.name == "posix"


class RequestHead:
    """A request but for its body: the head's bytes, without Content-Length and the empty line.

    Not a tuple and without a repr of its contents, as the head holds the secrets; and what it
    gives out are memoryviews, so that no traceback shows them.
    """

    __slots__ = ("_always_framed", "_head", "bodiless_answer")

    def __init__(self, head: bytes, method: str) -> None:
        self._head = head
        self.bodiless_answer = method == "HEAD"
        self._always_framed = method in ("POST", "PUT", "PATCH")

    def rendered(self, body: bytes, size: int) -> tuple[memoryview, ...]:
        """The pieces to send: one, or two where joining them would copy a large body. `size` is
        that of the whole body, of which `body` may be the beginning.
        """
        if not size and not self._always_framed:
            return (memoryview(self._head + b"\r\n"),)
        length = b"Content-Length: %d\r\n\r\n" % size
        if len(body) > _BUFFER:
            return memoryview(self._head + length), memoryview(body)
        return (memoryview(b"".join((self._head, length, body))),)


class Connection:
    """A connection of one endpoint. One thread uses it at a time; any may `interrupt` it.

    The lock guards `interrupted`, and the watched socket against being shut down after it was
    closed, when its number may be another's. It may be taken twice by one thread: the finaliser of
    a stream that was dropped runs wherever the garbage collector does.
    """

    __slots__ = (
        "_clock",
        "_kernel_keeps_time",
        "_lock",
        "_plain",
        "_sock",
        "_timeout",
        "_unsent",
        "_watched",
        "endpoint",
        "idle_since",
        "interrupted",
        "reader",
    )

    def __init__(self, endpoint: Endpoint, reader: AnswerReader, clock: Clock) -> None:
        self.endpoint = endpoint
        self.reader = reader
        self.idle_since = 0.0
        self.interrupted = False
        self._clock = clock
        self._sock: Optional[socket.socket] = None
        self._timeout = -1.0
        self._plain = False
        self._kernel_keeps_time = False
        self._unsent: Optional[OSError] = None
        self._watched: Optional[socket.socket] = None
        self._lock = threading.RLock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed yet; the other end may have closed it."""
        return self._sock is not None

    def open(self, trust: Trust, until: float) -> None:
        """Connect; see `Dialer` for what it raises."""
        dialer = Dialer(self.endpoint, trust, until=until, clock=self._clock, watch=self._watch)
        self._sock = dialer.dial()
        kind = type(self._sock)  # gevent's, too, is then called `socket.socket`
        self._plain = kind is socket.socket and kind.__module__ == socket.__name__

    def exchange(
        self, head: RequestHead, body: bytes, deadline: float, file: Optional[SentFile] = None
    ) -> None:
        """Send one request and read its whole answer into `reader`; see `begin` and `advance`."""
        self.begin(head, body, deadline, file)
        reader = self.reader
        while not reader.complete:
            self.advance(deadline)

    def begin(
        self,
        head: RequestHead,
        body: bytes,
        deadline: float,
        file: Optional[SentFile] = None,
        max_bytes: Optional[int] = None,
    ) -> None:
        """Send one request; with `file`, its body is that, and `body` the beginning of it.

        Raises `DeadlineExceededError`, what reading the file does and the socket's own errors. A
        server that closes before it has read all may still have answered (413, 401): that answer
        counts. `max_bytes`: see `AnswerReader.start`.
        """
        self.reader.start(bodiless=head.bodiless_answer, max_bytes=max_bytes)
        self.keep_time_here()
        self._unsent = None
        try:
            for piece in head.rendered(body, len(body) if file is None else len(file)):
                self._send(piece, deadline)
            if file is not None:
                file.seek(len(body))
                self._send_rest(file, deadline)
        except (BrokenPipeError, ConnectionResetError) as error:
            self._unsent = error.with_traceback(None)

    def advance(self, deadline: float) -> None:
        """Wait for the next bytes of the answer and feed them to `reader`.

        Raises the errors of `AnswerReader`, `DeadlineExceededError`, and the socket's own.
        """
        reader = self.reader
        data = self._receive(deadline)
        if data:
            reader.feed(data)
        elif self.interrupted:
            raise CallCancelledError("the call was cancelled")
        elif self._unsent is not None and not reader.head_done:
            raise self._unsent
        else:
            reader.finish()
        if self._unsent is not None:
            reader.reusable = False

    def look(self) -> None:
        """Feed `reader` what has come by now, if anything, without waiting. Never raises."""
        sock = self._sock
        if sock is not None:
            with suppress(*FAILURES):
                self._timeout = -1.0  # to be set anew
                sock.settimeout(0.0)
                data = sock.recv(_PIECE)
                if data:
                    self.reader.feed(data)
            if self._unsent is not None:
                self.reader.reusable = False

    def keep_time_here(self) -> None:
        """Let the waits to come be timed as suits this thread, as it may be another than before."""
        if self._kernel_keeps_time and _is_main_thread():
            self._timeout = -1.0  # to be set anew, Python's way

    def is_stale(self) -> bool:
        """Whether an idle connection cannot be used: closed by the server, or with bytes nobody
        asked for on it. They would be taken for the next answer.
        """
        sock = self._sock
        if sock is None or self.interrupted:
            return True
        try:
            if self._kernel_keeps_time:
                return not is_silent(sock)
            return wait_for_read(sock, timeout=0.0) or _has_pending(sock)
        except (OSError, ValueError):
            return True

    def interrupt(self) -> None:
        """Wake the thread that uses it, which then fails; it cannot be used again."""
        with self._lock:
            self.interrupted = True
            if self._watched is not None:
                with suppress(OSError):
                    # Not the method of an SSLSocket: that one first drops the TLS state, and what
                    # another thread sends in that moment would go out in the clear.
                    socket.socket.shutdown(self._watched, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; more than once is fine."""
        with self._lock:
            self._watched = None
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
            self.reader.detach()

    def _watch(self, sock: Optional[socket.socket]) -> None:
        with self._lock:
            self._watched = sock
            if self.interrupted and sock is not None:
                raise CallCancelledError("the call was cancelled")

    def _send(self, piece: memoryview, deadline: float) -> None:
        size = len(piece)
        while piece:
            sock = self._armed(deadline)
            if sock is None:
                raise DeadlineExceededError("the deadline passed while sending the request")
            if self._kernel_keeps_time and len(piece) == size <= _BUFFER:
                piece = piece[send_at_once(sock, piece) :]
                if not piece:
                    return
            with suppress(socket.timeout, BlockingIOError):
                piece = piece[sock.send(piece) :]

    def _send_rest(self, file: SentFile, deadline: float) -> None:
        """Send what was not read of `file`, unless the server answers before: then the rest is of
        no use to it, and this connection to nobody else.
        """
        for piece in file:
            left = memoryview(piece)
            while left:
                if self.is_stale():
                    self.look()
                if self.reader.head_done:
                    self._unsent = _answered_early()
                    self.reader.reusable = False
                    return
                left = left[self._send_some(left, deadline) :]

    def _send_some(self, piece: memoryview, deadline: float) -> int:
        """How many bytes of `piece` were sent before it was time to look for an answer again: a
        server that has given one may neither read any more nor close.
        """
        now = self._clock()
        if now >= deadline:
            raise DeadlineExceededError("the deadline passed while sending the request")
        # TLS within TLS loses what it has not sent in time, so there it is all or nothing.
        waits = isinstance(self._sock, socket.socket)
        sock = self._armed(min(deadline, now + _LONGEST_SEND) if waits else deadline)
        with suppress(socket.timeout, BlockingIOError):
            return sock.send(piece) if sock is not None else 0
        return 0

    def _receive(self, deadline: float) -> bytes:
        while True:
            sock = self._armed(deadline)
            if sock is None:
                where = self.reader.progress()
                raise DeadlineExceededError(f"the deadline passed {where}")
            try:
                return sock.recv(_PIECE)
            except (socket.timeout, BlockingIOError):
                pass

    def _armed(self, deadline: float) -> Optional[socket.socket]:
        """The socket, with a timeout that ends before the deadline; None after the deadline.

        Setting a timeout is a system call, and each lets go of the GIL. So one that will do is
        kept: it may be down to half of what is left, and when it ends early we come by again.
        """
        left = deadline - self._clock()
        if left <= 0:
            return None
        sock = self._sock
        assert sock is not None, "the connection is closed"
        if not left / 2 <= self._timeout <= left:
            self._timeout = min(left if left < 0.1 else left * 0.75, _LONGEST_TIMEOUT)
            self._set_timeout(sock, self._timeout)
        return sock

    def _set_timeout(self, sock: socket.socket, seconds: float) -> None:
        """Have a send or receive end after `seconds`.

        With Python's own timeout each of them is two system calls, of which the first waits: a GIL
        handed over once more for nothing. So the kernel keeps the time of plain sockets, and they
        end with `BlockingIOError`. Not in the main thread: a signal's handler runs there, and the
        kernel would begin its timeout anew each time. TLS needs Python's.
        """
        kernel = self._kernel_keeps_time = (
            _KERNEL_TIMEOUTS and self._plain and not _is_main_thread()
        )
        if not kernel:
            sock.settimeout(seconds)
            return
        if sock.gettimeout() is not None:
            sock.settimeout(None)
        whole = int(seconds)
        value = _TIMEVAL.pack(whole, max(int((seconds - whole) * 1e6), 1))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _answered_early() -> OSError:
    return ConnectionAbortedError(errno.ECONNABORTED, "the server answered before it had read all")


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _has_pending(sock: socket.socket) -> bool:
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0
