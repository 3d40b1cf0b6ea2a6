"""Converse: the tools of a request, and which one the model must take.

From botocore 1.44's model of `bedrock-runtime` (`ToolConfiguration`, `ToolChoice`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.request import Request
from ..values.tool import ComputerTool, MCPServer, Tool, ToolLike
from .computer import no_computer
from .options import require_choice, require_tools

_MEMBERS = ("toolSpec", "systemTool", "cachePoint")


def tool_config(request: Request, model: Model) -> dict[str, Any] | None:
    """`toolConfig`; None where `request` has no tools.

    A schema goes as it is: what `strict` takes of it differs between the models there, and so it
    is asked for where `Tool.strict` is True only.
    """
    if not request.tools:
        return None
    require_tools(model)
    if request.parallel_tool_calls is False:
        raise ConfigError(
            "Bedrock's Converse has no parallel_tool_calls=False: leave it out, or ask in the "
            "prompt for one tool at a time"
        )
    config: dict[str, Any] = {"tools": [_tool(tool, model) for tool in request.tools]}
    choice = request.tool_choice
    if choice is not None:
        config["toolChoice"] = _choice(choice, model)
    return config


def _tool(tool: ToolLike, model: Model) -> dict[str, Any]:
    if isinstance(tool, ComputerTool):
        raise no_computer(model, "Bedrock's Converse")
    if isinstance(tool, MCPServer):
        raise ConfigError(f"Bedrock's Converse calls no MCP servers: MCP server {tool.name}")
    if isinstance(tool, Tool):
        return {"toolSpec": _specification(tool)}
    return _own(tool)


def _own(tool: Mapping[str, Any]) -> dict[str, Any]:
    if len(tool) != 1 or next(iter(tool)) not in _MEMBERS:
        raise ConfigError(
            f"a tool for Bedrock's Converse is a dict with one of {', '.join(_MEMBERS)}, not with "
            f"{', '.join(map(str, tool)) or 'nothing'}"
        )
    return dict(tool)


def _specification(tool: Tool) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    wire["inputSchema"] = {"json": dict(tool.parameters)}
    return {**wire, "strict": True} if tool.strict else wire


def _choice(choice: str, model: Model) -> dict[str, Any]:
    if choice == "auto":
        return {"auto": {}}
    if choice == "none":
        raise ConfigError("Bedrock's Converse has no tool_choice none: ask without tools instead")
    require_choice(model)
    return {"any": {}} if choice == "required" else {"tool": {"name": choice}}
