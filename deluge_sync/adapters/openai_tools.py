"""Tools in OpenAI's two forms: nested in Chat Completions, flat in Responses.

From the openai SDK 3.54 (`types/shared_params/function_definition.py`,
`types/responses/tool_param.py`, `types/chat/chat_completion_tool_choice_option_param.py`) and
OpenAI's guides to function calling and to remote MCP servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.prompt import ToolResult
from ..values.request import Request
from ..values.tool import CHOICES, ComputerTool, MCPServer, Tool, ToolLike
from .body import dump
from .computer import no_computer, responses_computer
from .openai_common import fits_strict, strict_form

Item = dict[str, Any]

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")


def chat_tool_fields(request: Request, model: Model) -> Item:
    """`tools`, `tool_choice` and `parallel_tool_calls` of Chat Completions.

    What it or the model does not take is a `ConfigError`.
    """
    _check_chat(request, model)
    return _fields(request, model, _nested, lambda name: {"function": {"name": name}})


def responses_tool_fields(request: Request, model: Model) -> Item:
    """The same of Responses."""
    return _fields(request, model, _flat, lambda name: {"name": name})


def with_flat_tools(extra_body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`extra_body` with its function tools in the form of Responses."""
    tools = extra_body.get("tools")
    if not isinstance(tools, (list, tuple)):
        return extra_body
    return {**extra_body, "tools": [_flat_dict(tool) for tool in tools]}


def result_text(result: ToolResult) -> str:
    """What a result says. OpenAI has no field for failure, so the text begins with "Error"."""
    text = result.content
    return f"Error: {text}" if result.is_error and not text.startswith("Error") else text


def _fields(
    request: Request,
    model: Model,
    form: Callable[[ToolLike, Model], Mapping[str, Any]],
    named: Callable[[str], Item],
) -> Item:
    fields: Item = {}
    if request.tools:
        _check_model(request, model)
        fields["tools"] = [form(tool, model) for tool in request.tools]
    choice = request.tool_choice
    if choice is not None:
        fields["tool_choice"] = (
            choice if choice in CHOICES else {"type": "function", **named(choice)}
        )
    if request.parallel_tool_calls is not None and (
        request.tools or request.extra_body.get("tools")
    ):  # which is refused where no tools are
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _check_model(request: Request, model: Model) -> None:
    if "tools" not in model.supports:
        raise ConfigError(f"{model.name} takes no tools (its entry's `supports` lacks 'tools')")
    free = request.tool_choice in (None, "auto", "none")
    if not free and "forced_tool_choice" not in model.supports:
        raise ConfigError(
            f"{model.name} cannot be made to use a tool (its entry's `supports` lacks "
            "'forced_tool_choice'): use tool_choice='auto', and ask for it in the prompt"
        )


def _check_chat(request: Request, model: Model) -> None:
    """OpenAI's rule from gpt-5.6 on: functions and reasoning together are for Responses."""
    if "responses_tools" not in model.supports:
        return
    effort = request.params.reasoning_effort or model.default_effort
    if effort != "none" and any(isinstance(tool, Tool) for tool in request.tools):
        raise ConfigError(
            f"{model.name} takes functions and reasoning together in the Responses API only: "
            "leave out use_responses_api=False, or use reasoning_effort='none' if it has that"
        )


def _nested(tool: ToolLike, model: Model) -> Mapping[str, Any]:
    if isinstance(tool, MCPServer):
        raise ConfigError(
            f"Chat Completions calls no MCP servers ({tool.name}): use a model with the Responses "
            "API and use_responses_api=True, or Tool.from_mcp, which calls it from here"
        )
    if isinstance(tool, ComputerTool):
        raise no_computer(model, "Chat Completions")
    if isinstance(tool, Tool):
        function = _function(tool, model)
        if not function["strict"]:
            del function["strict"]  # false is the default; not every host knows the field
        return {"type": "function", "function": function}
    if tool.get("type") == "function" and "function" not in tool:
        return {
            "type": "function",
            "function": {name: tool[name] for name in tool if name != "type"},
        }
    return tool


def _flat(tool: ToolLike, model: Model) -> Mapping[str, Any]:
    if isinstance(tool, MCPServer):
        return _server(tool)
    if isinstance(tool, ComputerTool):
        return responses_computer(tool, model)
    if isinstance(tool, Tool):
        # Left out, `strict` would have OpenAI change the schema where it can.
        return {"type": "function", **_function(tool, model)}
    return _flat_dict(tool)  # type: ignore[no-any-return]


def _flat_dict(tool: Any) -> Any:
    if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping):
        return {"type": "function", **tool["function"]}
    return tool


def _function(tool: Tool, model: Model) -> Item:
    schema, strict = _schema(tool, model)
    values = (tool.name, tool.description, schema, strict)
    return {name: value for name, value in zip(_FUNCTION_FIELDS, values) if value != ""}


def _schema(tool: Tool, model: Model) -> tuple[Mapping[str, Any], bool]:
    """The schema to send, and whether the vendor is to hold the model to it.

    Where the developer does not say, it does if the schema as it stands is one for that: what it
    allows is not changed in silence.
    """
    text = dump(dict(tool.parameters))
    strict = tool.strict
    if strict is None:
        strict = "json_schema" in model.supports and fits_strict(text)
    if not strict:
        return tool.parameters, False
    schema, problem = strict_form(text)
    if problem is not None:
        raise ConfigError(f"OpenAI's strict mode does not take tool {tool.name}: {problem}")
    return schema, True


def _server(server: MCPServer) -> Item:
    """Tools of a server run without asking: who lists one here has allowed what it may do."""
    item: Item = {"type": "mcp", "server_label": server.name, "server_url": server.url}
    if server.authorization is not None:
        item["authorization"] = server.authorization
    if server.headers:
        item["headers"] = dict(server.headers)
    if server.allowed_tools is not None:
        item["allowed_tools"] = list(server.allowed_tools)
    return {**item, "require_approval": "never"}
