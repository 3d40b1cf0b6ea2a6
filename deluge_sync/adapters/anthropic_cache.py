"""Anthropic Messages: breakpoints of the prompt cache.

From the anthropic SDK 2.12 (`types/cache_control_ephemeral_param`). The vendor reads a prompt in
the order tools, system, messages, and takes at most four breakpoints; whatever stands before one
is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import ConfigError
from ..values.request import PromptCache

_MOST_BREAKPOINTS = 4
_LIFETIMES = (None, "5m", "1h")


def mark_tools(extra_body: Mapping[str, Any], cache: PromptCache | None) -> Mapping[str, Any]:
    """`extra_body` with a breakpoint behind its last tool, where `cache` wants one.

    A tool that has one keeps it. `ConfigError` where there would be more than four, those of
    `mark_prompt` included.
    """
    tools = extra_body.get("tools")
    if cache is None or not isinstance(tools, (list, tuple)) or not tools:
        return extra_body
    if cache.pattern in ("tools_only", "system_and_tools") and isinstance(tools[-1], Mapping):
        tools = [*tools[:-1], {**_control(cache), **tools[-1]}]
    marked = sum(isinstance(tool, Mapping) and "cache_control" in tool for tool in tools)
    marked += cache.user_messages or (cache.pattern == "system_and_tools")
    if marked > _MOST_BREAKPOINTS:
        raise ConfigError(
            f"cache={cache.pattern!r} makes {marked} breakpoints with those of the tools; "
            f"Anthropic takes at most {_MOST_BREAKPOINTS}"
        )
    return {**extra_body, "tools": tools}


def mark_prompt(body: dict[str, Any], cache: PromptCache) -> None:
    """Put the breakpoints of `cache` behind the system prompt or user messages of `body`.

    A prompt without what is to be marked is left as it is.
    """
    control = _control(cache)
    if cache.pattern == "system_and_tools" and "system" in body:
        body["system"] = [{"type": "text", "text": body["system"], **control}]
    if cache.user_messages:
        turns = [turn for turn in body["messages"] if turn["role"] == "user"]
        for turn in turns[-cache.user_messages :]:
            turn["content"] = _marked(turn["content"], control)


def _marked(content: Any, control: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*blocks[:-1], {**blocks[-1], **control}]


def _control(cache: PromptCache) -> dict[str, Any]:
    if cache.ttl not in _LIFETIMES:
        raise ConfigError(f"cache_ttl at Anthropic is '5m' or '1h', not {cache.ttl!r}")
    kind = {"type": "ephemeral"}
    return {"cache_control": {**kind, "ttl": cache.ttl} if cache.ttl else kind}
