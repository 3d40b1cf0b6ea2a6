"""What Converse takes as tools, and what it wants back of a round of them.

Fields as in botocore 1.44's model of `bedrock-runtime` (`ToolConfiguration`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .checks import (
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    Fields,
    Path,
    VendorError,
    Voice,
    bracketed,
    check_fields,
)

_CONFIG: Fields = {"tools": ARRAY, "toolChoice": OBJECT}
_SPECIFICATION: Fields = {
    "name": STRING,
    "description": STRING,
    "inputSchema": OBJECT,
    "strict": BOOLEAN,
}
_SYSTEM: Fields = {"name": STRING}
_MEMBERS = ("toolSpec", "systemTool", "cachePoint")
_CHOICES = ("auto", "any", "tool")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_tool_config(config: Any, voice: Voice, strict: bool) -> None:
    """Raise Bedrock's 400 for a `toolConfig` that it does not take."""
    path: Path = ("toolConfig",)
    check_fields(config, _CONFIG, voice, path=path, required=("tools",), strict=strict)
    if not config["tools"]:
        raise voice.wrong((*path, "tools"), "a list of at least one tool")
    names = []
    for at, tool in enumerate(config["tools"]):
        member = _member(tool, _MEMBERS, (*path, "tools", at))
        if member == "toolSpec":
            place = (*path, "tools", at, member)
            names.append(_specified(tool[member], place, voice, strict))
        elif member == "systemTool":
            place = (*path, "tools", at, member)
            check_fields(tool[member], _SYSTEM, voice, path=place, required=("name",))
    if len(set(names)) < len(names):
        raise VendorError(400, "The toolConfig field contains duplicate tool names.")
    choice = config.get("toolChoice")
    if choice is not None and _member(choice, _CHOICES, (*path, "toolChoice")) == "tool":
        place = (*path, "toolChoice", "tool")
        check_fields(choice["tool"], _SYSTEM, voice, path=place, required=("name",))
        if choice["tool"]["name"] not in names:
            raise VendorError(400, f"The tool {choice['tool']['name']} is not in the toolConfig.")


def check_rounds(body: Mapping[str, Any]) -> None:
    """Raise Bedrock's 400 where calls and results do not pair, or nothing says what tools are."""
    calls: list[str] = []
    spoken = False
    for at, turn in enumerate(body["messages"]):
        place = bracketed(("messages", at, "content"))
        results = _ids(turn, "toolResult") if turn["role"] == "user" else []
        if len(results) > len(calls) or not set(results) <= set(calls):
            raise VendorError(
                400,
                f"The number of toolResult blocks at {place} exceeds the number of toolUse blocks "
                "of previous turn.",
            )
        _check_answered(calls, results, place)
        calls = _ids(turn, "toolUse") if turn["role"] == "assistant" else []
        spoken = spoken or bool(calls or results)
    _check_answered(calls, [], bracketed(("messages", len(body["messages"]), "content")))
    if spoken and body.get("toolConfig") is None:
        raise VendorError(
            400,
            "The toolConfig field must be defined when using toolUse and toolResult content "
            "blocks.",
        )


def _check_answered(calls: list[str], results: list[str], place: str) -> None:
    open_ids = [call for call in calls if call not in results]
    if open_ids:
        message = f"Expected toolResult blocks at {place} for the following Ids: "
        raise VendorError(400, message + ", ".join(open_ids))


def _ids(turn: Mapping[str, Any], name: str) -> list[str]:
    """Of a turn's calls or results; Bedrock answers its own calls by itself."""
    blocks = [block[name] for block in turn["content"] if name in block]
    for block in blocks:
        if not isinstance(block, dict) or not isinstance(block.get("toolUseId"), str):
            raise VendorError(400, f"The toolUseId field of a {name} block must be a string.")
    return [block["toolUseId"] for block in blocks if block.get("type") != "server_tool_use"]


def _member(value: Any, members: tuple[str, ...], path: Path) -> str:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in members:
        known = ", ".join(members)
        raise VendorError(400, f"The value of {bracketed(path)} must have one member of {known}.")
    return str(next(iter(value)))


def _specified(tool: Any, path: Path, voice: Voice, strict: bool) -> str:
    required = ("name", "inputSchema")
    check_fields(tool, _SPECIFICATION, voice, path=path, required=required, strict=strict)
    if not _NAME.fullmatch(tool["name"]):
        raise voice.wrong((*path, "name"), f"of the form {_NAME.pattern}")
    if tool.get("description") == "":
        raise voice.wrong((*path, "description"), "longer than nothing")
    schema = tool["inputSchema"].get("json")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise voice.wrong((*path, "inputSchema", "json"), "the JSON schema of an object")
    return str(tool["name"])
