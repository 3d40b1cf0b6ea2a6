"""What OpenAI takes of JSON Schema, above all in strict mode, in the words of its refusals.

From OpenAI's guide to structured outputs: the root is an object, every object forbids further
properties and requires all it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .checks import VendorError

_NOT_AT_THE_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")


def check_strict(schema: Mapping[str, Any], name: str, param: str) -> None:
    """Raise OpenAI's 400 for the schema of an answer that strict mode does not take."""
    _check_root(schema, _Subject(f"response_format '{name}'", param), ("anyOf",))
    _check(schema, (), _Subject(f"response_format '{name}'", param))


def check_parameters(schema: Mapping[str, Any], name: str, param: str, *, strict: bool) -> None:
    """Raise OpenAI's 400 for the parameters of a function."""
    subject = _Subject(f"function '{name}'", param, "invalid_function_parameters")
    _check_root(schema, subject, ())
    if any(word in schema for word in _NOT_AT_THE_TOP):
        words = "/".join(f"'{word}'" for word in _NOT_AT_THE_TOP)
        problem = f"schema must have type 'object' and not have {words} at the top level."
        raise subject.refused(problem)
    if strict:
        _check(schema, (), subject)


class _Subject(NamedTuple):
    """What a schema is of, and where it stands."""

    what: str
    param: str
    code: str = "invalid_json_schema"

    def refused(self, problem: str) -> VendorError:
        message = f"Invalid schema for {self.what}: {problem}"
        return VendorError(400, message, param=self.param, code=self.code)


def _check_root(schema: Mapping[str, Any], subject: _Subject, refused: tuple[str, ...]) -> None:
    kind = schema.get("type")
    if kind != "object" or any(word in schema for word in refused):
        problem = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        raise subject.refused(problem)


def _check(schema: Any, path: tuple[str, ...], subject: _Subject) -> None:
    if isinstance(schema, list):
        for at, item in enumerate(schema):
            _check(item, (*path, str(at)), subject)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        _check_object(schema, path, subject)
    for word in ("properties", "$defs", "definitions"):
        for step, value in (schema.get(word) or {}).items():
            _check(value, (*path, word, step), subject)
    for word in ("items", "anyOf"):
        _check(schema.get(word), (*path, word), subject)


def _check_object(schema: dict[str, Any], path: tuple[str, ...], subject: _Subject) -> None:
    if schema.get("additionalProperties") is not False:
        problem = "'additionalProperties' is required to be supplied and to be false."
        raise subject.refused(f"In context={path}, {problem}")
    missing = [
        word for word in schema.get("properties", {}) if word not in schema.get("required", ())
    ]
    if missing:
        problem = (
            "'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0]}'."
        )
        raise subject.refused(f"In context={path}, {problem}")
