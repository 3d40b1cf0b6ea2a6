"""What generateContent is offered of tools, and whether calls and their responses fit together.

Fields as in google-genai 3.4; the words of the refusals are Google's where they are known (of the
numbers, the order, the configuration and the combination with tools of its own).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import (
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    STRINGS,
    Fields,
    Kind,
    Path,
    VendorError,
    Voice,
    check_fields,
    one_of,
)

_UNSIGNED = ("gemini-1", "gemini-2")
"""What models are called that do without signatures."""

_NAME = Kind(
    "a name that begins with a letter or an underscore, of at most 128 characters",
    lambda value: (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", value) is not None
    ),
)
_FUNCTIONS = "functionDeclarations"
_CLIENT_SIDE = (_FUNCTIONS, "computerUse")
_TOOL: Fields = {
    _FUNCTIONS: ARRAY,
    "mcpServers": ARRAY,
    "codeExecution": OBJECT,
    "computerUse": OBJECT,
    "fileSearch": OBJECT,
    "googleMaps": OBJECT,
    "googleSearch": OBJECT,
    "googleSearchRetrieval": OBJECT,
    "urlContext": OBJECT,
}
_DECLARATION: Fields = {
    "name": _NAME,
    "description": STRING,
    "parameters": OBJECT,
    "parametersJsonSchema": OBJECT,
    "response": OBJECT,
    "responseJsonSchema": OBJECT,
    "behavior": STRING,
}
_SERVER: Fields = {"name": STRING, "streamableHttpTransport": OBJECT}
_TRANSPORT: Fields = {
    "url": STRING,
    "headers": OBJECT,
    "timeout": STRING,
    "sseReadTimeout": STRING,
    "terminateOnClose": BOOLEAN,
}
_CONFIG: Fields = {
    "functionCallingConfig": OBJECT,
    "retrievalConfig": OBJECT,
    "includeServerSideToolInvocations": BOOLEAN,
}
_CALLING: Fields = {
    "mode": one_of("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
    "allowedFunctionNames": STRINGS,
}


def camels(value: Any) -> Any:
    """As all that speaks protobuf, Google takes `mime_type` for `mimeType`; its SDK sends that."""
    if type(value) is not dict:
        return value
    return {_camel(name): inner for name, inner in value.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def check_tools(body: Mapping[str, Any], voice: Voice, strict: bool) -> None:
    """Raise Google's `VendorError` unless what `body` offers can be offered, and chosen so."""
    names: list[str] = []
    kinds: set[str] = set()
    for at, tool in enumerate(map(camels, body.get("tools") or ())):
        path: Path = ("tools", at)
        check_fields(tool, _TOOL, voice, path=path, strict=strict)
        kinds |= tool.keys()
        names += _declared(tool.get(_FUNCTIONS) or (), (*path, _FUNCTIONS), voice, strict)
        _check_servers(tool.get("mcpServers") or (), (*path, "mcpServers"), voice, strict)
    for name in names:
        if names.count(name) > 1:
            raise VendorError(400, f"Duplicate function declaration found: {name}")
    config = camels(body.get("toolConfig") or {})
    check_fields(config, _CONFIG, voice, path=("toolConfig",), strict=strict)
    _check_calling(camels(config.get("functionCallingConfig")), names, kinds, voice, strict)
    mixed = kinds & set(_CLIENT_SIDE) and kinds - set(_CLIENT_SIDE)
    if mixed and not config.get("includeServerSideToolInvocations"):
        raise VendorError(
            400,
            "Please enable tool_config.include_server_side_tool_invocations to use Built-in tools "
            "with Function calling.",
        )


def _declared(entries: Sequence[Any], path: Path, voice: Voice, strict: bool) -> list[str]:
    for at, entry in enumerate(map(camels, entries)):
        where = (*path, at)
        check_fields(entry, _DECLARATION, voice, path=where, required=("name",), strict=strict)
        if entry.get("parameters") and entry.get("parametersJsonSchema"):
            raise VendorError(
                400,
                "Only one of parameters and parameters_json_schema may be set: function "
                f"declaration {entry['name']}.",
            )
        schema = entry.get("parametersJsonSchema")
        if schema and schema.get("type") != "object":
            raise voice.wrong((*where, "parametersJsonSchema"), "the schema of an object")
    return [entry["name"] for entry in entries]


def _check_servers(servers: Sequence[Any], path: Path, voice: Voice, strict: bool) -> None:
    for at, server in enumerate(map(camels, servers)):
        where = (*path, at)
        needed = ("name", "streamableHttpTransport")
        check_fields(server, _SERVER, voice, path=where, required=needed, strict=strict)
        inside = (*where, needed[1])
        transport = camels(server[needed[1]])
        check_fields(transport, _TRANSPORT, voice, path=inside, required=("url",), strict=strict)


def _check_calling(
    calling: Any, names: Sequence[str], kinds: set[str], voice: Voice, strict: bool
) -> None:
    if calling is None:
        return
    path: Path = ("toolConfig", "functionCallingConfig")
    check_fields(calling, _CALLING, voice, path=path, strict=strict)
    if not kinds & set(_CLIENT_SIDE):
        raise VendorError(400, "Function calling config is set without function_declarations.")
    allowed = calling.get("allowedFunctionNames") or ()
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise VendorError(
            400, "allowed_function_names should only be set when the mode is ANY or VALIDATED."
        )
    for name in allowed:
        if name not in names:
            raise VendorError(
                400, f"allowed_function_names: {name} is not among the function_declarations."
            )


def check_pairs(contents: Sequence[Mapping[str, Any]]) -> None:
    """Raise Google's 400 unless responses follow the calls that they are of, one for each."""
    asked: list[Mapping[str, Any]] = []
    for _, parts in _turns(contents):
        said = [part["functionResponse"] for part in parts if part.get("functionResponse")]
        if said and not asked:
            raise VendorError(
                400,
                "Please ensure that function response turn comes immediately after a function "
                "call turn.",
            )
        if len(said) != len(asked):
            raise VendorError(
                400,
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn.",
            )
        _check_identities(said, asked)
        asked = [part["functionCall"] for part in parts if part.get("functionCall")]


def _check_identities(said: list[Mapping[str, Any]], asked: list[Mapping[str, Any]]) -> None:
    """By their ids where they have some, else by their names in order."""
    for place, response in enumerate(said):
        identity = response.get("id")
        of = [call for call in asked if call.get("id") == identity] if identity else asked[place:]
        if not of or of[0]["name"] != response["name"]:
            raise VendorError(
                400,
                f"Function response `{response['name']}` does not match any function call of the "
                "function call turn.",
            )


def check_signatures(contents: Sequence[Mapping[str, Any]], model: str) -> None:
    """Raise Google's 400 where a call of the turn at hand has lost its signature.

    As Gemini 3 has it: of the calls of one message only the first is signed, and turns before the
    user's latest words are not looked at.
    """
    if model.startswith(_UNSIGNED):
        return
    turns = _turns(contents)
    for at in range(_turn_start(turns), len(turns)):
        calls = [part for part in turns[at][1] if part.get("functionCall")]
        if calls and not calls[0].get("thoughtSignature"):
            name = calls[0]["functionCall"]["name"]
            raise VendorError(
                400,
                "Function call is missing a thought_signature in functionCall parts: function call "
                f"`{name}`, position {at + 1}.",
            )


def _turns(contents: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Role and parts; contents of one role in a row (the SDK's chats send such) are one turn."""
    turns: list[tuple[str, list[Any]]] = []
    for content in contents:
        role = "model" if content.get("role") == "model" else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].extend(content["parts"])
    return turns


def _turn_start(turns: Sequence[tuple[str, list[Any]]]) -> int:
    """Where the user spoke last, beside giving back what tools said."""
    for at in range(len(turns) - 1, -1, -1):
        role, parts = turns[at]
        if role == "user" and not all(part.get("functionResponse") for part in parts):
            return at
    return 0
