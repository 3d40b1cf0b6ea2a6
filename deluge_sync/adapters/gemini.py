"""Google Gemini's generateContent: the Developer API, and Vertex AI, which takes the same bodies.

Written from the types of the google-genai SDK 3.4 (`types`, `models`). For Vertex AI the provider's
`base_url` ends in ".../v1beta1/projects/{project}/locations/{location}/publishers/google" and its
models have the `api_version` "", so that the path goes on with "/models/...".

What a prompt begins with is cached by Google itself, so a `PromptCache` asks for nothing here, and
nothing of it is sent. There is no form for one tool at a time (`parallel_tool_calls=False`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ..values.errors import ConfigError, PromptError
from ..values.media import Audio, File, Image
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import (
    Conversation,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    VendorBlock,
)
from ..values.request import OutputFormat, Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .base import Fold
from .body import JSON_HEADERS, join_url, misplaced, post
from .failures import read_answer, request_id
from .gemini_answers import StreamFold, read, read_fault
from .gemini_media import check_size, wire_media
from .gemini_schemas import fitted
from .gemini_tools import function_call, function_response, wire_tools
from .options import refuse

__all__ = [
    "UNSUPPORTED",
    "decode",
    "encode",
    "fold",
    "limits",
    "needs_stream",
    "request_id",
]

UNSUPPORTED: frozenset[str] = frozenset({"verbosity"})

_FIELDS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_new_tokens": "maxOutputTokens",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_BUDGET_OF_EFFORT = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192}
_LARGE_BUDGET = 24_576
_MOST_PLAIN_OUTPUT = 32_768


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    refuse(
        request,
        model,
        "background",
        "completion_window",
        "previous_response_id",
        "parallel_tool_calls",
    )
    body: dict[str, Any] = {"contents": _contents(request.conversation, model)}
    system = request.conversation.system_text
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    body.update(wire_tools(request, model))
    config = _config(request.params, model)
    if request.output is not None:
        config.update(_output(request.output, model))
    if config:
        body["generationConfig"] = config
    if request.params.service_tier is not None:
        body["serviceTier"] = request.params.service_tier
    if request.continuation is not None:
        body["continuationToken"] = request.continuation
    return post(
        _url(request, model),
        body,
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
        nested="generationConfig",
    )


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, read, read_fault)


def fold(head: HttpResponse, model: Model) -> Fold:
    """The reader of a stream; see `base.Adapter.fold`."""
    return StreamFold(head, model)


def needs_stream(request: Request, model: Model) -> bool:
    """Whether the answer may be longer than one that comes whole: 32,768 tokens."""
    return (request.params.max_new_tokens or 0) > _MOST_PLAIN_OUTPUT


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """Nothing: this vendor sends no such headers."""
    return ()


def resource(model: Model) -> str:
    """The model's name among Google's resources: "models/..."."""
    named = model.id.startswith(("models/", "tunedModels/"))
    return model.id if named else f"models/{model.id}"


def method_url(model: Model, method: str) -> str:
    """Where a method of the model is called."""
    version = "v1" if model.api_version is None else model.api_version
    path = f"/{version}" if version else ""
    return join_url(model.provider.base_url, f"{path}/{quote(resource(model))}:{method}")


def _url(request: Request, model: Model) -> str:
    if not request.stream:
        return method_url(model, "generateContent")
    url = method_url(model, "streamGenerateContent")
    return f"{url}{'&' if '?' in url else '?'}alt=sse"


def _output(output: OutputFormat, model: Model) -> dict[str, Any]:
    """A schema is always held to, so for one that is not `strict` there is no other form; strict
    ones are closed first. There is no place for its name.
    """
    wanted: dict[str, Any] = {"responseMimeType": "application/json"}
    if output.schema is None:
        return wanted
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no schema for its answers (the `supports` of its entry lacks "
            "json_schema)"
        )
    schema, problem = fitted(output.schema, strict=output.strict)
    if problem:
        raise ConfigError(f"{model.name} does not take this schema: {problem}")
    return {**wanted, "responseJsonSchema": schema}


def _config(params: SamplingParams, model: Model) -> dict[str, Any]:
    given = params.given()
    config = {wire: given[name] for name, wire in _FIELDS.items() if name in given}
    if params.top_logprobs is not None:
        config["responseLogprobs"] = True
    thinking = _thinking(params, model)
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _thinking(params: SamplingParams, model: Model) -> dict[str, Any]:
    """Level or budget, never both (a 400), and the thoughts' text wherever there is thinking."""
    effort = params.reasoning_effort
    if model.thinking == "level":
        if effort is None:
            return {}
        return {"thinkingLevel": _level(effort, model), "includeThoughts": effort != "none"}
    if model.thinking != "budget":
        return {}
    budget = params.thinking_budget
    if budget is None and effort is not None:
        budget = _BUDGET_OF_EFFORT.get(effort, _LARGE_BUDGET)
    return {} if budget is None else {"thinkingBudget": budget, "includeThoughts": budget != 0}


def _level(effort: str, model: Model) -> str:
    """The vendor's word; there is no off, so "none" is the model's least level."""
    if effort == "none":
        return "MINIMAL" if "minimal" in model.efforts else "LOW"
    return "XHIGH" if effort == "max" else effort.upper()


def _contents(conversation: Conversation, model: Model) -> list[dict[str, Any]]:
    """The turns after the leading system messages, those of one role in a row as one.

    A later system message goes into a user's turn: there is no other place for it.
    """
    contents: list[dict[str, Any]] = []
    tool_names: dict[str, str] = {}
    leading = True
    for message in conversation.messages:
        leading = leading and message.role == "system"
        parts = _wire_parts(message, model, tool_names)
        if leading:
            continue
        role = "model" if message.role == "assistant" else "user"
        if parts and contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise PromptError("Gemini needs a message with text beside the system prompt")
    check_size([part for content in contents for part in content["parts"]])
    return contents


def _wire_parts(message: Message, model: Model, tool_names: dict[str, str]) -> list[dict[str, Any]]:
    """`message`'s parts, without the empty; `tool_names` collects the tools asked for, by id."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"text": part.text})
        elif isinstance(part, (Image, Audio, File)) and message.role == "user":
            parts.append(wire_media(part, model))
        elif isinstance(part, ToolResult) and message.role in ("tool", "user"):
            name = part.name or tool_names.get(part.tool_call_id, part.tool_call_id)
            parts.append(function_response(part, name, model))
        elif message.role == "assistant":
            _add_echo(parts, part, model, tool_names)
        else:
            raise misplaced(part, message.role)
    return [part for part in parts if part != {"text": ""}]


def _add_echo(
    parts: list[dict[str, Any]], part: Part, model: Model, tool_names: dict[str, str]
) -> None:
    """Add what only the model itself says."""
    if isinstance(part, ToolCall):
        tool_names[part.id] = part.name
        first = not any("functionCall" in wire for wire in parts)
        parts.append(function_call(part, model, first=first))
    elif isinstance(part, VendorBlock):
        parts.append(dict(part.data))
    elif not isinstance(part, Thinking):
        raise misplaced(part, "assistant")
    elif part.redacted:
        _sign_text(parts, part.text)
    elif part.signature:
        parts.append({"text": part.text, "thought": True, "thoughtSignature": part.signature})


def _sign_text(parts: list[dict[str, Any]], signature: str) -> None:
    """Put a signature back on the text it came with (see `gemini_answers`), or on an empty one."""
    if not parts or parts[-1].keys() != {"text"}:
        parts.append({"text": ""})
    parts[-1]["thoughtSignature"] = signature
