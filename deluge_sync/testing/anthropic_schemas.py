"""What Anthropic takes of JSON Schema, for `output_config.format` and strict tools, and how it
refuses the rest.

From its page on structured outputs and the anthropic SDK 2.12 (`lib/_parse/_transform.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import VendorError

_UNSUPPORTED: Mapping[str, frozenset[str]] = {
    "integer": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    "number": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    "string": frozenset(("minLength", "maxLength")),
    "array": frozenset(("maxItems", "uniqueItems", "prefixItems", "contains")),
    "object": frozenset(("patternProperties", "minProperties", "maxProperties", "propertyNames")),
}
_NEVER = ("oneOf", "not", "if")


def check_schema(schema: Any, where: str) -> None:
    """Raise Anthropic's 400 for a schema, at `where` in the body, that it does not take."""
    if isinstance(schema, list):
        for part in schema:
            check_schema(part, where)
    if not isinstance(schema, dict):
        return
    _check_words(schema, where)
    for word in ("properties", "$defs", "definitions"):
        parts = schema.get(word) or {}
        if not isinstance(parts, dict):
            raise _refused(f"'{word}' must be an object", where)
        check_schema(list(parts.values()), where)
    for word in ("items", "anyOf", "allOf"):
        check_schema(schema.get(word), where)


def _check_words(schema: dict[str, Any], where: str) -> None:
    kind = schema.get("type")
    for name in kind if isinstance(kind, list) else [kind]:
        refused = sorted(_UNSUPPORTED.get(str(name), frozenset()) & schema.keys())
        if refused:
            raise _refused(
                f"For '{name}' type, properties {', '.join(refused)} are not supported", where
            )
        if name == "array" and schema.get("minItems") not in (None, 0, 1):
            raise _refused(
                "For 'array' type, 'minItems' values other than 0 or 1 are not supported", where
            )
        if name == "object" and schema.get("additionalProperties") is not False:
            raise _refused(
                "For 'object' type, 'additionalProperties' must be explicitly set to false", where
            )
    for word in _NEVER:
        if word in schema:
            raise _refused(f"Schema keyword '{word}' is not supported", where)


def _refused(message: str, where: str) -> VendorError:
    return VendorError(400, f"{where}: {message}")
