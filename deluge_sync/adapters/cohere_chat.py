"""Cohere's chat, version 2.

Written from the types of the cohere SDK 7.3 (`v2`, `types/chat_message_v2`, `types/usage`,
`types/tool_v2`, `types/tool_content`). There is no form for the choice of one tool by its name, for
one tool at a time, and for pictures in a tool's result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import ConfigError, PromptError
from ..values.media import Image, data_url
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Conversation, Message, Text, Thinking, ToolCall, ToolResult
from ..values.request import OutputFormat, Request
from ..values.response import Answer
from ..values.tool import Tool, ToolLike
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import JSON_HEADERS, dump, misplaced, object_in, post
from .cohere_answers import PLAN, CohereFold, read
from .cohere_common import fault, limits, request_id
from .failures import read_answer
from .options import kind_of, refuse, require_choice, require_tools

__all__ = [
    "UNSUPPORTED",
    "decode",
    "encode",
    "fold",
    "limits",
    "needs_stream",
    "request_id",
]

UNSUPPORTED: frozenset[str] = frozenset({"top_logprobs", "verbosity"})

_FIELDS = {
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "max_new_tokens": "max_tokens",
    "stop": "stop_sequences",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logprobs": "logprobs",
}
_CHOICES = {"auto": "", "none": "NONE", "required": "REQUIRED"}
_DETAILS = (None, "auto", "low", "high")


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    refuse(
        request,
        model,
        "background",
        "completion_window",
        "previous_response_id",
        "continuation",
        "cache",
        "service_tier",
        "parallel_tool_calls",
    )
    params = request.params
    body: dict[str, Any] = {"model": model.id, "messages": _messages(request.conversation, model)}
    body.update((_FIELDS[name], value) for name, value in params.given().items() if name in _FIELDS)
    body.update(_thinking(params, model))
    if request.output is not None:
        body["response_format"] = _format(request.output, model)
    body.update(_tools(request, model))
    if request.stream:
        body["stream"] = True
    return post(
        address(model, "/v2/chat"),
        body,
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
        nested="response_format",
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, read, fault)


def fold(head: HttpResponse, model: Model) -> CohereFold:
    """The reader of a stream; see `base.Adapter.fold`."""
    return CohereFold(head, model)


def _thinking(params: SamplingParams, model: Model) -> dict[str, Any]:
    """Thinking is on by itself where the model can; it is only switched off, or bounded."""
    if not model.thinking:
        return {}
    if params.thinking_budget:
        return {"thinking": {"type": "enabled", "token_budget": params.thinking_budget}}
    if params.reasoning_effort == "none" or params.thinking_budget == 0:
        return {"thinking": {"type": "disabled"}}
    return {} if params.reasoning_effort is None else {"thinking": {"type": "enabled"}}


def _format(output: OutputFormat, model: Model) -> dict[str, Any]:
    """A schema is always held to; it has no name, and there is no form for `strict`."""
    if output.schema is None:
        return {"type": "json_object"}
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no output_schema (its entry's `supports` lacks 'json_schema'): "
            "use json_mode=True, or another model"
        )
    return {"type": "json_object", "json_schema": dict(output.schema)}


def _tools(request: Request, model: Model) -> dict[str, Any]:
    """What is offered, and the choice; the strictness is one word for all tools."""
    if not request.tools:
        return {}
    require_tools(model)
    fields: dict[str, Any] = {"tools": [_tool(tool, model) for tool in request.tools]}
    wishes = {tool.strict for tool in request.tools if isinstance(tool, Tool)}
    if {True, False} <= wishes:
        raise ConfigError(f"{model.name} holds all tools to their schemas or none: strict is mixed")
    if True in wishes:
        fields["strict_tools"] = True
    choice = request.tool_choice
    if choice not in (None, "auto", "none"):
        require_choice(model)
    if choice not in (None, *_CHOICES):
        raise ConfigError(
            f"{model.name} has no form for the choice of tool {choice!r}: use "
            'tool_choice="required" and offer that tool alone'
        )
    if _CHOICES.get(choice or ""):
        fields["tool_choice"] = _CHOICES[choice or ""]
    return fields


def _tool(tool: ToolLike, model: Model) -> dict[str, Any]:
    if isinstance(tool, Tool):
        about = {"description": tool.description} if tool.description else {}
        function = {"name": tool.name, **about, "parameters": dict(tool.parameters)}
        return {"type": "function", "function": function}
    if isinstance(tool, Mapping) and tool.get("type") == "function":
        return dict(tool)
    raise ConfigError(f"{model.name} takes functions only as tools, not {kind_of(tool)}")


def _messages(conversation: Conversation, model: Model) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in conversation.messages:
        if message.role == "assistant":
            messages.append(_assistant(message))
            continue
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, ToolResult) and message.role in ("tool", "user"):
                messages.append(_tool_message(part))
            elif isinstance(part, Image) and message.role == "user":
                content.append({"type": "image_url", "image_url": _image(part, model)})
            else:
                raise misplaced(part, message.role)
        if content:
            messages.append({"role": message.role, "content": _content(content)})
    return messages


def _content(parts: list[dict[str, Any]]) -> Any:
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _assistant(message: Message) -> dict[str, Any]:
    """An earlier turn, its plan and its thinking as they came."""
    content: list[dict[str, Any]] = []
    turn: dict[str, Any] = {"role": "assistant"}
    for part in message.parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Thinking):
            if part.id == PLAN:
                turn["tool_plan"] = part.text
            elif not part.redacted:
                content.append({"type": "thinking", "thinking": part.text})
        elif isinstance(part, ToolCall):
            turn.setdefault("tool_calls", []).append(_tool_call(part))
        else:
            raise misplaced(part, "assistant")
    return {**turn, "content": _content(content)} if content else turn


def _tool_call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": dump(dict(part.arguments)).decode()}
    return {"id": part.id, "type": "function", "function": function}


def _tool_message(part: ToolResult) -> dict[str, Any]:
    """A result as a document, whose fields the model reads: a JSON object as it is."""
    if part.images:
        raise PromptError("Cohere takes no pictures in a tool's result: describe them in its text")
    held = None if part.is_error else object_in(part.content)
    data = held or {"error" if part.is_error else "output": part.content}
    document = {"type": "document", "document": {"data": data}}
    return {"role": "tool", "tool_call_id": part.tool_call_id, "content": [document]}


def _image(part: Image, model: Model) -> dict[str, Any]:
    if "vision" not in model.supports:
        raise PromptError(
            f"{model.name} takes no pictures: its entry in models.yaml lacks 'vision' in 'supports'"
        )
    if part.file_id:
        raise PromptError("Cohere has no files by id: give the picture's bytes or its URL")
    if part.detail not in _DETAILS:
        raise PromptError(f"Cohere's detail is auto, low or high, not {part.detail!r}")
    image = {"url": part.url or data_url(part.data, part.media_type)}
    return {**image, "detail": part.detail} if part.detail else image
