"""HTTP/1.1 as bytes: a strict request reader and the heads of answers. No sockets, no clock."""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

Headers = tuple[tuple[str, str], ...]

MAX_HEAD = 64 * 1024
METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_LENGTH = re.compile(r"[0-9]{1,18}\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\Z")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_REASONS[529] = "Overloaded"


class Incoming(NamedTuple):
    """One whole request. `headers` has lower-case names; repeated ones are joined by ", "."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class Answer(NamedTuple):
    """What is sent back. Length, date and connection headers are added by `head`."""

    status: int
    headers: Headers
    body: bytes


class HttpError(Exception):
    """Bytes that are not an acceptable HTTP/1.1 request; the connection cannot go on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestReader:
    """Turns received bytes into `Incoming` requests, one at a time.

    Strict on purpose, for it judges hand-written clients: bare line feeds, folded or odd headers,
    a missing Host, two lengths, or a length beside chunks are an `HttpError`.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str], bool] | None = None
        self._searched = 0
        self._length: int | None = None
        self._chunks = bytearray()
        self._in_trailers = False

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed out."""
        return len(self._buffer)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends the body."""
        head = self._head
        return head is not None and head[2].get("expect", "").lower() == "100-continue"

    def feed(self, data: bytes | memoryview) -> None:
        """Take what the socket gave."""
        self._buffer += data

    def next(self) -> Incoming | None:
        """The next whole request, or None until more has been fed. Raises `HttpError`."""
        if self._head is None and not self._read_head():
            return None
        body = self._read_sized() if self._length is not None else self._read_chunked()
        if body is None or self._head is None:
            return None
        method, target, headers, keep_alive = self._head
        self._head = None
        return Incoming(method, target, headers, body, keep_alive)

    def _read_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise HttpError(431, "the request's headers are too large")
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return False
        self._searched = 0
        self._head = _parse_head(buffer[:end].decode("latin-1"))
        del buffer[: end + 4]
        self._length = _body_length(self._head[2])
        if self._length is not None and self._length > self._max_body:
            raise HttpError(413, "the request's body is too large")
        return True

    def _read_sized(self) -> bytes | None:
        length = self._length or 0
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _read_chunked(self) -> bytes | None:
        while not self._in_trailers:
            line = self._line()
            if line is None:
                return None
            match = _CHUNK.match(line)
            if match is None:
                raise HttpError(400, "bad chunk size")
            size = int(match[1], 16)
            if len(self._chunks) + size > self._max_body:
                raise HttpError(413, "the request's body is too large")
            if size and not self._take_chunk(len(line) + 2, size):
                return None
            if not size:
                self._in_trailers = True
                del self._buffer[: len(line) + 2]
        return self._skip_trailers()

    def _take_chunk(self, start: int, size: int) -> bool:
        end = start + size
        if len(self._buffer) < end + 2:
            return False
        if self._buffer[end : end + 2] != b"\r\n":
            raise HttpError(400, "a chunk does not end where it should")
        self._chunks += self._buffer[start:end]
        del self._buffer[: end + 2]
        return True

    def _skip_trailers(self) -> bytes | None:
        while True:
            line = self._line()
            if line is None:
                return None
            del self._buffer[: len(line) + 2]
            if not line:
                break
        body = bytes(self._chunks)
        self._chunks.clear()
        self._in_trailers = False
        return body

    def _line(self) -> bytes | None:
        """The buffer's first line, left in it, or None while it is not whole."""
        end = self._buffer.find(b"\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise HttpError(400, "a line of the body's framing is too long")
            return None
        return bytes(self._buffer[:end])


def head(
    status: int, headers: Headers, length: int | None, *, date: str = "", close: bool = False
) -> bytes:
    """Status line and headers. `length` None leaves the framing to `headers`."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    if date:
        lines.append(f"date: {date}")
    for name, value in headers:
        lines.append(f"{name}: {value}")
    if length is not None:
        lines.append(f"content-length: {length}")
    if close:
        lines.append("connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def _parse_head(text: str) -> tuple[str, str, dict[str, str], bool]:
    lines = text.split("\r\n")
    request_line = lines[0].split(" ")
    if len(request_line) != 3 or _FORBIDDEN.search(lines[0]):
        raise HttpError(400, "bad request line")
    method, target, version = request_line
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in METHODS:
        raise HttpError(501, f"the method {method} is not supported")
    headers = _parse_headers(lines)
    if version == "HTTP/1.1" and "host" not in headers:
        raise HttpError(400, "the Host header is missing")
    keep_alive = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    return method, target, headers, keep_alive


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, value = _parse_line(line)
        if name not in headers:
            headers[name] = value
        elif name in ("host", "content-length", "content-type", "authorization"):
            raise HttpError(400, f"the header {name} comes twice")
        else:
            headers[name] = f"{headers[name]}, {value}"
    return headers


@lru_cache(maxsize=512)  # a client's requests differ in one or two lines
def _parse_line(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or _NAME.match(name) is None:
        raise HttpError(400, "bad header line")
    if _FORBIDDEN.search(value):
        raise HttpError(400, f"control characters in the header {name}")
    return name.lower(), value.strip(" \t")


def _body_length(headers: dict[str, str]) -> int | None:
    """The body's length, or None where it is chunked."""
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise HttpError(400, "both Content-Length and Transfer-Encoding")
        if coding.lower() != "chunked":
            raise HttpError(501, f"the transfer coding {coding} is not supported")
        return None
    if length is None:
        return 0
    if _LENGTH.match(length) is None:
        raise HttpError(400, "bad Content-Length")
    return int(length)
