"""Writing a request's JSON and reading an answer's: what all adapters share."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from ..values.errors import PromptError
from ..values.prompt import Part
from ..values.wire import HttpRequest

JSON_HEADERS = {"content-type": "application/json"}

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder().raw_decode
"""Half the cost of `json.loads` where the text is a chunk of a stream."""

LONG, LONG_MARK = 256, "\0"
"""Bytes of a string from which on `load_long_apart` has it apart, and what it puts in its place."""

_SPACES = " \t\n\r"
"""What may stand around a JSON value."""


class MalformedError(ValueError):
    """The answer is not what its vendor's API promises; the message says where and how."""


def post(
    url: str,
    body: dict[str, Any],
    *headers: Mapping[str, str],
    extra_body: Mapping[str, Any],
    nested: str = "",
) -> HttpRequest:
    """A POST of `body` with `extra_body` merged over its top level.

    The field `nested`, where both have it as an object, is merged one level deeper. Later
    `headers` win over earlier ones, whatever the case of their names. What JSON cannot hold
    (NaN, half a surrogate pair, foreign objects) is a `PromptError`.
    """
    if extra_body:
        ours, theirs = body.get(nested), extra_body.get(nested)
        body = {**body, **extra_body}
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            body[nested] = {**ours, **theirs}
    return HttpRequest("POST", url, _merged(headers), dump(body))


def _merged(layers: tuple[Mapping[str, str], ...]) -> tuple[tuple[str, str], ...]:
    first, *others = layers
    if not any(others):
        return tuple(first.items())
    by_name: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in layer.items():
            by_name[name.lower()] = (name, value)
    return tuple(by_name.values())


def dump(value: Any) -> bytes:
    """`value` as compact JSON in UTF-8, else a `PromptError`."""
    try:
        return _to_json(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"this request cannot be written as JSON: {error}") from error


@functools.lru_cache(maxsize=256)
def join_url(base_url: str, path: str) -> str:
    """`base_url` with `path` put before its query, if it has one (Azure's `?api-version=`)."""
    base, mark, query = base_url.partition("?")
    return base.rstrip("/") + path + mark + query


def misplaced(part: Part, role: str) -> PromptError:
    """The error for a part that has no place in a message of that role."""
    return PromptError(f"a message of role {role!r} cannot hold a {type(part).__name__}")


def load(body: bytes | str) -> Any:
    """The JSON value in `body`, or a `MalformedError`. Its texts can all be written as UTF-8."""
    try:
        text = body if isinstance(body, str) else str(body, "utf-8")
        return _parse(text[1:] if text.startswith("\ufeff") else text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON ({error})") from None


def load_long_apart(body: bytes) -> tuple[Any, list[bytes]] | None:
    """The JSON value in `body` without its long strings, and those as bytes: in place of each
    stands `LONG_MARK` and its number, which no string of JSON can be. None where they cannot be
    told apart so; a `MalformedError` for what is no JSON. Their bytes are not looked at.

    A body of vectors is nearly all strings, which JSON's reader looks at byte by byte: this takes a
    fifth of its time.
    """
    if b"\\" in body:
        return None  # else each quote begins or ends a string
    pieces = body.split(b'"')
    longs = []
    for at in range(1, len(pieces), 2):
        if len(pieces[at]) >= LONG:
            longs.append(pieces[at])
            pieces[at] = b"\\u0000%d" % (len(longs) - 1)
    return load(b'"'.join(pieces)), longs


def load_arguments(value: Any, where: str) -> dict[str, Any]:
    """A tool call's arguments out of their JSON text; none at all is {}."""
    if not value:
        return {}
    if type(value) is dict:
        return value
    try:
        return as_object(_parse(as_text(value, where)), where)
    except (ValueError, RecursionError):
        raise MalformedError(f"{where} is not a JSON object") from None


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is; None for any other text, and for what cannot be sent."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = load(text)
        dump(value)  # NaN, which Python's JSON reads, has no form on the wire
    except (MalformedError, PromptError):
        return None
    return value if type(value) is dict else None


def _parse(text: str) -> Any:
    text = text.strip(_SPACES)
    value, end = _from_json(text)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    # A single character is looked for much quicker than two: there are no escapes in most texts.
    if "\\" in text and ("\\ud" in text or "\\uD" in text):
        # An escape may be half of a pair (servers cut emoji in two); whoever stores or prints
        # such a text later would fail far from here.
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value`, which must be an object."""
    if type(value) is dict:
        return value
    raise MalformedError(f"{where} is {_kind(value)}, not an object")


def as_list(value: Any, where: str) -> list[Any]:
    """`value`, which must be a list."""
    if type(value) is list:
        return value
    raise MalformedError(f"{where} is {_kind(value)}, not a list")


def as_text(value: Any, where: str) -> str:
    """`value`, which must be a string."""
    if type(value) is str:
        return value
    raise MalformedError(f"{where} is {_kind(value)}, not a string")


def text_or_none(value: Any) -> str | None:
    """`value` if it is a string with something in it."""
    return value if value and type(value) is str else None


def count(value: Any) -> int:
    """A number of tokens. Anything else is 0: an answer paid for is not thrown away for it."""
    return value if type(value) is int and value > 0 else 0


def details(value: Any, name: str) -> Any:
    """The field `name` of `value`, or None where `value` is no object."""
    return value.get(name) if type(value) is dict else None


def _kind(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
