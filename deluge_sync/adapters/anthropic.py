"""Anthropic Messages.

Written from the types of the anthropic SDK 2.12 (`types/message_create_params`, `types/message`,
`_error_classes`).
"""

from __future__ import annotations

import re
from typing import Any

from ..values.errors import CallError, PromptError, QuotaExhaustedError, TooLongError
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Conversation, Message, Part, Text, Thinking, ToolCall, ToolResult
from ..values.request import Request
from ..values.response import Answer, Usage
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .body import (
    JSON_HEADERS,
    as_list,
    as_object,
    as_text,
    count,
    details,
    join_url,
    misplaced,
    post,
    text_or_none,
)
from .failures import Fault, read_answer, refusal, request_id, sentence, words
from .headers import LimitHeaders, limit_hints, until_rfc3339

__all__ = ["UNSUPPORTED", "decode", "encode", "limits", "request_id"]

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
"""Below the 21,333 above which the vendor's SDK insists on streaming."""
_ROOM_BESIDE_THINKING = 4_096
_LEAST_BUDGET = 1_024
_BUDGET_OF_EFFORT = {"minimal": 1_024, "low": 1_024, "medium": 4_096}
_LARGE_BUDGET = 16_384
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}
# These have no code of their own on the wire, only invalid_request_error.
_TOO_LONG = re.compile(r"(?i)prompt is too long|exceed context limit")
_OUT_OF_CREDIT = re.compile(r"(?i)credit balance is too low|specified API usage limits")
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
    params = request.params
    body: dict[str, Any] = {"model": model.id, "max_tokens": _max_tokens(params, model)}
    system = request.conversation.system_text
    if system:
        body["system"] = system
    body["messages"] = _messages(request.conversation, "mid_system" in model.supports)
    body.update(_sampling(params))
    body.update(_thinking(params, model, body["max_tokens"]))
    return post(
        join_url(model.provider.base_url, "/v1/messages"),
        body,
        JSON_HEADERS,
        model.provider.headers,
        {"anthropic-version": _version(params, model)},
        request.extra_headers,
        extra_body=request.extra_body,
        nested="output_config",
    )


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, _answer, _fault)


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `anthropic-ratelimit-*` headers."""
    return limit_hints(response, _HEADERS, until_rfc3339)


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


def _messages(conversation: Conversation, mid_system: bool) -> list[dict[str, Any]]:
    """The turns after the leading system messages, those of one role in a row as one.

    The vendor would join them too, but wants the results of parallel tool calls in one turn.
    """
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    leading = True
    for message in conversation.messages:
        leading = leading and message.role == "system"
        blocks = [] if leading else [b for p in message.parts for b in _block(p, message.role)]
        if not blocks:
            continue
        role = _role(message.role, mid_system)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if not turns:
        raise PromptError("Anthropic needs a message with text beside the system prompt")
    return [{"role": role, "content": _content(blocks)} for role, blocks in turns]


def _role(role: str, mid_system: bool) -> str:
    return role if role == "assistant" or (role == "system" and mid_system) else "user"


def _content(blocks: list[dict[str, Any]]) -> Any:
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return blocks[0]["text"]
    # Tool results must come first in their turn.
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _block(part: Part, role: str) -> list[dict[str, Any]]:
    """`part` as a block, or none: the API takes neither blank texts nor unsigned thinking."""
    if isinstance(part, Text):
        blank = not part.text or part.text.isspace()
        return [] if blank else [{"type": "text", "text": part.text}]
    if isinstance(part, ToolResult) and role in ("tool", "user"):
        return [_tool_result(part)]
    if isinstance(part, ToolCall) and role == "assistant":
        arguments = dict(part.arguments)
        return [{"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}]
    if isinstance(part, Thinking) and role == "assistant":
        if part.redacted:
            return [{"type": "redacted_thinking", "data": part.text}]
        signed = {"type": "thinking", "thinking": part.text, "signature": part.signature}
        return [signed] if part.signature else []
    raise misplaced(part, role)


def _tool_result(part: ToolResult) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.tool_call_id}
    if part.content:
        block["content"] = part.content
    if part.is_error:
        block["is_error"] = True
    return block


def _answer(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    parts: list[Part] = []
    for block in as_list(body.get("content"), "content"):
        part = _part(as_object(block, "a content block"))
        if part is not None:
            parts.append(part)
    word = body.get("stop_reason")
    finish = _FINISH.get(word, word.lower()) if type(word) is str else None
    error = None
    if finish == "refusal":
        why = body.get("stop_details")
        code = text_or_none(details(why, "category")) or finish
        error = refusal(response, model, code, text_or_none(details(why, "explanation")))
    content = Message("assistant", tuple(parts))
    return Answer(content, _usage(body.get("usage")), finish, text_or_none(body.get("id")), error)


def _part(block: dict[str, Any]) -> Part | None:
    """A block as a part; None for the blocks of server tools, which need no answer of ours."""
    kind = block.get("type")
    if kind == "text":
        return Text(as_text(block.get("text"), "a text block's text"))
    if kind == "thinking":
        text = as_text(block.get("thinking"), "a thinking block's thinking")
        return Thinking(text, text_or_none(block.get("signature")))
    if kind == "redacted_thinking":
        data = as_text(block.get("data"), "a redacted_thinking block's data")
        return Thinking(data, redacted=True)
    if kind == "tool_use":
        return ToolCall(
            as_text(block.get("id"), "a tool_use block's id"),
            as_text(block.get("name"), "a tool_use block's name"),
            as_object(block.get("input"), "a tool_use block's input"),
        )
    return None


def _usage(usage: Any) -> Usage:
    if type(usage) is not dict:
        return Usage()
    cache_read = count(usage.get("cache_read_input_tokens"))
    by_ttl = usage.get("cache_creation")
    short = count(details(by_ttl, "ephemeral_5m_input_tokens"))
    long = count(details(by_ttl, "ephemeral_1h_input_tokens"))
    cache_write = count(usage.get("cache_creation_input_tokens")) or short + long
    return Usage(
        count(usage.get("input_tokens")) + cache_read + cache_write,
        count(usage.get("output_tokens")),
        cache_read,
        cache_write,
        count(details(usage.get("output_tokens_details"), "thinking_tokens")),
        min(long, cache_write),
    )


def _fault(body: Any, status: int) -> Fault:
    error = details(body, "error")
    if type(error) is not dict:
        return Fault(sentence(error or body))
    message = sentence(error.get("message"))
    special = details(error.get("details"), "error_code")
    codes = words(special, error.get("code"), error.get("type"))
    kind: type[CallError] | None = None
    if status <= 400 and not special:
        if _TOO_LONG.search(message):
            kind = TooLongError
        elif _OUT_OF_CREDIT.search(message):
            kind = QuotaExhaustedError
    return Fault(message, codes, kind)
