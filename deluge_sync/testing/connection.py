"""One client's connection: reads requests in order, sends answers in order."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from typing import Any, Callable, Protocol

from .http import Answer, HttpError, Incoming, RequestReader, head

READ_AHEAD = 1 << 20
"""Bytes of pipelined requests kept while one is being answered."""

RECEIVE_SIZE = 1 << 17


class Counters:
    """What the connections of one server are doing. Written by the loop's thread only."""

    def __init__(self) -> None:
        self.connections = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.disconnects = 0
        """Clients that left before their answer was sent."""
        self.protocol_errors = 0
        """Requests that were not acceptable HTTP."""


class Handler(Protocol):
    """What answers requests: it calls the connection's `deliver`, or `send` and `done`."""

    def handle(self, incoming: Incoming, connection: Connection) -> None:
        """Begin to answer `incoming`, now or later."""


class Common:
    """What all connections of one running server share."""

    def __init__(self, handler: Handler, counters: Counters, max_body: int) -> None:
        self.handler = handler
        self.counters = counters
        self.max_body = max_body
        self.living: set[Connection] = set()
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))


class Connection(asyncio.BufferedProtocol):
    """An HTTP/1.1 server connection with keep-alive and pipelining.

    Requests are handed over one at a time; the next one waits until `done`. All methods run on the
    loop's thread. Every method is harmless once the client is gone.
    """

    def __init__(self, common: Common) -> None:
        self._common = common
        self._counters = common.counters
        self._reader = RequestReader(common.max_body)
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._counted = False
        self._advancing = False
        self._keep_alive = True
        self._reading_paused = False
        self._continued = False
        self._pieces: Iterator[bytes] | None = None
        self._after_pieces: Callable[[], None] = self.done
        self._writable = True

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._common.living.add(self)
        self._counters.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End, by whichever side."""
        self._common.living.discard(self)
        self._transport = None
        self._pieces = None
        self._counters.disconnects += self._counted
        self._finish()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it receives; shared, for it is emptied at once."""
        return self._common.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes; answer what is whole."""
        self._reader.feed(self._common.buffer[:nbytes])
        if not self._busy:
            self._advance()
        elif self._reader.buffered > READ_AHEAD and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable = True
        self._pump()

    # What handlers call.

    @property
    def open(self) -> bool:
        """Whether the client is still there, as far as we know, and we have not closed."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def descriptor(self) -> int:
        """The socket's file descriptor, or -1."""
        sock = self._socket()
        return sock.fileno() if sock is not None else -1

    @property
    def closes(self) -> bool:
        """Whether the connection must end with this answer because the client asked for it."""
        return not self._keep_alive

    def count(self) -> None:
        """Count the request as in flight until its answer is sent."""
        counters = self._counters
        self._counted = True
        counters.in_flight += 1
        counters.peak_in_flight = max(counters.peak_in_flight, counters.in_flight)

    def deliver(self, answer: Answer) -> None:
        """Send a whole answer in the plain way."""
        if self._transport is None:
            return
        body = answer.body
        prefix = head(answer.status, answer.headers, len(body), date=http_date(), close=self.closes)
        self._transport.write(prefix + body)
        self.done()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        if self._transport is not None:
            self._transport.write(data)

    def send_all(self, pieces: Iterable[bytes], then: Callable[[], None] | None = None) -> None:
        """Send `pieces` no faster than the client reads; then `then`, or else `done`."""
        self._pieces = iter(pieces)
        self._after_pieces = then or self.done
        self._pump()

    def done(self, *, close: bool = False) -> None:
        """The answer is sent: go on to the next request, or close."""
        if self._transport is None or not self._busy:
            return
        self._finish()
        if close or self.closes:
            self._transport.close()
            return
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._advance()

    def reset(self) -> None:
        """Cut the connection with a TCP RST."""
        sock = self._socket()
        if sock is not None and self._transport is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._finish()
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, dropping what is not sent."""
        if self._transport is not None:
            self._finish()
            self._transport.abort()

    def later(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Call `action` after `seconds`, if the client is still there then."""
        asyncio.get_running_loop().call_later(seconds, self._if_open, action, arguments)

    def _if_open(self, action: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self.open:
            action(*arguments)

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self._busy and self.open:
                incoming = self._reader.next()
                if incoming is None:
                    self._continue()
                    return
                self._take(incoming)
        except HttpError as error:
            self._refuse(error)
        finally:
            self._advancing = False

    def _take(self, incoming: Incoming) -> None:
        self._busy = True
        self._continued = False
        self._keep_alive = incoming.keep_alive
        self._common.handler.handle(incoming, self)

    def _continue(self) -> None:
        if self._reader.wants_continue and not self._continued:
            self._continued = True
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, error: HttpError) -> None:
        self._counters.protocol_errors += 1
        body = error.message.encode()
        headers = (("content-type", "text/plain; charset=utf-8"),)
        self.send(head(error.status, headers, len(body), date=http_date(), close=True) + body)
        if self._transport is not None:
            self._transport.close()

    def _pump(self) -> None:
        while self._pieces is not None and self._writable and self.open:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._after_pieces()
                return
            self.send(piece)

    def _finish(self) -> None:
        self._busy = False
        if self._counted:
            self._counted = False
            self._counters.in_flight -= 1

    def _socket(self) -> socket.socket | None:
        return None if self._transport is None else self._transport.get_extra_info("socket")


_date = (0, "")


def http_date() -> str:
    """The time of day as HTTP wants it, made once a second."""
    global _date
    now = int(time.time())
    if now != _date[0]:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]
