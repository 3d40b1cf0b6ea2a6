"""Anthropic Messages.

Written from the types of the anthropic SDK 2.12 (`types/message_create_params` and what it names).
Version 2026-10-21 of the API does not take `temperature`, `top_p` and `top_k`; 2023-06-01 does, and
differs in nothing else that is sent here.
"""

from __future__ import annotations

from typing import Any

from ..values.errors import ConfigError, PromptError
from ..values.media import Audio, File, Image
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Conversation, Part, Text, Thinking, ToolCall, ToolResult, VendorBlock
from ..values.request import OutputFormat, Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .address import address, placed, version_header
from .anthropic_answers import TOOLSETS, AnswerFold, fault, read
from .anthropic_cache import mark_prompt, mark_tools
from .anthropic_media import document, picture
from .anthropic_tools import beta_header, fitted, tool_fields
from .body import JSON_HEADERS, dump, misplaced, post
from .failures import read_answer, request_id
from .headers import LimitHeaders, limit_hints, until_rfc3339
from .options import forced_and_thinking, refuse

__all__ = ["UNSUPPORTED", "decode", "encode", "fold", "limits", "needs_stream", "request_id"]

UNSUPPORTED: frozenset[str] = frozenset(
    {
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "verbosity",
    }
)

_API_VERSION = "2026-10-21"
_DEFAULT_MAX_TOKENS = 16_000
_MOST_TOKENS_AT_ONCE = 21_333
"""Of `max_tokens`: more may take longer than ten minutes, and the vendor's SDK insists on a stream
(`_base_client._calculate_nonstreaming_timeout`).
"""
_PLAIN = {"type", "text"}
_MOST_BODY = 32 << 20
_SERVICE_TIERS = ("auto", "standard_only")
_ROOM_BESIDE_THINKING = 4_096
_LEAST_BUDGET = 1_024
_BUDGET_OF_EFFORT = {"minimal": 1_024, "low": 1_024, "medium": 4_096}
_LARGE_BUDGET = 16_384
_HEADERS = tuple(
    LimitHeaders(
        name.replace("-", "_"),
        *(f"anthropic-ratelimit-{name}-{what}" for what in ("limit", "remaining", "reset")),
    )
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
)


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`.

    Parameters that an old model needs the legacy API version for (temperature, top_p, top_k) get
    `Model.legacy_api_version` where there is one.
    """
    _check_options(request, model)
    version = _version(request.params, model)
    call = post(
        address(model, "/v1/messages", stream=request.stream),
        placed(_body(request, model), model, version),
        JSON_HEADERS,
        model.provider.headers,
        version_header(model, "anthropic-version", version),
        request.extra_headers,
        beta_header(request, model),
        extra_body=mark_tools(request.extra_body, request.prompt_cache),
        nested="output_config",
    )
    if len(call.body) > _MOST_BODY:
        raise PromptError(
            f"this request is {len(call.body):,} bytes long; {model.name} takes at most "
            f"{_MOST_BODY:,}: give large files by URL or upload them"
        )
    return call


def needs_stream(request: Request, model: Model) -> bool:
    """Above 21,333 `max_tokens`; see `base.Adapter.needs_stream`."""
    asked = request.extra_body.get("max_tokens")
    most = asked if type(asked) is int else _max_tokens(request.params, model)
    return most > _MOST_TOKENS_AT_ONCE


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, read, fault)


def fold(head: HttpResponse, model: Model) -> AnswerFold:
    """The reader of a stream; see `base.Adapter.fold`."""
    return AnswerFold(head, model)


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `anthropic-ratelimit-*` headers."""
    return limit_hints(response, _HEADERS, until_rfc3339)


def _check_options(request: Request, model: Model) -> None:
    """A `ConfigError` for what this wire format has no form for."""
    refuse(
        request,
        model,
        "background",
        "completion_window",
        "previous_response_id",
        "continuation",
        "json_mode",
    )
    tier = request.params.service_tier
    if tier is not None and tier not in _SERVICE_TIERS:
        known = " or ".join(_SERVICE_TIERS)
        raise ConfigError(f"service_tier of {model.name} must be {known}, not {tier!r}")
    if request.prompt_cache is not None and "prompt_caching" not in model.supports:
        raise ConfigError(
            f"{model.name} does not cache prompts (the `supports` of its entry lacks "
            "prompt_caching): leave `cache` out"
        )


def _body(request: Request, model: Model) -> dict[str, Any]:
    params = request.params
    body: dict[str, Any] = {"model": model.id, "max_tokens": _max_tokens(params, model)}
    if request.stream:
        body["stream"] = True
    system = request.conversation.system_text
    if system:
        body["system"] = system
    body["messages"] = _messages(request.conversation, model)
    body.update(mark_tools(tool_fields(request, model), request.prompt_cache))
    body.update(_sampling(params))
    body.update(_thinking(params, model, body["max_tokens"]))
    _check_forced(body, model)
    if request.output is not None:
        body["output_config"] = {
            **body.get("output_config", {}),
            "format": _format(request.output, model),
        }
    if request.prompt_cache is not None:
        mark_prompt(body, request.prompt_cache)
    return body


def _check_forced(body: dict[str, Any], model: Model) -> None:
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced and body.get("thinking", {}).get("type") in ("adaptive", "enabled"):
        raise forced_and_thinking(model)


def _format(output: OutputFormat, model: Model) -> dict[str, Any]:
    """The vendor holds the model to every schema, whether `strict` or not."""
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no schema for its answers (the `supports` of its entry lacks "
            "json_schema)"
        )
    form = fitted(dump(dict(output.schema or {})))
    if form.problem:
        raise ConfigError(f"{model.name} does not take this schema: {form.problem}")
    return {"type": "json_schema", "schema": form.schema}


def _version(params: SamplingParams, model: Model) -> str:
    sampled = not (params.temperature is params.top_p is params.top_k is None)
    if sampled and model.legacy_api_version:
        return model.legacy_api_version
    return model.api_version or _API_VERSION


def _max_tokens(params: SamplingParams, model: Model) -> int:
    """What was asked for, else a default that a thinking budget fits into."""
    if params.max_new_tokens is not None:
        return params.max_new_tokens
    default = min(model.max_output_tokens or 8_192, _DEFAULT_MAX_TOKENS)
    budget = params.thinking_budget or 0
    if model.thinking != "budget" or budget < default:
        return default
    return min(budget + _ROOM_BESIDE_THINKING, model.max_output_tokens or budget * 2)


def _sampling(params: SamplingParams) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "stop_sequences": params.stop,
        "service_tier": params.service_tier,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _thinking(params: SamplingParams, model: Model, max_tokens: int) -> dict[str, Any]:
    """How hard to think, in the words this model takes (see `Model.thinking`)."""
    effort = params.reasoning_effort
    if model.thinking == "budget":
        return _budget(params.thinking_budget, effort, max_tokens)
    if effort is None:
        return {}
    if model.thinking == "adaptive":
        if effort == "none":
            return {"thinking": {"type": "disabled"}}
        # Newer models leave the text out unless it is asked for.
        thinking = {"type": "adaptive", "display": "summarized"}
        return {"thinking": thinking, "output_config": {"effort": effort}}
    return {} if effort == "none" else {"output_config": {"effort": effort}}


def _budget(budget: int | None, effort: str | None, max_tokens: int) -> dict[str, Any]:
    """A budget as given; one made from an effort takes at most half of what may be written."""
    if budget is None and effort not in (None, "none"):
        budget = min(_BUDGET_OF_EFFORT.get(effort or "", _LARGE_BUDGET), max_tokens // 2)
        if budget < _LEAST_BUDGET:
            return {}
    if not budget:
        return {"thinking": {"type": "disabled"}} if budget == 0 or effort == "none" else {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _messages(conversation: Conversation, model: Model) -> list[dict[str, Any]]:
    """The turns after the leading system messages, those of one role in a row as one.

    The vendor would join them too, but wants the results of parallel tool calls in one turn.
    """
    mid_system = "mid_system" in model.supports
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    leading = True
    for message in conversation.messages:
        leading = leading and message.role == "system"
        parts = () if leading else message.parts
        blocks = [block for part in parts for block in _block(part, message.role, model)]
        if not blocks:
            continue
        role = _role(message.role, mid_system)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if not turns:
        raise PromptError("Anthropic needs a message with content beside the system prompt")
    return [{"role": role, "content": _content(blocks)} for role, blocks in turns]


def _role(role: str, mid_system: bool) -> str:
    return role if role == "assistant" or (role == "system" and mid_system) else "user"


def _content(blocks: list[dict[str, Any]]) -> Any:
    if len(blocks) == 1 and blocks[0].keys() == _PLAIN:
        return blocks[0]["text"]
    # Tool results must come first in their turn.
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")


def _block(part: Part, role: str, model: Model) -> list[dict[str, Any]]:
    """`part` as a block, or none: the API takes neither blank texts nor unsigned thinking.

    Thinking goes back as it came and where it was: a changed or moved block is a 400.
    """
    if isinstance(part, Text):
        blank = not part.text or part.text.isspace()
        return [] if blank else [{"type": "text", "text": part.text}]
    if isinstance(part, (Image, File, Audio)) and role == "user":
        return [_media(part, model)]
    if isinstance(part, ToolResult) and role in ("tool", "user"):
        return [_tool_result(part, model)]
    if isinstance(part, ToolCall) and role == "assistant":
        return [_tool_use(part)]
    if isinstance(part, VendorBlock) and role == "assistant":
        return [dict(part.data)]
    if isinstance(part, Thinking) and role == "assistant":
        if part.redacted:
            return [{"type": "redacted_thinking", "data": part.text}]
        signed = {"type": "thinking", "thinking": part.text, "signature": part.signature}
        return [signed] if part.signature else []
    raise misplaced(part, role)


def _media(part: Image | File | Audio, model: Model) -> dict[str, Any]:
    if isinstance(part, Image):
        return picture(part, model)
    if isinstance(part, File):
        return document(part, model)
    raise PromptError(f"{model.name} takes no sound: Anthropic Messages has no form for it")


def _tool_use(part: ToolCall) -> dict[str, Any]:
    block = {"type": "tool_use", "id": part.id, "name": part.name, "input": dict(part.arguments)}
    return {**block, **_toolset(part.kind)}


def _toolset(kind: str | None) -> dict[str, str]:
    return {"toolset_name": kind} if kind in TOOLSETS else {}


def _tool_result(part: ToolResult, model: Model) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.tool_call_id}
    if part.images:
        texts = [{"type": "text", "text": part.content}] if part.content.strip() else []
        block["content"] = texts + [picture(image, model) for image in part.images]
    elif part.content:
        block["content"] = part.content
    if part.is_error:
        block["is_error"] = True
    return {**block, **_toolset(part.kind)}
