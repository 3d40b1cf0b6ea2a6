"""Tools as Gemini takes them: those offered, the choice among them, calls and their results.

Written from the types of the google-genai SDK 3.4 (`Tool`, `ToolConfig`, `FunctionDeclaration`,
`FunctionCall`, `FunctionResponse`, `McpServer`) and ai.google.dev's pages on function calling, on
combining tools and on thought signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.prompt import ToolCall, ToolResult
from ..values.request import Request
from ..values.tool import MCPServer, Tool, ToolLike
from .body import object_in
from .gemini_media import wire_media
from .gemini_schemas import fitted
from .options import kind_of, require_choice, require_tools

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""What Google's page on thought signatures has in place of one for calls that another model made;
without any, Gemini 3 answers 400."""

_UNNAMED = "unnamed-"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_CLIENT_SIDE = frozenset({"functionDeclarations", "computerUse"})
_FREE = (None, "auto", "none")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def made_up_id(answer_id: str | None, position: int) -> str:
    """For a call that came without an id. It is known again, and never sent back."""
    return f"{_UNNAMED}{answer_id or 'call'}-{position}"


def wire_tools(request: Request, model: Model) -> dict[str, Any]:
    """The `tools` and `toolConfig` of a body; {} where no tools are offered."""
    if not request.tools:
        return {}
    require_tools(model)
    if request.tool_choice not in _FREE:
        require_choice(model)
    functions = [tool for tool in request.tools if isinstance(tool, Tool)]
    servers = [_server(tool, model) for tool in request.tools if isinstance(tool, MCPServer)]
    offered: list[dict[str, Any]] = []
    if functions:
        declarations = [_declaration(tool, model) for tool in functions]
        offered.append({"functionDeclarations": declarations})
    if servers:
        offered.append({"mcpServers": servers})
    offered += [
        _own(tool, model) for tool in request.tools if not isinstance(tool, (Tool, MCPServer))
    ]
    config = _tool_config(request, functions, offered, model)
    return {"tools": offered, "toolConfig": config} if config else {"tools": offered}


def function_call(part: ToolCall, model: Model, *, first: bool) -> dict[str, Any]:
    """An earlier call; of those of one turn Google signs the `first`."""
    wire: dict[str, Any] = {
        "functionCall": {**_identity(part.id), "name": part.name, "args": dict(part.arguments)}
    }
    unsigned = SKIP_SIGNATURE if first and model.thinking == "level" else None
    signature = part.signature or unsigned
    return {**wire, "thoughtSignature": signature} if signature else wire


def function_response(part: ToolResult, name: str, model: Model) -> dict[str, Any]:
    """What a tool gave back, with its pictures; `name` is that of its call."""
    wire = {**_identity(part.tool_call_id), "name": name, "response": _response(part)}
    if part.images:
        wire["parts"] = [wire_media(image, model) for image in part.images]
    return {"functionResponse": wire}


def _identity(call_id: str) -> dict[str, Any]:
    return {} if call_id.startswith(_UNNAMED) else {"id": call_id}


def _response(part: ToolResult) -> dict[str, Any]:
    """A JSON object as it is, unless its fields would be taken for Google's own."""
    if part.is_error:
        return {"error": part.content}
    value = object_in(part.content)
    if value is None:
        return {"output": part.content}
    return {"output": value} if value.keys() & {"output", "error"} else value


def _declaration(tool: Tool, model: Model) -> dict[str, Any]:
    if not _NAME.fullmatch(tool.name):
        raise ConfigError(
            f"tool {tool.name}: {model.name} takes names that begin with a letter or _ only"
        )
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if not tool.parameters.get("properties") and not tool.parameters.get("additionalProperties"):
        return wire  # of an object without fields Google's schemas know nothing
    schema, problem = fitted(tool.parameters, strict=tool.strict is True)
    if problem:
        raise ConfigError(f"tool {tool.name}: {model.name} does not take its schema: {problem}")
    return {**wire, "parametersJsonSchema": schema}


def _own(tool: ToolLike, model: Model) -> dict[str, Any]:
    """One of Google's own, as it is; those of other vendors are known by their `type`."""
    if isinstance(tool, Mapping) and tool and "type" not in tool:
        return dict(tool)
    raise ConfigError(
        f"{model.name} has no tool such as {kind_of(tool)}: its own are like "
        '{"googleSearch": {}}'
    )


def _server(server: MCPServer, model: Model) -> dict[str, Any]:
    if model.api_version == "":
        raise ConfigError(f"{model.name} calls no MCP servers: Vertex AI has no form for them")
    if server.allowed_tools is not None:
        raise ConfigError(
            f"MCP server {server.name}: {model.name} has no form for allowed_tools; leave it out"
        )
    transport: dict[str, Any] = {"url": server.url}
    headers = dict(server.headers)
    if server.authorization is not None:
        headers["Authorization"] = f"Bearer {server.authorization}"
    if headers:
        transport["headers"] = headers
    return {"name": server.name, "streamableHttpTransport": transport}


def _tool_config(
    request: Request,
    functions: Sequence[Tool],
    offered: Sequence[Mapping[str, Any]],
    model: Model,
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    calling = _calling(request.tool_choice, functions)
    words = {word for tool in offered for word in tool}
    if calling and not words & _CLIENT_SIDE:
        raise ConfigError(f"{model.name} takes a tool_choice among functions only: leave it out")
    if calling:
        config["functionCallingConfig"] = calling
    if words & _CLIENT_SIDE and words - _CLIENT_SIDE and model.api_version != "":
        # Without it the two kinds together are a 400; Vertex AI knows no such field.
        config["includeServerSideToolInvocations"] = True
    return config


def _calling(choice: str | None, functions: Sequence[Tool]) -> dict[str, Any]:
    if choice in (None, "auto") and any(tool.strict for tool in functions):
        return {"mode": "VALIDATED"}
    if choice is None:
        return {}
    if choice in _MODES:
        return {"mode": _MODES[choice]}
    return {"mode": "ANY", "allowedFunctionNames": [choice]}
