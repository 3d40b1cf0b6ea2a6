"""What OpenAI's strict mode takes of JSON Schema, in the words of its refusals.

From OpenAI's guide to structured outputs: the root is an object, every object forbids further
properties and requires all it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import VendorError


def check_strict(schema: Mapping[str, Any], name: str, param: str) -> None:
    """Raise OpenAI's 400 for a schema that strict mode does not take."""
    if schema.get("type") != "object" or "anyOf" in schema:
        kind = schema.get("type")
        problem = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        raise _refused(name, problem, param)
    _check(schema, (), name, param)


def _check(schema: Any, path: tuple[str, ...], name: str, param: str) -> None:
    if isinstance(schema, list):
        for at, item in enumerate(schema):
            _check(item, (*path, str(at)), name, param)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        _check_object(schema, path, name, param)
    for word in ("properties", "$defs", "definitions"):
        for step, value in (schema.get(word) or {}).items():
            _check(value, (*path, word, step), name, param)
    for word in ("items", "anyOf"):
        _check(schema.get(word), (*path, word), name, param)


def _check_object(schema: dict[str, Any], path: tuple[str, ...], name: str, param: str) -> None:
    if schema.get("additionalProperties") is not False:
        problem = "'additionalProperties' is required to be supplied and to be false."
        raise _refused(name, f"In context={path}, {problem}", param)
    missing = [
        word for word in schema.get("properties", {}) if word not in schema.get("required", ())
    ]
    if missing:
        problem = (
            "'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0]}'."
        )
        raise _refused(name, f"In context={path}, {problem}", param)


def _refused(name: str, problem: str, param: str) -> VendorError:
    message = f"Invalid schema for response_format '{name}': {problem}"
    return VendorError(400, message, param=param, code="invalid_json_schema")
