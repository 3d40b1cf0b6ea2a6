"""A pure-Python HTTP/1.1 answer parser with the face of `httptools.HttpResponseParser`.

It stands in where httptools is not installed. It is as strict as llhttp is by default: no bare
line feeds, no folded headers, no repeated Content-Length, never Content-Length beside
Transfer-Encoding. `http.client` was rejected for this: it takes any answer but 100 for the final
one, drops what follows a malformed header line without a word, bounds lines but not the whole
head, and cannot say whether bytes were left over after the answer.
"""

from __future__ import annotations

import re
from typing import Callable, Protocol

_STATUS_LINE = re.compile(rb"HTTP/(0\.9|1\.[01]|2\.0) ([0-9]{3})(?: [^\r\n]*)?")
_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
_EXTENSION = rb";" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_LINE_LIMIT = 65_536


class AnswerEvents(Protocol):
    """What a parser tells of an answer, in the words of httptools."""

    def on_message_begin(self) -> None:
        """A message starts."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or one trailer."""

    def on_headers_complete(self) -> None:
        """The head is whole; the status can be asked for."""

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without chunk lines."""

    def on_message_complete(self) -> None:
        """The message is whole."""


class MalformedAnswerError(ValueError):
    """These bytes are not an HTTP/1.1 answer."""


class PlainParser:
    """Calls `events` as bytes are fed; useless once it has raised.

    Informational answers (1xx) are messages of their own. An answer that ends with the connection
    never gets its `on_message_complete`: the feeder sees the end, the parser does not.
    """

    def __init__(self, events: AnswerEvents) -> None:
        self._events = events
        self._buffer = bytearray()
        self._step: Callable[[], bool] = self._read_head
        self._begun = False
        self._searched = 0
        self._left = 0
        self._status = 0
        self._keep_alive = False

    def feed_data(self, data: bytes) -> None:
        """Take the next bytes; raise `MalformedAnswerError` where they cannot be an answer."""
        self._buffer += data
        while self._buffer and self._step():
            pass

    def get_status_code(self) -> int:
        """The status of the current message."""
        return self._status

    def should_keep_alive(self) -> bool:
        """Whether the server will take another request on this connection."""
        return self._keep_alive

    def _read_head(self) -> bool:
        buffer = self._buffer
        if not self._begun:
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            if not buffer:
                return False
            self._begun = True
            self._events.on_message_begin()
        if not buffer.startswith(b"HTTP/"[: len(buffer)]):
            raise MalformedAnswerError("the answer does not start with HTTP/")
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return False
        lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        self._searched = 0
        self._take_head(lines)
        return True

    def _take_head(self, lines: list[bytes]) -> None:
        status_line = _STATUS_LINE.fullmatch(lines[0])
        if status_line is None:
            raise MalformedAnswerError("malformed status line")
        self._status = int(status_line[2])
        framing: dict[bytes, list[bytes]] = {}
        for line in lines[1:]:
            name, value = _header(line)
            key = name.lower()
            if key in _FRAMING_HEADERS:
                framing.setdefault(key, []).append(value)
            self._events.on_header(name, value)
        self._events.on_headers_complete()
        self._frame(status_line[1], framing)

    def _frame(self, version: bytes, framing: dict[bytes, list[bytes]]) -> None:
        lengths = framing.get(b"content-length", [])
        codings = framing.get(b"transfer-encoding", [])
        if len(lengths) + len(codings) > 1:
            raise MalformedAnswerError("the length of the body is given more than once")
        if codings and codings[0].lower() != b"chunked":
            raise MalformedAnswerError("a transfer encoding other than chunked")
        if lengths and _LENGTH.fullmatch(lengths[0]) is None:
            raise MalformedAnswerError("malformed Content-Length")
        self._keep_alive = _keeps_alive(version, framing)
        if self._status < 200 or self._status in (204, 304):
            self._complete()
        elif codings:
            self._step = self._read_chunk_line
        elif not lengths:
            self._keep_alive = False
            self._step = self._read_to_the_end
        else:
            self._left = int(lengths[0])
            self._step = self._read_length
            if not self._left:
                self._complete()

    def _complete(self) -> None:
        self._begun = False
        self._step = self._read_head
        self._events.on_message_complete()

    def _read_length(self) -> bool:
        self._take_body()
        if not self._left:
            self._complete()
        return True

    def _read_to_the_end(self) -> bool:
        self._left = len(self._buffer)
        self._take_body()
        return True

    def _take_body(self) -> None:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(piece)
        self._events.on_body(piece)

    def _read_chunk_line(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _CHUNK_LINE.fullmatch(line)
        if size is None:
            raise MalformedAnswerError("malformed chunk size")
        self._left = int(size[1], 16)
        self._step = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        self._take_body()
        if not self._left:
            self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise MalformedAnswerError("a chunk is longer than it said")
        if len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._step = self._read_chunk_line
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            name, value = _header(line)
            if name.lower() == b"content-length":
                raise MalformedAnswerError("a length after the body")
            self._events.on_header(name, value)
        else:
            self._complete()
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - 1)
            if self._searched > _LINE_LIMIT:
                raise MalformedAnswerError("a line without end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._searched = 0
        return line


_FRAMING_HEADERS = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"proxy-connection")
)


def _header(line: bytes) -> tuple[bytes, bytes]:
    field = _HEADER.fullmatch(line)
    if field is None:
        raise MalformedAnswerError("malformed header line")
    return field[1], field[2].rstrip(b" \t")


def _keeps_alive(version: bytes, framing: dict[bytes, list[bytes]]) -> bool:
    values = framing.get(b"connection", []) + framing.get(b"proxy-connection", [])
    options = {option.strip().lower() for value in values for option in value.split(b",")}
    return b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
