"""The fields and messages Chat Completions accepts, and how OpenAI words what is wrong."""

from __future__ import annotations

from typing import Any

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
_PARTS = frozenset(("text", "image_url", "input_audio", "file", "refusal"))


class _Voice:
    """See `Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        return VendorError(
            400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"
        )

    def missing(self, path: Path) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        message = f"Missing required parameter: '{name}'."
        return VendorError(400, message, param=name, code="missing_required_parameter")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        message = f"Invalid value for '{name}': expected {expected}."
        return VendorError(400, message, param=name or None, code="invalid_value")


VOICE = _Voice()


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
    return role, "".join(
        _read_part(part, (*path, "content", index)) for index, part in enumerate(content or ())
    )


def _read_part(part: Any, path: Path) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _PARTS:
        raise VOICE.wrong((*path, "type"), one_of(*sorted(_PARTS)).phrase)
    if kind != "text":
        return ""
    if not isinstance(part.get("text"), str):
        raise VOICE.missing((*path, "text"))
    return str(part["text"])
