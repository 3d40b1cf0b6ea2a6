"""The fields and messages Chat Completions accepts, and how OpenAI words what is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Callable

from .checks import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    STRING_OR_ARRAY,
    STRING_OR_OBJECT,
    STRING_OR_STRINGS,
    Fields,
    Path,
    VendorError,
    bracketed,
    check_fields,
    integer_from,
    number_between,
    one_of,
)
from .openai_schemas import check_strict
from .openai_tools import check_turns
from .openai_voice import VOICE

FIELDS: Fields = {
    "model": STRING,
    "messages": ARRAY,
    "audio": OBJECT,
    "frequency_penalty": number_between(-2, 2),
    "function_call": STRING_OR_OBJECT,
    "functions": ARRAY,
    "logit_bias": OBJECT,
    "logprobs": BOOLEAN,
    "max_completion_tokens": integer_from(1),
    "max_tokens": integer_from(1),
    "metadata": OBJECT,
    "modalities": ARRAY,
    "moderation": OBJECT,
    "n": integer_from(1),
    "parallel_tool_calls": BOOLEAN,
    "prediction": OBJECT,
    "presence_penalty": number_between(-2, 2),
    "prompt_cache_key": STRING,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": one_of("in_memory", "24h"),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "response_format": OBJECT,
    "safety_identifier": STRING,
    "seed": INTEGER,
    "service_tier": one_of("auto", "default", "flex", "scale", "priority", "fast"),
    "stop": STRING_OR_STRINGS,
    "store": BOOLEAN,
    "stream": BOOLEAN,
    "stream_options": OBJECT,
    "temperature": number_between(0, 2),
    "tool_choice": STRING_OR_OBJECT,
    "tools": ARRAY,
    "top_logprobs": integer_from(0),
    "top_p": number_between(0, 1),
    "user": STRING,
    "verbosity": one_of("low", "medium", "high"),
    "web_search_options": OBJECT,
}

_TEXT = {"content": STRING_OR_ARRAY, "name": STRING, "role": STRING}
_ROLES: dict[str, Fields] = {
    "system": _TEXT,
    "developer": _TEXT,
    "user": _TEXT,
    "assistant": {
        **_TEXT,
        "annotations": ARRAY,  # in an answer only; whoever sends one back as it came has them
        "audio": OBJECT,
        "function_call": OBJECT,
        "refusal": STRING,
        "tool_calls": ARRAY,
        # What servers of the same wire format ask to have sent back (DeepSeek in thinking mode).
        "reasoning_content": STRING,
    },
    "tool": {**_TEXT, "tool_call_id": STRING},
    "function": _TEXT,
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "assistant": (),
    "tool": ("content", "tool_call_id"),
    "function": ("content", "name"),
}
_BREAKPOINT: Fields = {"mode": one_of("explicit"), "ttl": one_of("30m", "12h")}
_MARKED: Fields = {"type": STRING, "prompt_cache_breakpoint": OBJECT}
_TEXT_PART: Mapping[str, Fields] = {"text": {**_MARKED, "text": STRING}}
_PARTS: Mapping[str, Mapping[str, Fields]] = {
    "user": {
        **_TEXT_PART,
        "image_url": {**_MARKED, "image_url": OBJECT},
        "input_audio": {**_MARKED, "input_audio": OBJECT},
        "file": {**_MARKED, "file": OBJECT},
    },
    "assistant": {**_TEXT_PART, "refusal": {"type": STRING, "refusal": STRING}},
}
"""The parts of a content by the message's role; the others take texts alone."""
_HELD: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "image_url": (
        {"url": STRING, "detail": one_of("auto", "low", "high", "original")},
        ("url",),
    ),
    "input_audio": ({"data": STRING, "format": one_of("wav", "mp3")}, ("data", "format")),
    "file": ({"file_data": STRING, "file_id": STRING, "filename": STRING}, ()),
}
_IMAGE_URL = re.compile(r"https?://\S+|data:image/(?:png|jpeg|gif|webp);base64,(.+)", re.DOTALL)
_FILE_DATA = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,(.+)", re.DOTALL)

_NESTED: Mapping[str, Fields] = {
    "prompt_cache_options": {"mode": one_of("implicit", "explicit"), "ttl": one_of("30m")},
    "stream_options": {"include_usage": BOOLEAN, "include_obfuscation": BOOLEAN},
    "response_format": {
        "type": one_of("text", "json_object", "json_schema"),
        "json_schema": OBJECT,
    },
}
_SCHEMA: Fields = {"name": STRING, "description": STRING, "schema": OBJECT, "strict": BOOLEAN}
_SCHEMA_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_messages(
    messages: list[Any], strict: bool
) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system text, the other turns, and all text joined. Raises OpenAI's `VendorError`s."""
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
        raise VendorError(400, message, param="messages", code="empty_array")
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    for at, message in enumerate(messages):
        role, text = _read_message(message, at, strict)
        if role in ("system", "developer"):
            system.append(text)
        else:
            turns.append((role, text))
    check_turns(messages, strict)
    every = [*system, *(text for _, text in turns)]
    return "\n\n".join(system) if system else None, tuple(turns), "".join(every)


def _read_message(message: Any, at: int, strict: bool) -> tuple[str, str]:
    path = ("messages", at)
    if not isinstance(message, dict):
        raise VOICE.wrong(path, "an object")
    role = message.get("role")
    if role is None:
        raise VOICE.missing((*path, "role"))
    if not isinstance(role, str) or role not in _ROLES:
        raise VOICE.wrong((*path, "role"), one_of(*_ROLES).phrase)
    required = _REQUIRED.get(role, ("content",))
    check_fields(message, _ROLES[role], VOICE, path=path, required=required, strict=strict)
    content = message.get("content")
    if content is None and not (message.get("tool_calls") or message.get("refusal")):
        raise VOICE.missing((*path, "content"))
    if isinstance(content, str):
        return role, content
    parts = _PARTS.get(role, _TEXT_PART)
    return role, "".join(
        _read_part(part, parts, (*path, "content", index), strict)
        for index, part in enumerate(content or ())
    )


def _read_part(part: Any, parts: Mapping[str, Fields], path: Path, strict: bool) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in parts:
        raise VOICE.wrong((*path, "type"), one_of(*sorted(parts)).phrase)
    check_fields(part, parts[kind], VOICE, path=path, required=(kind,), strict=strict)
    mark = part.get("prompt_cache_breakpoint")
    if mark is not None:
        where = (*path, "prompt_cache_breakpoint")
        check_fields(mark, _BREAKPOINT, VOICE, path=where, required=("mode",), strict=strict)
    if kind in _HELD:
        fields, required = _HELD[kind]
        where = (*path, kind)
        check_fields(part[kind], fields, VOICE, path=where, required=required, strict=strict)
        _CHECKS[kind](part[kind], where)
    return str(part["text"]) if kind == "text" else ""


def _check_image(held: Any, path: Path) -> None:
    match = _IMAGE_URL.fullmatch(held["url"])
    if match is None or (match[1] and not _is_base64(match[1])):
        raise VOICE.wrong((*path, "url"), "an http(s) URL or a base64 data URL of a picture")


def _check_audio(held: Any, path: Path) -> None:
    if not _is_base64(held["data"]):
        raise VOICE.wrong((*path, "data"), "base64")


def _check_file(held: Any, path: Path) -> None:
    """As the vendor, which takes PDFs alone here (its words as users report them)."""
    data = held.get("file_data")
    if (data is None) == (held.get("file_id") is None):
        raise VOICE.wrong(path, "an object with either file_id or file_data")
    if data is None:
        return
    match = _FILE_DATA.fullmatch(data)
    if match is None or not _is_base64(match[2]) or match[1] != "application/pdf":
        name = bracketed((*path, "file_data"))
        got = f", but got unsupported MIME type '{match[1]}'" if match else ""
        message = (
            f"Invalid file data: '{name}'. Expected a base64-encoded data URL with an "
            "application/pdf MIME type (e.g. 'data:application/pdf;base64,SGVsbG8sIFdvcmxkIQ==')"
            f"{got}."
        )
        raise VendorError(400, message, param=name, code="invalid_value")


_CHECKS: Mapping[str, Callable[[Any, Path], None]] = {
    "image_url": _check_image,
    "input_audio": _check_audio,
    "file": _check_file,
}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def check_options(body: Mapping[str, Any], strict: bool) -> None:
    """Raise OpenAI's refusal of options that do not fit each other."""
    for name, nested in _NESTED.items():
        if body.get(name) is not None:
            check_fields(body[name], nested, VOICE, path=(name,), strict=strict)
    for name, other in (("stream_options", "stream"), ("top_logprobs", "logprobs")):
        if body.get(name) is not None and not body.get(other):
            message = f"The '{name}' parameter is only allowed when '{other}' is enabled."
            raise VendorError(400, message, param=name)
    if (body.get("top_logprobs") or 0) > 20:
        raise VOICE.wrong(("top_logprobs",), "an integer of at most 20")


def wanted_schema(body: Mapping[str, Any], text: str, strict: bool) -> Mapping[str, Any] | None:
    """The schema that the answer is to fit: {} for any object, None where it may be any text."""
    wanted = body.get("response_format") or {"type": "text"}
    if wanted.get("type") is None:
        raise VOICE.missing(("response_format", "type"))
    if wanted["type"] == "json_object":
        if "json" not in text.lower():
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' "
                "of type 'json_object'."
            )
            raise VendorError(400, message, param="messages")
        return {}
    if wanted["type"] == "text":
        return None
    path = ("response_format", "json_schema")
    held = wanted.get("json_schema")
    if held is None:
        raise VOICE.missing(path)
    check_fields(held, _SCHEMA, VOICE, path=path, required=("name",), strict=strict)
    if not _SCHEMA_NAME.fullmatch(held["name"]):
        raise VOICE.wrong((*path, "name"), "up to 64 letters, digits, underscores and dashes")
    schema: Mapping[str, Any] = held.get("schema") or {}
    if held.get("strict"):
        check_strict(schema, held["name"], "response_format")
    return schema
