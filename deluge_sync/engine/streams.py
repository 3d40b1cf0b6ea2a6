"""Answers whose bodies are read as they come: what the transports have in common."""

from __future__ import annotations

import os
from typing import Optional, Protocol

from ..values.errors import CallCancelledError, DelugeError, ForkedError
from ..values.wire import HttpRequest, HttpResponse
from .endpoints import FAILURES, bare
from .exchange import BodyDecoder


class Source(Protocol):
    """Where the bytes of one answer come from: a connection in use."""

    def receive(self) -> bytes:
        """The next bytes of the body as they came, as soon as there are any; b"" at its end."""
        ...

    def failure(self, error: Exception) -> DelugeError:
        """The error of ours for what `receive` raised, one of `FAILURES`."""
        ...

    def end(self) -> None:
        """Keep the connection if the body has come to its end, else cut it at once."""
        ...

    def cut(self) -> None:
        """Cut the connection without waiting for a lock that this very thread may hold."""
        ...


class AnswerStream:
    """The `BodyStream` of both transports.

    No lock is on the way of a read. After a fork it is the parent's: in the child, `read` raises
    `ForkedError` and `close` touches nothing. One that is dropped without `close` cuts its
    connection when it is finalised, which may be late.
    """

    def __init__(self, head: HttpResponse, source: Source, max_bytes: int) -> None:
        self.head = head
        self._source = source
        self._max_bytes = max_bytes
        self._encoding = head.headers.get("content-encoding")
        self._decoder: Optional[BodyDecoder] = None
        self._pid = os.getpid()
        self._ended = False
        self._closed = False

    def read(self) -> bytes:
        """See `BodyStream.read`. What it raises closes the stream."""
        try:
            return self._next_piece()
        except FAILURES as error:
            failure = self._source.failure(error)
        except BaseException:
            self.close()
            raise
        self.close()
        raise bare(failure)

    def close(self) -> None:
        """See `BodyStream.close`."""
        if self._leaves():
            self._source.end()

    def cut(self) -> None:
        """See `BodyStream.cut`."""
        if not self._closed and os.getpid() == self._pid:
            self._source.cut()

    def __del__(self) -> None:
        if self._leaves():
            self._source.cut()

    def _leaves(self) -> bool:
        """Whether this is the moment to let go of the connection."""
        closed, self._closed = self._closed, True
        return not closed and os.getpid() == self._pid

    def _next_piece(self) -> bytes:
        if self._ended:
            return b""
        if os.getpid() != self._pid:
            raise ForkedError("the process forked while this stream was open; it is the parent's")
        if self._closed:
            raise CallCancelledError("the stream was closed")
        while piece := self._source.receive():
            if self._encoding:
                piece = self._decoded(piece, self._encoding)
            if piece:
                return piece
        if self._decoder is not None:
            self._decoder.finish()
        self._ended = True
        return b""

    def _decoded(self, piece: bytes, encoding: str) -> bytes:
        if self._decoder is None:
            self._decoder = BodyDecoder(encoding, self._max_bytes)
        return self._decoder.feed(piece)


def unpacked(request: HttpRequest) -> HttpRequest:
    """`request`, asking for an answer that is not compressed: compressing holds pieces back."""
    if any(name.lower() == "accept-encoding" for name, _ in request.headers):
        return request
    return request._replace(headers=(*request.headers, ("Accept-Encoding", "identity")))
