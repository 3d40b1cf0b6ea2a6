"""One HTTP/1.1 answer out of the bytes of a connection. No sockets, no clock.

What is taken and what is not, with either parser (httptools, or `PlainParser` where it is not
installed): informational answers are skipped; 204 and 304 have no body; trailers are read and
forgotten; a body without a length ends with the connection. 101, a length given twice or in two
ways, transfer encodings other than chunked and anything llhttp calls malformed are a
`DecodeError`; an answer cut short is a `ConnectionFailedError`; past a cap it is a
`ResponseTooLargeError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Callable, Optional

from ..values.errors import CallError, ConnectionFailedError, DecodeError, ResponseTooLargeError
from .plain_parser import AnswerEvents, MalformedAnswerError, PlainParser

ParserFactory = Callable[[AnswerEvents], Any]
"""Makes a parser with the face of `httptools.HttpResponseParser`."""

default_parser: ParserFactory = PlainParser
_PARSER_ERRORS: tuple[type[Exception], ...] = (MalformedAnswerError,)
try:
    import httptools
except ImportError:
    pass
else:
    default_parser = httptools.HttpResponseParser
    _PARSER_ERRORS += (httptools.HttpParserError, httptools.HttpParserUpgrade)

HEAD_LIMIT = 65_536
"""Bytes of all heads of one answer, informational ones included; also the most bytes in a row, of
trailers and chunk lines, that bring no body."""

_MOST_GZIP_MEMBERS = 64


class _LeftoverError(MalformedAnswerError):
    pass


class AnswerReader:
    """Reads the answers of one connection, one after the other: `start`, `feed` until `complete`.

    `reusable` then says whether the connection may carry another request; `leftover`, whether
    bytes came after the answer. `size` counts the bytes of the body so far, before decoding.
    `max_bytes` caps the body twice: as it came, and decoded; `start` may set another cap for its
    answer.
    """

    __slots__ = (
        "_bodiless",
        "_failure",
        "_max_bytes",
        "_most",
        "_parser",
        "_pieces",
        "_room",
        "complete",
        "head_done",
        "headers",
        "leftover",
        "reusable",
        "size",
        "status",
    )

    def __init__(self, *, max_bytes: int, parser: ParserFactory | None = None) -> None:
        self._max_bytes = max_bytes
        self._parser = (parser or default_parser)(self)
        self.start()

    def start(self, *, bodiless: bool = False, max_bytes: Optional[int] = None) -> None:
        """Expect the next answer; `bodiless` if it is one to HEAD or CONNECT."""
        self._most = self._max_bytes if max_bytes is None else max_bytes
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.reusable = False
        self.leftover = False
        self.head_done = False
        self.size = 0
        self._pieces: list[bytes] = []
        self._room = HEAD_LIMIT
        self._bodiless = bodiless
        self._failure: Optional[CallError] = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes, at least one."""
        if not self.head_done and len(data) > self._room:
            rest = data[self._room :]
            self.feed(data[: self._room])
            data = rest
        size = self.size
        try:
            self._parser.feed_data(data)
        except _PARSER_ERRORS as error:
            self._failed(error)
        if self.size == size and not self.complete:
            self._room -= len(data)
            if self._room <= 0:
                raise ResponseTooLargeError(
                    f"the head of the answer, or what it has between its body's bytes, is larger "
                    f"than {HEAD_LIMIT:,} bytes"
                )
        else:
            self._room = HEAD_LIMIT

    def finish(self) -> None:
        """The server closed the connection: the answer is complete now, or never."""
        if self.complete:
            return
        headers = self.headers
        if not self.head_done or "content-length" in headers or "transfer-encoding" in headers:
            raise cut_short(self.progress())
        self.complete = True
        self.reusable = False

    def progress(self) -> str:
        """Where reading stands, for error messages."""
        if self.head_done:
            return f"while reading the body, {self.size:,} bytes so far"
        if self.status or self._room < HEAD_LIMIT:
            return "while reading the head of the answer"
        return "while waiting for the first byte of the answer"

    def body(self) -> bytes:
        """The whole body, decoded; given out once."""
        body = self.take()
        if body and "content-encoding" in self.headers:
            return decoded(body, self.headers["content-encoding"], self._most)
        return body

    def take(self) -> bytes:
        """What has come of the body and was not taken yet, as it came."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def detach(self) -> None:
        """Let go of the parser, which holds this reader."""
        self._parser = None

    def on_message_begin(self) -> None:
        """A message starts: it had better be the one that is waited for."""
        if self.complete:
            raise _LeftoverError

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or a trailer."""
        if self.head_done:
            return
        key = name.lower().decode("latin-1")
        text = value.decode("latin-1").rstrip(" \t")
        if key in self.headers:
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        """The head is there: decide what it means for the body."""
        headers = self.headers
        self.status = status = self._parser.get_status_code()
        length = headers.get("content-length")
        coding = headers.get("transfer-encoding")
        if status < 200:
            if status < 100 or status == 101 or length is not None or coding is not None:
                raise MalformedAnswerError("an informational answer that makes no sense")
            return
        self.head_done = True
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise MalformedAnswerError("a transfer encoding other than plain chunked")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise MalformedAnswerError("malformed Content-Length")
        if self._bodiless:
            self.complete = True
        elif length is not None and status not in (204, 304):
            self._check_size(int(length))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.complete:
            raise _LeftoverError
        self._pieces.append(body)
        self.size += len(body)
        self._check_size(self.size)

    def on_message_complete(self) -> None:
        """The message is whole; what follows an informational one is still to come."""
        if self.status < 200:
            if not self._parser.should_keep_alive():
                raise MalformedAnswerError("the connection ends after an informational answer")
            self.headers = {}
        elif not self._bodiless:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    def _check_size(self, size: int) -> None:
        if size > self._most:
            self._failure = too_large(self._most)
            raise MalformedAnswerError

    def _failed(self, error: Exception) -> None:
        if self.complete:
            self.leftover = True
            self.reusable = False
            return
        if error.__context__ is not None and not isinstance(error.__context__, Exception):
            raise error.__context__  # Ctrl-C, which httptools takes for a failure of ours
        cause = error.__context__ if isinstance(error.__context__, MalformedAnswerError) else error
        raise self._failure or DecodeError(f"not a proper HTTP/1.1 answer: {cause}") from None


def too_large(max_bytes: int) -> ResponseTooLargeError:
    """The error for a body over the cap."""
    return ResponseTooLargeError(f"the body of the answer is larger than {max_bytes:,} bytes")


def cut_short(progress: str) -> ConnectionFailedError:
    """The error for an answer whose end never came."""
    return ConnectionFailedError(
        f"the connection was closed {progress}; the answer is not complete"
    )


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """`body` without its Content-Encoding; see `BodyDecoder`."""
    decoder = BodyDecoder(encoding, max_bytes)
    whole = decoder.feed(body)
    decoder.finish()
    return whole


class BodyDecoder:
    """Takes the Content-Encoding off a body, piece by piece: gzip, deflate (with and without its
    zlib wrapper) or identity.

    Raises `DecodeError` for other encodings and for damaged data, `ResponseTooLargeError` as soon
    as the output exceeds `max_bytes`.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._coding = encoding.strip().lower()
        self._max_bytes = max_bytes
        self._room = max_bytes + 1
        self._members_left = _MOST_GZIP_MEMBERS
        self._inflater: Any = None
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body; b"" where that cannot be told yet."""
        if self._coding in ("", "identity"):
            return data
        if self._coding not in _INFLATED:
            raise DecodeError(
                f"the answer has a content encoding that was not asked for: {self._coding!r}"
            )
        try:
            return b"".join(self._inflated(data))
        except zlib.error:
            raise self._damaged() from None

    def finish(self) -> None:
        """The body has ended: a `DecodeError` if its encoding has not."""
        whole = self._inflater is not None and self._inflater.eof and not self._start
        if self._coding in _INFLATED and not whole:
            raise self._damaged()

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        data = self._start + data
        self._start = b""
        while data:
            if self._inflater is None or self._inflater.eof:
                if len(data) < 2:
                    self._start = data
                    return
                self._inflater = self._next_inflater(data)
            piece = self._inflater.decompress(data, self._room)
            self._room -= len(piece)
            if not self._room:
                raise too_large(self._max_bytes)
            yield piece
            data = self._inflater.unused_data

    def _next_inflater(self, data: bytes) -> Any:
        if not self._members_left:
            raise zlib.error
        self._members_left -= 1
        if self._coding != "deflate":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # RFC 1950, section 2.2: what a zlib wrapper begins with, and no sane block does.
        wrapped = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _damaged(self) -> DecodeError:
        return DecodeError(f"the body of the answer is not proper {self._coding} data")


_INFLATED = ("gzip", "x-gzip", "deflate")
