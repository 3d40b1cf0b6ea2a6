"""What a server's tools were when they were accepted, and what has changed since.

A server may show harmless tools first and others later (CVE-2025-54136), so what was accepted is
kept as hashes, a *pin*, and a tool that differs from it is refused.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..values.errors import ToolChangedError
from ..values.mcp_tools import Pin

LONGEST_NAME = 64


@dataclass(frozen=True)
class Definition:
    """A tool as its server describes it, word for word."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    output: Optional[Mapping[str, Any]] = None


def pin_of(definitions: Iterable[Definition]) -> Pin:
    """The pin of these tools as they are now."""
    return {definition.name: _hashes(definition) for definition in definitions}


def changes(pin: Pin, definitions: Iterable[Definition]) -> dict[str, str]:
    """By a tool's name, what is new or differs from `pin`. A tool that is gone does no harm."""
    found: dict[str, str] = {}
    for definition in definitions:
        accepted, present = pin.get(definition.name), _hashes(definition)
        if accepted is None:
            found[definition.name] = "is new"
            continue
        parts = [part for part in present if accepted.get(part) != present[part]]
        if parts:
            found[definition.name] = f"has another {' and another '.join(parts)}"
    return found


def refuse(server: str, found: Mapping[str, str]) -> None:
    """Raise a `ToolChangedError` that names the changes, where there are any."""
    if found:
        told = tuple(f"{name} {what}" for name, what in found.items())
        shown = "; ".join(told[:5]) + ("; ..." if len(told) > 5 else "")
        raise ToolChangedError(
            f"MCP server {server}: {shown}; refused until the developer has looked at it and "
            "accepted it",
            changes=told,
        )


def visible(text: str) -> str:
    """`text` without characters that a person does not see and a model reads: Unicode's tags and
    other format characters, variation selectors, control and private ones.
    """
    return "".join(character for character in text if _is_visible(character))


def visible_schema(schema: Any) -> Any:
    """The same of the titles and descriptions in a schema; values stay as they are."""
    if isinstance(schema, list):
        return [visible_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: visible(part)
        if name in ("description", "title") and isinstance(part, str)
        else part
        if name in ("enum", "const", "default", "examples", "required")
        and not isinstance(part, Mapping)
        else visible_schema(part)
        for name, part in schema.items()
    }


def names_of(server: str, tools: Iterable[str]) -> dict[str, str]:
    """By a tool's own name, the one that models get: `server__tool`, of the characters that all
    vendors take. One that is too long, or would be another's, ends in a hash of its own name.
    """
    names: dict[str, str] = {}
    for tool in sorted(tools, key=lambda tool: (_plain(tool) != tool, tool)):
        name = f"{server}__{_plain(tool)}"
        if len(name) > LONGEST_NAME or name in names.values():
            name = f"{name[: LONGEST_NAME - 9]}_{_sha256(tool)[:8]}"
        names[tool] = name
    return names


def _plain(name: str) -> str:
    return "".join(
        letter if (letter.isascii() and letter.isalnum()) or letter in "_-" else "_"
        for letter in name
    )


def _is_visible(character: str) -> bool:
    if character in "\n\t":
        return True
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return False
    return not unicodedata.category(character).startswith("C")


def _hashes(definition: Definition) -> dict[str, str]:
    return {
        "description": _sha256(definition.description),
        "input schema": _sha256(_canonical(definition.parameters)),
        "output schema": _sha256(_canonical(definition.output)),
    }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
