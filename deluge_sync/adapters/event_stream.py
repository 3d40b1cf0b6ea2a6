"""Amazon's event stream (application/vnd.amazon.eventstream) as server events. Pure.

Written from the Smithy specification of the format and botocore 1.44 (`eventstream.py`): frames of
a prelude (total length, length of the headers, CRC of these), headers, a payload, and a CRC of all.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Union

from ..values.errors import DecodeError, ResponseTooLargeError
from ..values.wire import HttpResponse
from .sse import MOST_EVENTS, EventReader, ServerEvent

MEDIA_TYPE = "application/vnd.amazon.eventstream"
MOST_SIZE = 24 << 20
"""Bytes of one frame, as in botocore."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_STRING, _BYTES = 7, 6
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type, where that says it."""


class FrameReader:
    """Splits a stream into the events of its frames, wherever its packets were cut.

    An event's name is its `:event-type`, its data the payload. A `chunk`, which holds the event of
    another vendor's stream in base64, becomes that event. An exception becomes an event "error"
    with Anthropic's form of one: `{"type": "error", "error": {"type", "message"}}`.
    `DecodeError` where a frame is damaged, `ResponseTooLargeError` past the caps.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._events = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        self._buffer += data
        return [_event(*frame) for frame in self._frames()]

    def finish(self) -> list[ServerEvent]:
        """Nothing: a frame that the stream ends in the middle of is no event."""
        return []

    def _frames(self) -> Iterator[tuple[dict[str, str], bytes]]:
        while len(self._buffer) >= _PRELUDE.size:
            total, headers, crc = _PRELUDE.unpack_from(self._buffer)
            _check(zlib.crc32(self._buffer[: _PRELUDE.size - _CRC.size]) == crc)
            if total > MOST_SIZE:
                raise ResponseTooLargeError(f"an event is larger than {MOST_SIZE:,} bytes")
            _check(total >= _PRELUDE.size + headers + _CRC.size)
            if len(self._buffer) < total:
                return
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            yield self._opened(frame, _PRELUDE.size + headers)

    def _opened(self, frame: bytes, payload_at: int) -> tuple[dict[str, str], bytes]:
        end = len(frame) - _CRC.size
        _check(zlib.crc32(frame[:end]) == _CRC.unpack_from(frame, end)[0])
        self._events += 1
        if self._events > MOST_EVENTS:
            raise ResponseTooLargeError(f"the stream has more than {MOST_EVENTS:,} events")
        return _headers(frame[_PRELUDE.size : payload_at]), frame[payload_at:end]


Reader = Union[EventReader, FrameReader]


def reader_of(head: HttpResponse) -> Reader:
    """The reader for a stream's body, by the content type that its `head` gives."""
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    return FrameReader() if kind == MEDIA_TYPE else EventReader()


def _check(sound: bool) -> None:
    if not sound:
        raise DecodeError("a frame of the event stream is damaged")


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are texts, by name; the others are passed over."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            kind, value_at = data[name_end], name_end + 1
            if kind in (_STRING, _BYTES):
                (size,) = _LENGTH.unpack_from(data, value_at)
                value_at += _LENGTH.size
            else:
                size = _SIZES[kind]
            value = data[value_at : value_at + size]
            _check(len(value) == size)
            if kind == _STRING:
                found[data[at + 1 : name_end].decode()] = value.decode()
            at = value_at + size
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        _check(False)
    return found


def _event(headers: dict[str, str], payload: bytes) -> ServerEvent:
    text = payload.decode("utf-8", "replace")
    kind = headers.get(":message-type", "event")
    if kind == "exception":
        return _error(headers.get(":exception-type", ""), _field(text, "message"))
    if kind == "error":
        return _error(headers.get(":error-code", ""), headers.get(":error-message", ""))
    name = headers.get(":event-type", "")
    return _inner(text) if name == "chunk" else ServerEvent(name, text)


def _inner(text: str) -> ServerEvent:
    """The event within a chunk, by its own type."""
    try:
        inner = base64.b64decode(_field(text, "bytes"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise DecodeError("a chunk of the event stream is damaged") from None
    return ServerEvent(_field(inner, "type"), inner)


def _error(code: str, message: str) -> ServerEvent:
    error = {"type": code, "message": message}
    return ServerEvent("error", json.dumps({"type": "error", "error": error}))


def _field(text: str, name: str) -> str:
    """A field of the object in `text`, "" where it has none."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
