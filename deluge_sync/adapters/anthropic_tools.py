"""Anthropic Messages: the tools of a request, and which one the model must take.

From the anthropic SDK 2.12 (`types/tool_param`, `types/tool_choice_*_param`, `types/beta/
beta_mcp_toolset_param`) and the vendor's page on structured outputs (strict schemas).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.request import Request
from ..values.tool import ComputerTool, MCPServer, Tool, ToolLike
from .body import dump, load
from .computer import anthropic_computer
from .options import require_choice, require_tools
from .schemas import (
    anthropic_problem,
    anthropic_refuses,
    closed,
    loose_ends,
    loose_problem,
    softened,
)

_MCP_CLIENT = "mcp-client-"
_MCP_BETA = _MCP_CLIENT + "2026-09-15"
_MOST_STRICT = 20


class Fitted(NamedTuple):
    """A schema as the vendor takes it, why it does not even so, and whether it had to change."""

    schema: dict[str, Any]
    problem: Optional[str]
    changed: bool


@functools.lru_cache(maxsize=256)  # the same for all prompts of a run
def fitted(schema: bytes) -> Fitted:
    """A schema, as JSON, in the form that the vendor holds a model to."""
    given = load(schema)
    form = softened(closed(given), anthropic_refuses)
    return Fitted(form, anthropic_problem(form), form != given)


def tool_fields(request: Request, model: Model) -> dict[str, Any]:
    """`tools`, `tool_choice` and `mcp_servers`, as far as `request` has them.

    A `ConfigError` names what the model, or the vendor, does not take.
    """
    fields: dict[str, Any] = {}
    if request.tools:
        require_tools(model)
        strict = _strict(request, model)
        fields["tools"] = [_tool(tool, model, strict) for tool in request.tools]
    choice = _choice(request, model)
    if choice is not None:
        fields["tool_choice"] = choice
    servers = [_server(tool, model) for tool in request.tools if isinstance(tool, MCPServer)]
    if servers:
        fields["mcp_servers"] = servers
    return fields


def beta_header(request: Request, model: Model) -> Mapping[str, str]:
    """The `anthropic-beta` that MCP servers need, with those that were given."""
    if not any(isinstance(tool, MCPServer) for tool in request.tools):
        return {}
    given = ""
    for headers in (model.provider.headers, request.extra_headers):
        for name, value in headers.items():
            given = value if name.lower() == "anthropic-beta" else given
    betas = [beta.strip() for beta in given.split(",") if beta.strip()]
    if not any(beta.startswith(_MCP_CLIENT) for beta in betas):
        betas.append(_MCP_BETA)
    return {"anthropic-beta": ",".join(betas)}


def _tool(tool: ToolLike, model: Model, strict: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    if isinstance(tool, MCPServer):
        return _toolset(tool)
    if isinstance(tool, ComputerTool):
        return anthropic_computer(tool, model)
    if not isinstance(tool, Tool):
        return dict(tool)
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.name in strict:
        return {**wire, "input_schema": strict[tool.name], "strict": True}
    return {**wire, "input_schema": dict(tool.parameters)}


def _strict(request: Request, model: Model) -> dict[str, dict[str, Any]]:
    """The schemas that the vendor is to hold the model to, by their tools' names.

    Limits are for all schemas of a request together: where those that may be strict would go over
    them, only those that must be are.
    """
    tools = [tool for tool in request.tools if isinstance(tool, Tool) and tool.strict is not False]
    must = {tool.name: _must_fit(tool, model) for tool in tools if tool.strict}
    if "json_schema" not in model.supports:
        return {}
    output = request.output.schema if request.output is not None else None
    answer = [fitted(dump(dict(output))).schema] if output else []
    problem = _together(list(must.values()), answer)
    if must and problem:
        raise ConfigError(f"{model.name} does not take these tools strictly: {problem}")
    may = {tool.name: fitted(dump(dict(tool.parameters))) for tool in tools if not tool.strict}
    fit = {name: form.schema for name, form in may.items() if not (form.changed or form.problem)}
    everything = {**must, **fit}
    return must if _together(list(everything.values()), answer) else everything


def _must_fit(tool: Tool, model: Model) -> dict[str, Any]:
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"tool {tool.name}: {model.name} holds to no schema (the `supports` of its entry lacks "
            "json_schema): leave strict out"
        )
    form = fitted(dump(dict(tool.parameters)))
    if form.problem:
        raise ConfigError(
            f"tool {tool.name}: {model.name} does not take its parameters strictly: {form.problem}"
        )
    return form.schema


def _together(tools: Sequence[dict[str, Any]], answer: Sequence[dict[str, Any]]) -> str | None:
    if len(tools) > _MOST_STRICT:
        return f"{len(tools)} tools, where at most {_MOST_STRICT} may be strict"
    ends = [loose_ends(schema) for schema in (*tools, *answer)]
    return loose_problem(sum(end[0] for end in ends), sum(end[1] for end in ends))


def _choice(request: Request, model: Model) -> dict[str, Any] | None:
    choice, single = request.tool_choice, request.parallel_tool_calls is False
    if choice == "none":
        return {"type": "none"}
    wire: dict[str, Any] = {"type": "auto"}
    if choice not in (None, "auto"):
        require_choice(model)
        wire = {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}
    elif choice is None and not (single and (request.tools or request.extra_body.get("tools"))):
        return None
    return {**wire, "disable_parallel_tool_use": True} if single else wire


def _server(server: MCPServer, model: Model) -> dict[str, Any]:
    if model.version_field:
        raise ConfigError(
            f"{model.name}: this host does not call MCP servers; Anthropic's own API does"
        )
    if server.headers:
        raise ConfigError(
            f"MCP server {server.name}: Anthropic sends it no headers but its authorization"
        )
    wire = {"type": "url", "name": server.name, "url": server.url}
    token = server.authorization
    return {**wire, "authorization_token": token} if token is not None else wire


def _toolset(server: MCPServer) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": server.name}
    if server.allowed_tools is None:
        return wire
    configs = {name: {"enabled": True} for name in server.allowed_tools}
    return {**wire, "default_config": {"enabled": False}, "configs": configs}
