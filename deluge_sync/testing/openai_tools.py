"""Tools, the choice among them, and calls with their results, checked as OpenAI checks them.

Fields as in the openai SDK 3.54. What is refused is worded as users report it, but for two tools
of one name, of which no report is known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..catalog.catalog import Catalog
from ..values.errors import UnknownModelError
from ..values.model import Model
from .checks import (
    ARRAY,
    BOOLEAN,
    OBJECT,
    STRING,
    Fields,
    Path,
    VendorError,
    bracketed,
    check_fields,
    one_of,
)
from .openai_schemas import check_parameters
from .openai_voice import VOICE

_FUNCTION: Fields = {
    "name": STRING,
    "description": STRING,
    "parameters": OBJECT,
    "strict": BOOLEAN,
}
_CUSTOM: Fields = {"name": STRING, "description": STRING, "format": OBJECT}
_CHAT_KINDS: Mapping[str, Fields] = {"function": _FUNCTION, "custom": _CUSTOM}
_ANYTIME: Fields = {
    "type": STRING,
    "defer_loading": BOOLEAN,
    "async": BOOLEAN,
    "allowed_callers": ARRAY,
}
_RESPONSES_KINDS: Mapping[str, Fields] = {
    "function": {**_FUNCTION, **_ANYTIME, "output_schema": OBJECT},
    "custom": {**_CUSTOM, **_ANYTIME},
    "computer": {"type": STRING},
    "mcp": {
        **_ANYTIME,
        "server_label": STRING,
        "server_url": STRING,
        "server_description": STRING,
        "connector_id": STRING,
        "tunnel_id": STRING,
        "authorization": STRING,
        "headers": OBJECT,
    },
}
_ANY_FORM = ("allowed_tools", "require_approval")  # lists, words or objects
_HOSTED = (
    "file_search",
    "web_search",
    "web_search_preview",
    "code_interpreter",
    "image_generation",
    "shell",
    "local_shell",
    "apply_patch",
    "namespace",
    "tool_search",
    "programmatic_tool_calling",
    "computer_use_preview",
)
"""Those whose fields are not looked at."""
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST = 64
_CALL: Fields = {"id": STRING, "type": one_of("function", "custom"), "function": OBJECT,
                 "custom": OBJECT}  # fmt: skip
_CALLED: Mapping[str, Fields] = {
    "function": {"name": STRING, "arguments": STRING},
    "custom": {"name": STRING, "input": STRING},
}


def check_chat_tools(body: Mapping[str, Any], strict: bool) -> None:
    """Raise OpenAI's refusal of the tools of a Chat completion."""
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                message = f"'{name}' is only allowed when 'tools' are specified."
                raise VendorError(400, f"Invalid value for '{name}': {message}", param=name)
        return
    if not tools:
        raise _empty(("tools",))
    names: set[str] = set()
    for at, tool in enumerate(tools):
        kind = _kind(tool, ("tools", at), tuple(_CHAT_KINDS))
        path = ("tools", at, kind)
        if tool.get(kind) is None:
            raise VOICE.missing(path)
        check_fields(tool[kind], _CHAT_KINDS[kind], VOICE, path=path, strict=strict)
        _check_named(tool[kind], path, names)
    _check_choice(body.get("tool_choice"), names, nested=True)
    _check_reasoning(body)


def check_responses_tools(body: Mapping[str, Any], strict: bool) -> None:
    """Raise OpenAI's refusal of the tools of a response."""
    names: set[str] = set()
    for at, tool in enumerate(body.get("tools") or ()):
        path = ("tools", at)
        kind = _kind(tool, path, (*_RESPONSES_KINDS, *_HOSTED))
        fields = _RESPONSES_KINDS.get(kind)
        if fields is not None:
            given = {name: tool[name] for name in tool if name not in _ANY_FORM or kind != "mcp"}
            check_fields(given, fields, VOICE, path=path, strict=strict)
        if kind in ("function", "custom"):
            _check_named(tool, path, names)
        elif kind == "mcp":
            _check_server(tool, path)
    _check_choice(body.get("tool_choice"), names, nested=False)


def offered(body: Mapping[str, Any], kind: str) -> frozenset[str]:
    """The names of the tools of that kind in a request, in either form."""
    return frozenset(
        (tool.get(kind) or tool).get("name")
        for tool in body.get("tools") or ()
        if tool.get("type") == kind
    )


def _kind(tool: Any, path: Path, known: tuple[str, ...]) -> str:
    if not isinstance(tool, dict):
        raise VOICE.wrong(path, "an object")
    kind = tool.get("type")
    if kind is None:
        raise VOICE.missing((*path, "type"))
    if kind not in known:
        raise VOICE.wrong((*path, "type"), one_of(*known).phrase)
    return str(kind)


def _check_named(tool: Mapping[str, Any], path: Path, names: set[str]) -> None:
    """The name and, of a function, the schema; `names` are those before it, and its own then."""
    name, where = tool.get("name"), bracketed((*path, "name"))
    if name is None:
        raise VOICE.missing((*path, "name"))
    if len(name) > _LONGEST:
        message = (
            f"Invalid '{where}': string too long. Expected a string with maximum length "
            f"{_LONGEST}, but got a string with length {len(name)} instead."
        )
        raise VendorError(400, message, param=where, code="string_above_max_length")
    if not _NAME.fullmatch(name):
        message = (
            f"Invalid '{where}': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'."
        )
        raise VendorError(400, message, param=where, code="invalid_value")
    if name in names:
        message = f"Invalid '{where}': two tools have the name '{name}'."
        raise VendorError(400, message, param=where, code="invalid_value")
    names.add(name)
    if tool.get("parameters") is not None:
        param = bracketed((*path, "parameters"))
        check_parameters(tool["parameters"], name, param, strict=bool(tool.get("strict")))


def _check_server(tool: Mapping[str, Any], path: Path) -> None:
    if tool.get("server_label") is None:
        raise VOICE.missing((*path, "server_label"))
    if not any(tool.get(name) for name in ("server_url", "connector_id", "tunnel_id")):
        raise VOICE.missing((*path, "server_url"))


def _check_choice(choice: Any, names: set[str], *, nested: bool) -> None:
    if choice is None or choice in ("none", "auto"):
        return
    words = one_of("none", "auto", "required")
    if isinstance(choice, str):
        if not words.accepts(choice):
            raise VOICE.wrong(("tool_choice",), words.phrase)
        return
    kind = choice.get("type")
    if kind is None:
        raise VOICE.missing(("tool_choice", "type"))
    if kind not in ("function", "custom"):
        return
    path: Path = ("tool_choice", kind) if nested else ("tool_choice",)
    held = choice.get(kind) if nested else choice
    if not isinstance(held, dict):
        raise VOICE.missing(path)
    if held.get("name") is None:
        raise VOICE.missing((*path, "name"))
    if held["name"] not in names:
        message = f"Tool choice '{held['name']}' not found in 'tools' parameter."
        raise VendorError(400, message, param="tool_choice")


def _check_reasoning(body: Mapping[str, Any]) -> None:
    """Functions with reasoning, for a model that takes the two together in Responses only."""
    if not offered(body, "function"):
        return
    model = _listed(body["model"])
    if model is None or "responses_tools" not in model.supports:
        return
    if (body.get("reasoning_effort") or model.default_effort) != "none":
        message = (
            f"Function tools with reasoning_effort are not supported for {body['model']} in "
            "/v1/chat/completions. To use function tools, use /v1/responses or set "
            "reasoning_effort to 'none'."
        )
        raise VendorError(400, message, param="reasoning_effort")


@functools.lru_cache(maxsize=64)
def _listed(name: str) -> Model | None:
    try:
        return Catalog.builtin().model(f"openai/{name}")
    except UnknownModelError:
        return None


def check_turns(messages: list[Mapping[str, Any]], strict: bool) -> None:
    """Raise unless every tool message answers a call right before it, and every call is answered.

    Each message is one that has a role it may have.
    """
    called: frozenset[str] = frozenset()
    waiting: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            identity = message["tool_call_id"]
            _check_answer(identity, at, called)
            waiting = [other for other in waiting if other != identity]
            continue
        _check_answered(waiting)
        waiting = list(_calls(message, at, strict))
        called = frozenset(waiting)
    _check_answered(waiting)


def _check_answer(identity: str, at: int, called: frozenset[str]) -> None:
    if not called:
        message = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'."
        )
        raise VendorError(400, message, param=f"messages.[{at}].role")
    if identity not in called:
        message = (
            f"Invalid parameter: 'tool_call_id' of '{identity}' not found in 'tool_calls' of "
            "previous message."
        )
        raise VendorError(400, message, param=f"messages.[{at}].tool_call_id")


def _check_answered(waiting: list[str]) -> None:
    if waiting:
        message = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
        )
        raise VendorError(400, message + ", ".join(waiting), param="messages")


def _calls(message: Mapping[str, Any], at: int, strict: bool) -> Iterator[str]:
    """The ids of the calls in a message, each checked."""
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not calls:
        raise _empty(("messages", at, "tool_calls"))
    for index, call in enumerate(calls):
        path = ("messages", at, "tool_calls", index)
        check_fields(call, _CALL, VOICE, path=path, required=("id", "type"), strict=strict)
        kind = call["type"]
        if call.get(kind) is None:
            raise VOICE.missing((*path, kind))
        fields, where = _CALLED[kind], (*path, kind)
        required = tuple(fields)
        check_fields(call[kind], fields, VOICE, path=where, required=required, strict=strict)
        yield call["id"]


def _empty(path: Path) -> VendorError:
    name = bracketed(path)
    message = (
        f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead."
    )
    return VendorError(400, message, param=name, code="empty_array")
