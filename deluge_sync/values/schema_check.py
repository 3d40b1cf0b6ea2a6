"""Whether a JSON Schema that somebody wrote is one that can be sent and answers be held against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable

from .errors import ConfigError
from .patterns import compiled
from .validation import KINDS, resolve

DEEPEST_SCHEMA = 100
"""Levels of objects and arrays in one another. Vendors take far less."""

MAPS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE_SCHEMAS = ("items", "additionalProperties", "not")


def sound_schema(source: Any) -> dict[str, Any]:
    """`source` as plain JSON, a copy. A `ConfigError` names the place of what is wrong with it."""
    schema = _plain(source, "schema", 0)
    _check(schema, "schema", schema)
    return schema  # type: ignore[no-any-return]


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > DEEPEST_SCHEMA:
        raise ConfigError(
            f"{where[:80]}...: nested deeper than {DEEPEST_SCHEMA} levels, or holds itself; "
            "repeat a part with $defs and $ref"
        )
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ConfigError(f"{where}: the name {name!r} is not a string")
        return {name: _plain(part, f"{where}.{name}", depth + 1) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, f"{where}[{place}]", depth + 1) for place, part in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ConfigError(f"{where}: JSON has no {type(value).__name__} such as {value!r:.40}")


def _check(schema: Any, where: str, root: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ConfigError(f"{where}: a schema is an object such as {{'type': 'string'}}")
    for word, argument in schema.items():
        wanted = _SHAPES.get(word)
        if wanted is not None and not wanted[0](argument):
            raise ConfigError(f"{where}.{word}: must be {wanted[1]}")
    if "$ref" in schema:
        try:
            resolve(root, schema["$ref"])
        except LookupError as error:
            raise ConfigError(f"{where}.$ref: {schema['$ref']!r}: {error.args[0]}") from None
    for path, part in subschemas(schema):
        _check(part, where + path, root)


def subschemas(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The schemas directly in a sound one, with their paths: (".properties.age", {...})."""
    found: list[tuple[str, Any]] = []
    for word in MAPS_OF_SCHEMAS:
        found += [(f".{word}.{name}", part) for name, part in schema.get(word, {}).items()]
    for word in LISTS_OF_SCHEMAS:
        parts = enumerate(schema.get(word, ()))
        found += [(f".{word}[{place}]", part) for place, part in parts]
    found += [(f".{word}", schema[word]) for word in SINGLE_SCHEMAS if word in schema]
    return found


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(name, str) and name in KINDS for name in value)
    return isinstance(value, str) and value in KINDS


def _is_pattern(value: Any) -> bool:
    return isinstance(value, str) and compiled(value) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_COUNT = (_is_count, "a number of 0 or more")
_NUMBER = (_is_number, "a number")
_OBJECT = (_is_object, "an object")
_FORMS = (_is_list, "a list of schemas with at least one in it")

_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, f"one of {', '.join(KINDS)}, or a list of these"),
    "enum": (_is_list, "a list with at least one value in it"),
    "required": (_are_names, "a list of names"),
    "properties": _OBJECT,
    "patternProperties": (
        lambda value: _is_object(value) and all(map(_is_pattern, value)),
        "an object whose names are regular expressions that Python can read",
    ),
    "$defs": _OBJECT,
    "definitions": _OBJECT,
    "anyOf": _FORMS,
    "oneOf": _FORMS,
    "allOf": _FORMS,
    "prefixItems": _FORMS,
    "items": (
        lambda value: not isinstance(value, list),
        "one schema; a list of them is 'prefixItems' since draft 2020-12",
    ),
    "$ref": (lambda value: isinstance(value, str), "a string such as '#/$defs/Place'"),
    "pattern": (
        _is_pattern,
        "a regular expression that Python can read, without a repeat in a repeat such as (a+)+",
    ),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
}
