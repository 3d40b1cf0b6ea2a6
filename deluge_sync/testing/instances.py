"""A value that fits a JSON Schema (draft 2020-12): what the sandbox answers where one is asked for.

The same schema gives the same value. `pattern`, `not`, `if` and `dependent...` are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable

DEEPEST = 6
"""From here on, what may be left out is: schemas may hold themselves."""

_FORMATS = {
    "date": "2026-11-22",
    "date-time": "2026-11-22T12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any) -> Any:
    """A value that fits `schema`; `ValueError` where it names what is not there."""
    return _Instances(schema).of(schema, 0)


class _Instances:
    """Makes values; `root` is what references are looked up in."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._makers: dict[str, Callable[[Mapping[str, Any], int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _integer,
            "number": _number,
            "boolean": lambda schema, depth: True,
            "null": lambda schema, depth: None,
        }

    def of(self, schema: Any, depth: int) -> Any:
        if depth > 4 * DEEPEST:
            raise ValueError("no value of this schema ever ends")
        if not isinstance(schema, Mapping):
            return "value"  # `true`, which takes anything
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                chosen = self._choice(schema[word], depth)
                rest = {name: value for name, value in schema.items() if name != word}
                return self.of(_both(rest, self._resolved(chosen)), depth)
        return self._makers[_type(schema, depth)](schema, depth)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """`schema` with its reference and its `allOf` put into it."""
        for _ in range(100):
            if "$ref" in schema:
                rest = {name: value for name, value in schema.items() if name != "$ref"}
                schema = _both(self._target(schema["$ref"]), rest)
            elif schema.get("allOf"):
                first, *others = schema["allOf"]
                rest = {name: value for name, value in schema.items() if name != "allOf"}
                schema = _both({**rest, "allOf": others} if others else rest, first)
            else:
                return schema
        raise ValueError("the schema refers to itself without end")

    def _target(self, reference: str) -> Any:
        found = self._root
        for step in reference.lstrip("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise ValueError(f"the schema refers to {reference}, which is not there")
            found = found[name]
        return found

    def _choice(self, choices: list[Any], depth: int) -> Any:
        """The first; in the depths, one that ends."""
        if depth < DEEPEST:
            return choices[0]
        return min(choices, key=lambda one: _weight(one) if isinstance(one, Mapping) else 0)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self.of(value, depth + 1)
            for name, value in {**dict.fromkeys(required), **schema.get("properties", {})}.items()
            if name in required or depth < DEEPEST
        }

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        prefix = schema.get("prefixItems", [])
        count = max(least, len(prefix), 0 if depth >= DEEPEST else 1)
        count = min(count, schema.get("maxItems", count))
        items = [*prefix, *[schema.get("items", True)] * count][:count]
        if items and items[-1] is False:
            items = list(prefix)
        made = [self.of(item, depth + 1) for item in items]
        return _told_apart(made) if schema.get("uniqueItems") else made


def _both(first: Any, second: Any) -> Mapping[str, Any]:
    """What fits the one and the other, as far as they speak of different things."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second if isinstance(second, Mapping) else first
    joined = {**first, **second}
    if "properties" in first and "properties" in second:
        joined["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        joined["required"] = [*first["required"], *second["required"]]
    return joined


def _type(schema: Mapping[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return "null" if "null" in kind and depth >= DEEPEST else str(kind[0])
    if kind is not None:
        return str(kind)
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _weight(schema: Mapping[str, Any]) -> int:
    return {"null": 0, "object": 3, "array": 2}.get(schema.get("type", "object"), 1)


def _string(schema: Mapping[str, Any], depth: int) -> str:
    text = _FORMATS.get(schema.get("format", ""), "text")
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _integer(schema: Mapping[str, Any], depth: int) -> int:
    return int(_number({"multipleOf": 1, **schema}, depth))


def _number(schema: Mapping[str, Any], depth: int) -> Any:
    """The smallest there may be, else the largest, else 1; a whole one where that fits."""
    step = schema.get("multipleOf", 1)
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema.get("exclusiveMinimum") is not None:
        low = max(schema["exclusiveMinimum"] + step, -math.inf if low is None else low)
    if schema.get("exclusiveMaximum") is not None:
        high = min(schema["exclusiveMaximum"] - step, math.inf if high is None else high)
    if low is None and high is None:
        return step
    number = math.ceil(low / step) * step if low is not None else math.floor(high / step) * step
    if high is not None and number > high:  # between two whole numbers
        return (low + high) / 2
    return number


def _told_apart(items: list[Any]) -> list[Any]:
    return [
        item + at if type(item) is int else f"{item}{at}" if isinstance(item, str) and at else item
        for at, item in enumerate(items)
    ]
