"""Frames of Amazon's event stream, as the sandbox writes them."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from .codec import dump_json

_STRING = 7


def event_frame(name: str, body: Any) -> bytes:
    """`body` as JSON in an event of that name."""
    headers = {
        ":event-type": name,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return _frame(headers, dump_json(body))


def chunk_frame(body: bytes) -> bytes:
    """The event of another vendor's stream, as InvokeModelWithResponseStream wraps it."""
    return event_frame("chunk", {"bytes": base64.b64encode(body).decode()})


def exception_frame(kind: str, message: str) -> bytes:
    """An error in a stream that had begun well."""
    headers = {
        ":exception-type": kind[:1].lower() + kind[1:],
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return _frame(headers, dump_json({"message": message}))


def _frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    head = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    begun = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return begun + struct.pack(">I", zlib.crc32(begun))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return bytes([len(key)]) + key + bytes([_STRING]) + struct.pack(">H", len(text)) + text
