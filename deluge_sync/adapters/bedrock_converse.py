"""Amazon Bedrock's Converse: one wire format for the models of all vendors there.

Written from botocore 1.44's model of `bedrock-runtime` (2023-09-30).
"""

from __future__ import annotations

import re
from typing import Any

from ..values.errors import CallError, ConfigError, PromptError, QuotaExhaustedError, TooLongError
from ..values.media import Audio, File, Image
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Conversation, Part, Text, Thinking, ToolCall, ToolResult, VendorBlock
from ..values.request import OutputFormat, PromptCache, Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .address import address
from .body import JSON_HEADERS, details, dump, misplaced, post
from .converse_answers import ConverseFold, read
from .converse_media import wire_media
from .converse_tools import tool_config
from .failures import Fault, read_answer, request_id, sentence, words
from .options import forced_and_thinking, refuse

__all__ = [
    "UNSUPPORTED",
    "decode",
    "encode",
    "fold",
    "limits",
    "needs_stream",
    "request_id",
]

UNSUPPORTED: frozenset[str] = frozenset(
    {
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "verbosity",
    }
)

_FIELDS = {
    "max_new_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "stop": "stopSequences",
}
_TIERS = ("priority", "default", "flex", "reserved")
_CACHE_TIMES = ("5m", "1h")
# ValidationException and ThrottlingException say only in words which one it is.
_TOO_LONG = re.compile(r"(?i)(?:input|prompt) is too long|too many input tokens|context length")
_PER_DAY = re.compile(r"(?i)tokens per day|daily")


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    refuse(
        request,
        model,
        "background",
        "completion_window",
        "previous_response_id",
        "continuation",
        "json_mode",
    )
    url = address(
        model,
        "/model/{id}/converse",
        stream=request.stream,
        stream_path="/model/{id}/converse-stream",
    )
    return post(
        url,
        _body(request, model),
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
        nested="additionalModelRequestFields",
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""

    def fault(body: Any, status: int) -> Fault:
        return read_fault(body, status, response.headers.get("x-amzn-errortype", ""))

    return read_answer(response, model, read, fault)


def fold(head: HttpResponse, model: Model) -> ConverseFold:
    """The reader of a stream; see `base.Adapter.fold`. Its events are those of
    `event_stream.FrameReader`.
    """
    return ConverseFold(head, model, read_fault)


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """Nothing: this vendor sends no such headers."""
    return ()


def read_fault(body: Any, status: int, error_type: str = "") -> Fault:
    """What an error says; its type is in a header ("ValidationException:http://..."), or in an
    event.
    """
    error = details(body, "error")
    held = error if isinstance(error, dict) else body
    code = error_type.partition(":")[0] or details(held, "type")
    message = sentence(details(held, "message") or details(held, "Message"))
    kind: type[CallError] | None = None
    if _TOO_LONG.search(message):
        kind = TooLongError
    elif code and "throttling" in str(code).lower() and _PER_DAY.search(message):
        kind = QuotaExhaustedError
    return Fault(message, words(code), kind)


def _body(request: Request, model: Model) -> dict[str, Any]:
    params, cache = request.params, request.prompt_cache
    _check_cache(cache, model)
    body: dict[str, Any] = {"messages": _messages(request.conversation, model)}
    if cache is not None:
        _mark_messages(body["messages"], cache)
    system = request.conversation.system_text
    if system:
        body["system"] = [{"text": system}]
        if cache is not None and cache.pattern == "system_and_tools":
            body["system"].append(_cache_point(cache))
    body.update(_tools(request, model))
    config = {_FIELDS[name]: value for name, value in params.given().items() if name in _FIELDS}
    if config:
        body["inferenceConfig"] = config
    output, extra = _thinking(params, model)
    _check_forced(body, extra, model)
    if request.output is not None:
        output["textFormat"] = _format(request.output, model)
    if output:
        body["outputConfig"] = output
    if extra:
        body["additionalModelRequestFields"] = extra
    if params.service_tier is not None:
        body["serviceTier"] = {"type": _tier(params.service_tier, model)}
    return body


def _check_cache(cache: PromptCache | None, model: Model) -> None:
    if cache is not None and "prompt_caching" not in model.supports:
        raise ConfigError(
            f"{model.name} does not cache prompts (the `supports` of its entry lacks "
            "'prompt_caching'): leave `cache` out"
        )


def _tools(request: Request, model: Model) -> dict[str, Any]:
    config, cache = tool_config(request, model), request.prompt_cache
    if config is None:
        return {}
    if cache is not None and cache.pattern in ("tools_only", "system_and_tools"):
        config["tools"].append(_cache_point(cache))
    return {"toolConfig": config}


def _check_forced(body: dict[str, Any], extra: dict[str, Any], model: Model) -> None:
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    thinks = extra.get("thinking", {}).get("type") in ("adaptive", "enabled")
    if thinks and ("any" in choice or "tool" in choice):
        raise forced_and_thinking(model)


def _tier(tier: str, model: Model) -> str:
    if tier not in _TIERS:
        raise ConfigError(f"{model.name}: service_tier is one of {', '.join(_TIERS)}, not {tier!r}")
    return tier


def _thinking(params: SamplingParams, model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """How hard to think, in the words this model takes (see `Model.thinking`): what goes into
    `outputConfig`, and what beside Converse's own fields.
    """
    effort = params.reasoning_effort
    if model.thinking == "budget":
        return {}, _budget(params.thinking_budget, effort)
    if effort is None or not model.thinking:
        return {}, {}
    if model.thinking == "level":  # Amazon's Nova
        off = effort == "none"
        level = {"type": "disabled"} if off else {"type": "enabled", "maxReasoningEffort": effort}
        return {}, {"reasoningConfig": level}
    if model.thinking == "adaptive":
        if effort == "none":
            return {}, {"thinking": {"type": "disabled"}}
        return {"effort": effort}, {"thinking": {"type": "adaptive"}}
    return ({}, {}) if effort == "none" else ({"effort": effort}, {})


_BUDGET_OF_EFFORT = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 4_096}
_LARGE_BUDGET = 16_384


def _budget(budget: int | None, effort: str | None) -> dict[str, Any]:
    if budget is None and effort is not None:
        budget = _BUDGET_OF_EFFORT.get(effort, _LARGE_BUDGET)
    if budget is None:
        return {}
    thinking = {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}
    return {"thinking": thinking}


def _format(output: OutputFormat, model: Model) -> dict[str, Any]:
    """A schema, which goes as a text. There is no form for one that is not strictly held to."""
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no output_schema (its entry's `supports` lacks 'json_schema'): "
            "ask for JSON in the prompt, or use another model"
        )
    schema = dump(output.schema).decode()
    return {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": schema, "name": output.name}},
    }


def _cache_point(cache: PromptCache) -> dict[str, Any]:
    point = {"type": "default"}
    if cache.ttl is not None:
        if cache.ttl not in _CACHE_TIMES:
            raise ConfigError(f"cache_ttl is 5m or 1h at Bedrock, not {cache.ttl!r}")
        point["ttl"] = cache.ttl
    return {"cachePoint": point}


def _mark_messages(turns: list[dict[str, Any]], cache: PromptCache) -> None:
    """A breakpoint behind each of the last user messages that `cache` names."""
    users = [turn for turn in turns if turn["role"] == "user"]
    for turn in users[len(users) - min(cache.user_messages, len(users)) :]:
        turn["content"].append(_cache_point(cache))


def _messages(conversation: Conversation, model: Model) -> list[dict[str, Any]]:
    """The turns after the leading system messages, those of one role in a row as one."""
    turns: list[dict[str, Any]] = []
    leading = True
    for message in conversation.messages:
        leading = leading and message.role == "system"
        if leading:
            continue
        blocks = [block for part in message.parts for block in _block(part, message.role, model)]
        role = _role(message.role, model)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise PromptError("Bedrock needs a message with text beside the system prompt")
    for turn in turns:  # tool results must come first, but those that Bedrock gave by itself
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: "toolResult" not in block)
    return turns


def _role(role: str, model: Model) -> str:
    if role == "assistant" or (role == "system" and "mid_system" in model.supports):
        return role
    return "user"


def _block(part: Part, role: str, model: Model) -> list[dict[str, Any]]:
    """`part` as a block, or none: the API takes neither blank texts nor unsigned thinking."""
    if isinstance(part, Text):
        return [{"text": part.text}] if part.text and not part.text.isspace() else []
    if isinstance(part, ToolResult) and role in ("tool", "user"):
        _require_no_computer(part)
        return [{"toolResult": _tool_result(part, model)}]
    if isinstance(part, VendorBlock) and role == "assistant":
        return [dict(part.data)]
    if isinstance(part, ToolCall) and role == "assistant":
        _require_no_computer(part)
        call = {"toolUseId": part.id, "name": part.name, "input": dict(part.arguments)}
        return [{"toolUse": call}]
    if isinstance(part, Thinking) and role == "assistant":
        return _reasoning(part)
    if isinstance(part, (Image, Audio, File)) and role == "user":
        return [wire_media(part, model)]
    raise misplaced(part, role)


def _reasoning(part: Thinking) -> list[dict[str, Any]]:
    if part.redacted:
        return [{"reasoningContent": {"redactedContent": part.text}}]
    if not part.signature:
        return []
    text = {"text": part.text, "signature": part.signature}
    return [{"reasoningContent": {"reasoningText": text}}]


def _require_no_computer(part: ToolCall | ToolResult) -> None:
    if part.kind == "computer":
        raise PromptError("Bedrock's Converse has no form for a computer's actions")


def _tool_result(part: ToolResult, model: Model) -> dict[str, Any]:
    content = [{"text": part.content}] if part.content else []
    content += [wire_media(image, model) for image in part.images]
    result: dict[str, Any] = {"toolUseId": part.tool_call_id, "content": content}
    if part.is_error:
        result["status"] = "error"
    return result
