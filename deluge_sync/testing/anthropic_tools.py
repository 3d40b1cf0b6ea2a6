"""What Anthropic takes as tools, and what it wants back of a round of them.

Fields as in the anthropic SDK 2.12 (`types/tool_union_param`, `types/beta/beta_mcp_toolset_param`,
`types/computer_toolset_configs_param`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .anthropic_schemas import check_schema
from .anthropic_voice import VOICE, dotted
from .checks import (
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    STRINGS,
    Fields,
    Path,
    VendorError,
    check_fields,
    one_of,
)

COMPUTER = frozenset(
    ("screenshot", "left_click", "right_click", "middle_click", "double_click", "triple_click",
     "left_click_drag", "left_mouse_down", "left_mouse_up", "mouse_move", "scroll", "key",
     "hold_key", "type", "wait", "zoom", "cursor_position")
)  # fmt: skip
"""The members of the computer's toolset."""

_COMPUTER_TYPE = "computer_toolset_20260801"
_MCP_BETAS = ("mcp-client-2026-09-15", "mcp-client-2025-11-20")
_OTHER_TYPES = re.compile(
    r"(?:web_search|web_fetch|code_execution|memory|bash|text_editor|tool_search_tool_\w+"
    r"|browser_toolset)_20\d{6}"
)
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL: Fields = {
    "type": one_of("custom"),
    "name": STRING,
    "description": STRING,
    "input_schema": OBJECT,
    "strict": BOOLEAN,
    "cache_control": OBJECT,
    "defer_loading": BOOLEAN,
    "input_examples": ARRAY,
    "eager_input_streaming": BOOLEAN,
    "allowed_callers": STRINGS,
}
_TOOLSET: Fields = {"type": STRING, "configs": OBJECT, "cache_control": OBJECT}
_ENABLED: Fields = {"enabled": BOOLEAN}
_MCP_ENABLED: Fields = {**_ENABLED, "defer_loading": BOOLEAN}
_MCP_TOOLSET: Fields = {
    "type": STRING,
    "mcp_server_name": STRING,
    "default_config": OBJECT,
    "configs": OBJECT,
    "tools": ARRAY,
    "cache_control": OBJECT,
}
_SERVER: Fields = {
    "type": one_of("url"),
    "name": STRING,
    "url": STRING,
    "authorization_token": STRING,
}
_CHOICE: Fields = {
    "type": one_of("auto", "any", "tool", "none"),
    "name": STRING,
    "disable_parallel_tool_use": BOOLEAN,
}
_NEVER_FORCED = ("claude-fable-5-1", "claude-mythos-5-1", "claude-opus-5-5", "claude-sonnet-5-5")
_MOST_STRICT = 20


class _Turn(NamedTuple):
    """All messages of one role in a row: their blocks, each with its path."""

    role: str
    blocks: list[tuple[Path, dict[str, Any]]]


def takes_mcp(betas: str) -> bool:
    """Whether a request with this `anthropic-beta` may name MCP servers."""
    return any(beta.strip() in _MCP_BETAS for beta in betas.split(","))


def check_tools(body: Mapping[str, Any], strict: bool) -> None:
    """Raise Anthropic's 400 for tools, MCP servers or a choice that it does not take."""
    tools = body.get("tools") or []
    servers = _servers(body.get("mcp_servers") or [], strict)
    for at, tool in enumerate(tools):
        _check_tool(tool, ("tools", at), servers, strict)
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        raise VendorError(400, "tools: Tool names must be unique.")
    named = [tool["mcp_server_name"] for tool in tools if tool.get("type") == "mcp_toolset"]
    for server in servers:
        if named.count(server) != 1:
            message = f"mcp_servers: '{server}' must be referenced by exactly one mcp_toolset"
            raise VendorError(400, message)
    if sum(bool(tool.get("strict")) for tool in tools) > _MOST_STRICT:
        raise VendorError(400, f"tools: at most {_MOST_STRICT} tools may be strict")
    if body.get("tool_choice") is not None:
        _check_choice(body["tool_choice"], tools, names, body["model"])
        _check_free(body)


def toolset_of(name: str, body: Mapping[str, Any]) -> str | None:
    """The toolset that a tool of this name belongs to in a request."""
    for tool in body.get("tools") or ():
        if tool.get("type") == _COMPUTER_TYPE and name in COMPUTER:
            config = (tool.get("configs") or {}).get(name) or {}
            return None if config.get("enabled") is False else "computer"
    return None


def id_of(serial: int, at: int, thinking: str | None, model: str) -> str:
    """The id of a tool call, by which the thinking before it is missed when it does not come
    back to the model that thought it.
    """
    mark = "sandbox0" if thinking is None else _digest(thinking)
    return f"toolu_{mark}{_digest(model)}{serial:04d}{at:02d}"


def check_rounds(body: Mapping[str, Any]) -> None:
    """Raise Anthropic's 400 where calls and results do not pair, or thinking has not come back."""
    turns = list(_turns(body["messages"]))
    calls: dict[str, dict[str, Any]] = {}
    for at, turn in enumerate(turns):
        if turn.role == "user":
            _check_results(turn, calls)
        later = turns[at + 1] if at + 1 < len(turns) else None
        calls = _calls(turn, later) if turn.role == "assistant" else {}
    if (body.get("thinking") or {}).get("type") != "disabled":
        _check_thinking(turns, str(body.get("model", "")))


def _servers(servers: list[Any], strict: bool) -> list[str]:
    for at, server in enumerate(servers):
        path: Path = ("mcp_servers", at)
        required = ("type", "name", "url")
        check_fields(server, _SERVER, VOICE, path=path, required=required, strict=strict)
        if not server["url"].startswith("https://"):
            raise VendorError(400, f"{dotted(path)}.url: must start with https://")
    return [server["name"] for server in servers]


def _check_tool(tool: Any, path: Path, servers: list[str], strict: bool) -> None:
    if not isinstance(tool, dict):
        raise VOICE.wrong(path, "an object")
    kind = tool.get("type") or "custom"
    if kind == "custom":
        _check_custom(tool, (*path, "custom"), strict)
    elif kind == _COMPUTER_TYPE:
        check_fields(tool, _TOOLSET, VOICE, path=(*path, kind), strict=strict)
        _check_configs(tool, path, COMPUTER, _ENABLED)
    elif kind == "mcp_toolset":
        required = ("mcp_server_name",)
        check_fields(tool, _MCP_TOOLSET, VOICE, path=path, required=required, strict=strict)
        if tool["mcp_server_name"] not in servers:
            message = f"MCP server '{tool['mcp_server_name']}' not found in mcp_servers definitions"
            raise VendorError(400, f"{dotted(path)}: {message}")
        _check_configs(tool, path, None, _MCP_ENABLED)
        check_fields(tool.get("default_config") or {}, _MCP_ENABLED, VOICE, path=path)
    elif not isinstance(kind, str) or not _OTHER_TYPES.fullmatch(kind):
        message = f"Input tag '{kind}' found using 'type' does not match any of the expected tags"
        raise VendorError(400, f"{dotted(path)}: {message}")
    elif not isinstance(tool.get("name", ""), str):
        raise VOICE.wrong((*path, "name"), STRING.phrase)


def _check_custom(tool: dict[str, Any], path: Path, strict: bool) -> None:
    required = ("name", "input_schema")
    check_fields(tool, _TOOL, VOICE, path=path, required=required, strict=strict)
    if not _NAME.fullmatch(tool["name"]):
        raise VendorError(400, f"{dotted(path)}.name: {_mismatch(_NAME)}")
    if tool["input_schema"].get("type") != "object":
        raise VOICE.wrong((*path, "input_schema", "type"), "'object'")
    if tool.get("strict"):
        check_schema(tool["input_schema"], f"{dotted(path)}.input_schema")


def _check_configs(
    tool: dict[str, Any], path: Path, members: Iterable[str] | None, fields: Fields
) -> None:
    for name, config in (tool.get("configs") or {}).items():
        if members is not None and name not in members:
            raise VOICE.unknown((*path, "configs", name))
        check_fields(config, fields, VOICE, path=(*path, "configs", name))


def _check_choice(choice: Any, tools: list[Any], names: list[str], model: str) -> None:
    check_fields(choice, _CHOICE, VOICE, path=("tool_choice",), required=("type",))
    kind = choice["type"]
    if not tools:
        raise VendorError(400, "tool_choice: may only be specified while providing tools.")
    if kind == "none" and choice.get("disable_parallel_tool_use") is not None:
        raise VOICE.unknown(("tool_choice", "none", "disable_parallel_tool_use"))
    if (kind == "tool") != (choice.get("name") is not None):
        wrong = VOICE.missing if kind == "tool" else VOICE.unknown
        raise wrong(("tool_choice", kind, "name"))
    if kind == "tool" and choice["name"] not in names:
        raise VendorError(400, f"tool_choice.tool.name: Tool '{choice['name']}' not found in tools")
    if kind in ("any", "tool") and any(name in model for name in _NEVER_FORCED):
        raise VendorError(
            400, f"tool_choice: {model} does not support forced tool use; use 'auto' or 'none'"
        )


def _check_free(body: Mapping[str, Any]) -> None:
    thinks = (body.get("thinking") or {}).get("type") in ("adaptive", "enabled")
    if thinks and body["tool_choice"]["type"] in ("any", "tool"):
        raise VendorError(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _turns(messages: Iterable[Mapping[str, Any]]) -> Iterator[_Turn]:
    turn: _Turn | None = None
    for at, message in enumerate(messages):
        if turn is None or turn.role != message["role"]:
            if turn is not None:
                yield turn
            turn = _Turn(message["role"], [])
        content = message["content"]
        path: Path = ("messages", at, "content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        turn.blocks.extend(((*path, index), block) for index, block in enumerate(blocks))
    if turn is not None:
        yield turn


def _calls(turn: _Turn, later: _Turn | None) -> dict[str, dict[str, Any]]:
    """The calls of a turn, by id; each must have its result at the beginning of the next."""
    calls: dict[str, dict[str, Any]] = {}
    for path, block in turn.blocks:
        if block["type"] == "tool_use":
            _check_call(block, path)
            if block["id"] in calls:
                raise VendorError(400, f"{dotted(path)}: `tool_use` ids must be unique")
            calls[block["id"]] = block
    answered = []
    for _, block in later.blocks if later is not None and later.role == "user" else ():
        if block["type"] != "tool_result":
            break
        answered.append(block["tool_use_id"])
    open_ids = [call_id for call_id in calls if call_id not in answered]
    if open_ids:
        raise VendorError(
            400,
            f"{dotted(turn.blocks[-1][0][:2])}: `tool_use` ids were found without `tool_result` "
            f"blocks immediately after: {', '.join(open_ids)}. Each `tool_use` block must have a "
            "corresponding `tool_result` block in the next message.",
        )
    return calls


def _check_call(block: dict[str, Any], path: Path) -> None:
    if not isinstance(block["input"], dict):
        raise VOICE.wrong((*path, "tool_use", "input"), "a valid dictionary")
    if not isinstance(block["id"], str) or not _ID.fullmatch(block["id"]):
        raise VendorError(400, f"{dotted(path)}.tool_use.id: {_mismatch(_ID)}")


def _check_results(turn: _Turn, calls: Mapping[str, dict[str, Any]]) -> None:
    found: set[str] = set()
    for path, block in turn.blocks:
        if block["type"] != "tool_result":
            continue
        call_id = block["tool_use_id"]
        if not isinstance(call_id, str) or call_id not in calls:
            raise VendorError(
                400,
                f"{dotted(path)}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{call_id}. Each `tool_result` block must have a corresponding `tool_use` block "
                "in the previous message.",
            )
        if call_id in found:
            message = f"each tool_use must have a single result; multiple found with id {call_id}"
            raise VendorError(400, f"{dotted(path)}: {message}")
        found.add(call_id)
        toolset = calls[call_id].get("toolset_name")
        if block.get("toolset_name") != toolset:
            raise VendorError(
                400,
                f"{dotted(path)}.tool_result.toolset_name: must be that of its `tool_use`: "
                f"{toolset!r}, not {block.get('toolset_name')!r}",
            )


def _check_thinking(turns: list[_Turn], model: str) -> None:
    """That in the rounds since the last prompt thinking stands before the calls it led to. What
    another model thought is not missed: it would not be taken.
    """
    for turn in reversed(turns):
        kinds = {block["type"] for _, block in turn.blocks}
        if turn.role == "user" and "tool_result" not in kinds:
            return
        seen: set[str] = set()
        for path, block in turn.blocks if turn.role == "assistant" else ():
            if block["type"] == "thinking":
                seen.add(_digest(block["thinking"]))
            if block["type"] == "tool_use" and _thought(block["id"], model) - seen:
                raise VendorError(
                    400,
                    f"{dotted(path)}: `thinking` or `redacted_thinking` blocks in the latest "
                    "assistant message cannot be modified. These blocks must remain as they were "
                    "in the original response.",
                )


def _mismatch(pattern: re.Pattern[str]) -> str:
    return f"String should match pattern '^{pattern.pattern}$'"


def _digest(thinking: str) -> str:
    return hashlib.sha256(thinking.encode("utf-8", "replace")).hexdigest()[:8]


def _thought(call_id: str, model: str) -> set[str]:
    """The digest of the thinking before a call that the sandbox made for `model`."""
    found = re.fullmatch(rf"toolu_([0-9a-f]{{8}}){_digest(model)}[0-9]{{6}}", call_id)
    return {found[1]} if found else set()
