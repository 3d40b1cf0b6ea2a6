"""The fields and blocks the Messages API accepts, and how Anthropic words what is wrong."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from ..values.media import media_type_of
from .anthropic_answers import signature_of
from .anthropic_prefixes import text_of
from .anthropic_schemas import check_schema
from .anthropic_voice import VOICE, dotted
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
        (
            "text",
            "thinking",
            "redacted_thinking",
            "tool_use",
            "server_tool_use",
            "mcp_tool_use",
            "mcp_tool_listing",
            "container_upload",
        )
    ),
    "tool_result": frozenset(("text", "image", "document", "search_result", "tool_reference")),
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
_CACHED = frozenset(
    ("text", "image", "document", "search_result", "tool_use", "tool_result", "server_tool_use")
)
_CACHE_FIELDS: Fields = {"type": one_of("ephemeral"), "ttl": one_of("5m", "1h")}
_MOST_BREAKPOINTS = 4
_OUTPUT_FIELDS: Fields = {
    "effort": one_of("low", "medium", "high", "xhigh", "max"),
    "format": OBJECT,
    "task_budget": OBJECT,
}
_FORMAT_FIELDS: Fields = {"type": one_of("json_schema"), "schema": OBJECT}
_SOURCES: Mapping[str, Mapping[str, Fields]] = {
    "image": {
        "base64": {
            "media_type": one_of("image/jpeg", "image/png", "image/gif", "image/webp"),
            "data": STRING,
        },
        "url": {"url": STRING},
        "file": {"file_id": STRING},
    },
    "document": {
        "base64": {"media_type": one_of("application/pdf"), "data": STRING},
        "text": {"media_type": one_of("text/plain"), "data": STRING},
        "content": {"content": STRING_OR_ARRAY},
        "url": {"url": STRING},
        "file": {"file_id": STRING},
    },
}
_MOST_PICTURE = 10 << 20
_THINKING = one_of("enabled", "disabled", "adaptive", "between_tools")
_LEAST_BUDGET = 1024


def check_values(body: Mapping[str, Any]) -> None:
    """The rules that span fields."""
    _check_thinking(body)
    _check_output(body.get("output_config") or {})
    if "cache_control" in body or _has_marks(body):
        _check_breakpoints(body)


def _check_thinking(body: Mapping[str, Any]) -> None:
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


def _check_output(config: Mapping[str, Any]) -> None:
    check_fields(config, _OUTPUT_FIELDS, VOICE, path=("output_config",))
    if config.get("format"):
        path = ("output_config", "format")
        required = ("type", "schema")
        check_fields(config["format"], _FORMAT_FIELDS, VOICE, path=path, required=required)
        check_schema(config["format"]["schema"], "output_config.format.schema")


def _has_marks(body: Mapping[str, Any]) -> bool:
    return any(True for _ in _marks(body))


def _marks(body: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every `cache_control` that is set, in the order the prompt is read, and its path."""
    places: list[tuple[Path, Any]] = [(("tools",), body.get("tools") or ())]
    places.append((("system",), body.get("system") or ()))
    for at, turn in enumerate(body.get("messages") or ()):
        content = turn.get("content") if isinstance(turn, dict) else None
        places.append((("messages", at, "content"), content or ()))
    for path, blocks in places:
        for at, block in enumerate(blocks if isinstance(blocks, list) else ()):
            if isinstance(block, dict) and block.get("cache_control") is not None:
                yield (*path, at, "cache_control"), block["cache_control"]
    if body.get("cache_control") is not None:
        yield ("cache_control",), body["cache_control"]


def _check_breakpoints(body: Mapping[str, Any]) -> None:
    marks = list(_marks(body))
    for path, control in marks:
        check_fields(control, _CACHE_FIELDS, VOICE, path=path, required=("type",))
    if len(marks) > _MOST_BREAKPOINTS:
        raise VendorError(
            400,
            f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {len(marks)}.",
        )
    lifetimes = [control.get("ttl") or "5m" for _, control in marks]
    if lifetimes != sorted(lifetimes):  # "1h" before "5m"
        raise VendorError(
            400, "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        )


def read_turns(
    body: Mapping[str, Any], strict: bool
) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system text, the turns, and all text joined. Raises Anthropic's `VendorError`s."""
    messages = body["messages"]
    if not messages:
        raise VendorError(400, "messages: at least one message is required")
    system = _read_content(body.get("system") or "", "system", ("system",), strict)
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
        said = _read_content(message["content"], message["role"], path, strict)
        turns.append((message["role"], said))
    tools = "".join(text_of(tool) for tool in body.get("tools") or ())
    every = tools + system + "".join(text for _, text in turns)
    return system or None, tuple(turns), every


def _read_content(content: Any, role: str, path: Path, strict: bool) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise VOICE.wrong(path, STRING_OR_ARRAY.phrase)
    blocks = enumerate(content)
    return "".join(_read_block(block, role, (*path, at), strict) for at, block in blocks)


def _read_block(block: Any, role: str, path: Path, strict: bool) -> str:
    """The text of one block; blocks without text give none."""
    if not isinstance(block, dict):
        raise VOICE.wrong(path, "an object")
    kind = _kind_of(block, role, path)
    if kind == "tool_result":
        if not isinstance(block.get("is_error") or False, bool):
            raise VOICE.wrong((*path, kind, "is_error"), "a valid boolean")
        content = block.get("content") or ""
        return _read_content(content, "tool_result", (*path, "content"), strict)
    if kind in _SOURCES:
        _check_source(block["source"], kind, (*path, kind, "source"))
    elif kind == "thinking" and strict:
        _check_signature(block, path)
    elif kind == "text":
        _check_text(block, path)
    return text_of(block)


def _kind_of(block: dict[str, Any], role: str, path: Path) -> str:
    """A block's type, which must be one for that role, and have what it requires."""
    kind = block.get("type")
    if kind is None:
        raise VOICE.missing((*path, "type"))
    if not isinstance(kind, str) or not _allowed(kind, role):
        raise VOICE.wrong((*path, "type"), one_of(*sorted(_BLOCKS[role])).phrase)
    for name in _BLOCK_REQUIRED.get(kind, ()):
        if block.get(name) is None:
            raise VOICE.missing((*path, kind, name))
    if block.get("cache_control") is not None and kind not in _CACHED:
        raise VOICE.unknown((*path, kind, "cache_control"))
    return kind


def _check_text(block: dict[str, Any], path: Path) -> None:
    if not isinstance(block["text"], str):
        raise VOICE.wrong((*path, "text"), "a valid string")
    if not block["text"]:
        raise VendorError(400, "messages: text content blocks must be non-empty")


def _check_signature(block: dict[str, Any], path: Path) -> None:
    thinking = block["thinking"]
    if not isinstance(thinking, str) or block["signature"] != signature_of(thinking):
        raise VendorError(400, f"{dotted(path)}: Invalid `signature` in `thinking` block")


def _check_source(source: Any, kind: str, path: Path) -> None:
    """A picture's or a document's: its fields, and that its data is what it says."""
    known = _SOURCES[kind]
    word = source.get("type") if isinstance(source, dict) else None
    if not isinstance(word, str) or word not in known:
        raise VOICE.wrong((*path, "type"), one_of(*known).phrase)
    fields = {"type": STRING, **known[word]}
    check_fields(source, fields, VOICE, path=path, required=tuple(fields))
    if word == "base64":
        _check_data(source, path)
    if word == "url" and not source["url"].startswith(("https://", "http://")):
        raise VendorError(400, f"{dotted(path)}.url: Only HTTP URLs are supported.")


def _check_data(source: dict[str, Any], path: Path) -> None:
    where, claimed = f"{dotted(path)}.base64", source["media_type"]
    size = len(source["data"])
    if claimed.startswith("image/") and size > _MOST_PICTURE:
        message = f"image exceeds 10 MB maximum: {size} bytes > {_MOST_PICTURE} bytes"
        raise VendorError(400, f"{where}: {message}")
    try:
        data = base64.b64decode(source["data"], validate=True)
    except (binascii.Error, ValueError):
        raise VendorError(400, f"{where}: invalid base64 data") from None
    found = media_type_of(data)
    if found != claimed:
        message = (
            f"The file was specified as {claimed}, but appears to be {found or 'something else'}"
        )
        raise VendorError(400, f"{where}: {message}")


def _allowed(kind: str, role: str) -> bool:
    """Results of the vendor's own tools come in many kinds, all in assistant turns."""
    return kind in _BLOCKS[role] or (role == "assistant" and kind.endswith("_tool_result"))
