"""The fields and blocks the Messages API accepts, and how Anthropic words what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import (
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    STRING_OR_ARRAY,
    STRING_OR_OBJECT,
    STRINGS,
    Fields,
    Path,
    VendorError,
    check_fields,
    integer_from,
    number_between,
    one_of,
)

COUNT_FIELDS: Fields = {
    "model": STRING,
    "messages": ARRAY,
    "system": STRING_OR_ARRAY,
    "cache_control": OBJECT,
    "output_config": OBJECT,
    "thinking": OBJECT,
    "tool_choice": OBJECT,
    "tools": ARRAY,
}
FIELDS: Fields = {
    **COUNT_FIELDS,
    "max_tokens": integer_from(0),
    "container": STRING_OR_OBJECT,
    "diagnostics": OBJECT,
    "inference_geo": STRING,
    "metadata": OBJECT,
    "service_tier": one_of("auto", "standard_only"),
    "speed": one_of("standard", "fast"),
    "stop_sequences": STRINGS,
    "stream": BOOLEAN,
}
SAMPLING: Fields = {
    "temperature": number_between(0, 1),
    "top_p": number_between(0, 1),
    "top_k": integer_from(0),
}
"""Taken under version 2023-06-01 only."""

_MESSAGE_FIELDS: Fields = {
    "role": one_of("user", "assistant", "system"),
    "content": STRING_OR_ARRAY,
}
_BLOCKS: Mapping[str, frozenset[str]] = {
    "user": frozenset(
        ("text", "image", "document", "search_result", "tool_result", "container_upload")
    ),
    "assistant": frozenset(
        ("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use")
    ),
    "system": frozenset(("text",)),
}
_BLOCK_REQUIRED = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "image": ("source",),
    "document": ("source",),
}
_THINKING = one_of("enabled", "disabled", "adaptive", "between_tools")
_LEAST_BUDGET = 1024


class _Voice:
    """See `Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path)}: Extra inputs are not permitted")

    def missing(self, path: Path) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path)}: Field required")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `Voice`."""
        return VendorError(400, f"{dotted(path) or 'body'}: Input should be {expected}")


VOICE = _Voice()


def dotted(path: Path) -> str:
    """`path` as Anthropic writes it: messages.0.role."""
    return ".".join(map(str, path))


def check_values(body: Mapping[str, Any]) -> None:
    """The rules that span fields."""
    thinking = body.get("thinking")
    if not thinking:
        return
    if not isinstance(thinking.get("type"), str) or not _THINKING.accepts(thinking["type"]):
        raise VOICE.wrong(("thinking", "type"), _THINKING.phrase)
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        if not integer_from(_LEAST_BUDGET).accepts(budget):
            phrase = f"greater than or equal to {_LEAST_BUDGET}"
            raise VOICE.wrong(("thinking", "budget_tokens"), phrase)
        if body.get("max_tokens") is not None and body["max_tokens"] <= budget:
            raise VendorError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")


def read_turns(
    body: Mapping[str, Any], strict: bool
) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system text, the turns, and all text joined. Raises Anthropic's `VendorError`s."""
    messages = body["messages"]
    if not messages:
        raise VendorError(400, "messages: at least one message is required")
    system = _read_content(body.get("system") or "", "system", ("system",))
    turns = []
    for at, message in enumerate(messages):
        path: Path = ("messages", at)
        required = ("role", "content")
        check_fields(message, _MESSAGE_FIELDS, VOICE, path=path, required=required, strict=strict)
        if not message["content"] and not (
            at == len(messages) - 1 and message["role"] == "assistant"
        ):
            raise VendorError(
                400,
                f"messages.{at}: all messages must have non-empty content except for the "
                "optional final assistant message",
            )
        path = (*path, "content")
        turns.append((message["role"], _read_content(message["content"], message["role"], path)))
    every = system + "".join(text for _, text in turns)
    return system or None, tuple(turns), every


def _read_content(content: Any, role: str, path: Path) -> str:
    if isinstance(content, str):
        return content
    return "".join(_read_block(block, role, (*path, at)) for at, block in enumerate(content))


def _read_block(block: Any, role: str, path: Path) -> str:
    """The text of one block; blocks without text give none."""
    if not isinstance(block, dict):
        raise VOICE.wrong(path, "an object")
    kind = block.get("type")
    if kind is None:
        raise VOICE.missing((*path, "type"))
    if not isinstance(kind, str) or not _allowed(kind, role):
        raise VOICE.wrong((*path, "type"), one_of(*sorted(_BLOCKS[role])).phrase)
    for name in _BLOCK_REQUIRED.get(kind, ()):
        if block.get(name) is None:
            raise VOICE.missing((*path, kind, name))
    if kind == "tool_result":
        return _read_content(block.get("content") or "", "user", (*path, "content"))
    if kind != "text":
        return ""
    if not isinstance(block["text"], str):
        raise VOICE.wrong((*path, "text"), "a valid string")
    if not block["text"]:
        raise VendorError(400, "messages: text content blocks must be non-empty")
    return block["text"]


def _allowed(kind: str, role: str) -> bool:
    """Results of the vendor's own tools come in many kinds, all in assistant turns."""
    return kind in _BLOCKS[role] or (role == "assistant" and kind.endswith("_tool_result"))
