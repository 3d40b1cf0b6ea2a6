"""What a request is refused with, and the checks of its fields that all wire formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Protocol

from .http import Headers


class VendorError(Exception):
    """A refusal, before a wire format gives it the vendor's shape.

    `kind` and `code` are the vendor's own words where they differ from what the status implies;
    `param` names the field; `retry_after` is seconds and goes where that vendor puts it; `headers`
    are sent as they are; `details` is a vendor's extra data.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Headers = (),
        details: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.headers = headers
        self.details = details


class Kind(NamedTuple):
    """What a field's value may be: a phrase for messages, and the test."""

    phrase: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


STRING = Kind("a string", lambda value: isinstance(value, str))
BOOLEAN = Kind("a boolean", lambda value: isinstance(value, bool))
INTEGER = Kind("an integer", _is_integer)
NUMBER = Kind("a number", _is_number)
ARRAY = Kind("an array", lambda value: isinstance(value, list))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
STRING_OR_ARRAY = Kind("a string or an array", lambda value: isinstance(value, (str, list)))
STRING_OR_OBJECT = Kind("a string or an object", lambda value: isinstance(value, (str, dict)))
STRINGS = Kind(
    "an array of strings",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)
STRING_OR_STRINGS = Kind(
    "a string or an array of strings",
    lambda value: STRING.accepts(value) or STRINGS.accepts(value),
)


def number_between(low: float, high: float) -> Kind:
    """A number within those bounds, both included."""
    phrase = f"a number between {low:g} and {high:g}"
    return Kind(phrase, lambda value: _is_number(value) and low <= value <= high)


def integer_from(low: int) -> Kind:
    """A whole number of at least `low`."""
    return Kind(f"an integer of at least {low}", lambda v: _is_integer(v) and v >= low)


def one_of(*words: str) -> Kind:
    """One of those words."""
    phrase = "one of " + ", ".join(f"'{word}'" for word in words)
    return Kind(phrase, lambda value: isinstance(value, str) and value in words)


Fields = Mapping[str, Kind]


Path = tuple[Any, ...]


class Voice(Protocol):
    """How a vendor words what is wrong with a field. `path` is such as ("messages", 0, "role")."""

    def unknown(self, path: Path) -> VendorError:
        """A field that the API does not have."""

    def missing(self, path: Path) -> VendorError:
        """A required field that is not there."""

    def wrong(self, path: Path, expected: str) -> VendorError:
        """A field whose value is not `expected`."""


def bracketed(path: Path) -> str:
    """`path` as OpenAI and Google write it: messages[0].role."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def check_fields(
    body: Any,
    fields: Fields,
    voice: Voice,
    *,
    path: Path = (),
    required: tuple[str, ...] = (),
    strict: bool = True,
) -> None:
    """Raise the vendor's `VendorError` unless `body` is an object with these fields.

    A null counts as a field left out. `strict` False lets unknown fields pass.
    """
    if not isinstance(body, dict):
        raise voice.wrong(path, "an object")
    for name in required:
        if body.get(name) is None:
            raise voice.missing((*path, name))
    for name, value in body.items():
        kind = fields.get(name)
        if kind is None:
            if strict:
                raise voice.unknown((*path, name))
        elif value is not None and not kind.accepts(value):
            raise voice.wrong((*path, name), kind.phrase)
