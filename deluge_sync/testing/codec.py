"""JSON in and out."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, NoReturn

from .checks import VendorError
from .http import Incoming

JSON_TYPE = ("content-type", "application/json")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def parse_json(incoming: Incoming) -> Any:
    """The body, which must be JSON and say so."""
    if "json" not in incoming.headers.get("content-type", ""):
        raise VendorError(400, "the content-type must be application/json")
    try:
        return _decode(incoming.body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise VendorError(400, message) from None


def dump_json(body: Any) -> bytes:
    """`body` as UTF-8; lone surrogates, which UTF-8 cannot hold, are escaped."""
    try:
        return _encode(body).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(body).encode("ascii")


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has them, in UTC."""
    return datetime.fromtimestamp(int(seconds), tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(body: Any, name: str = "") -> bytes:
    """`body` as a server-sent event, with a name where there is one."""
    data = b"data: " + dump_json(body) + b"\n\n"
    return b"event: " + name.encode() + b"\n" + data if name else data
