"""OpenAI Chat Completions, and every host that speaks it.

Written from the types of the openai SDK 3.54 (`types/chat`, `types/completion_usage`); what other
hosts do differently is a field of `Model` where we send, and tolerated where we read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..values.errors import CallError, RefusalError, TooLongError, TransientError
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Message, Part, Text, Thinking, ToolCall, ToolResult
from ..values.request import Request
from ..values.response import Answer, Usage
from ..values.wire import HttpRequest, HttpResponse, LimitHint
from .body import (
    JSON_HEADERS,
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    dump,
    join_url,
    load_arguments,
    misplaced,
    post,
    text_or_none,
)
from .failures import Fault, failure, read_answer, refusal, request_id, sentence, words
from .headers import LimitHeaders, duration, limit_hints

__all__ = ["UNSUPPORTED", "decode", "encode", "limits", "needs_stream", "request_id"]

UNSUPPORTED: frozenset[str] = frozenset({"top_k", "thinking_budget"})

_SAME_NAME = frozenset(
    {
        "temperature",
        "top_p",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "verbosity",
    }
)
_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
_TOO_LONG = re.compile(
    r"(?i)maximum (?:context|model) length|context (?:length|window|size)|prompt is too long"
    r"|reduce the length of the (?:messages|prompt|input)"
)
_LIMIT_AND_REQUESTED = re.compile(
    r"\bLimit:? ([0-9]{1,15}), (?:Used:? [0-9]+, )?Requested:? ([0-9]{1,15})"
)
_HEADERS = tuple(
    LimitHeaders(name, *(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset")))
    for name in ("requests", "tokens")
)


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    messages: list[dict[str, Any]] = []
    echo_reasoning = "echo_reasoning" in model.supports
    for message in request.conversation.messages:
        messages += _messages(message, echo_reasoning)
    return post(
        join_url(model.provider.base_url, "/chat/completions"),
        {"model": model.id, "messages": messages, **_sampling(request.params, model)},
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, _answer, _fault)


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `x-ratelimit-*` headers."""
    return limit_hints(response, _HEADERS, duration)


def _sampling(params: SamplingParams, model: Model) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in params.given().items():
        if name in _SAME_NAME:
            fields[name] = value
        elif name == "max_new_tokens":
            fields[model.max_tokens_field] = value
        elif name == "seed":
            fields[model.seed_field] = value
        elif name == "reasoning_effort":
            fields.update(_reasoning(value, model))
    if params.top_logprobs is not None:
        fields["logprobs"] = True
    return fields


def _reasoning(effort: str, model: Model) -> dict[str, Any]:
    """The effort, and the switch beside it that DeepSeek and its like have ("adaptive")."""
    if model.thinking != "adaptive":
        return {"reasoning_effort": effort}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}


def _messages(message: Message, echo_reasoning: bool) -> list[dict[str, Any]]:
    """`message` in wire form: one message, or one per tool result and one for the rest."""
    if message.role == "assistant":
        return [_assistant(message, echo_reasoning)]
    results, texts = [], []
    for part in message.parts:
        if isinstance(part, ToolResult) and message.role != "system":
            results.append(
                {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.content}
            )
        elif isinstance(part, Text):
            texts.append(part.text)
        else:
            raise misplaced(part, message.role)
    if texts or not results:
        role = "system" if message.role == "system" else "user"
        results.append({"role": role, "content": _text_content(texts)})
    return results


def _text_content(texts: list[str]) -> Any:
    """A plain string where it will do: not every host takes a list of parts."""
    if len(texts) > 1:
        return [{"type": "text", "text": text} for text in texts]
    return texts[0] if texts else ""


def _assistant(message: Message, echo_reasoning: bool) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": message.text}
    calls = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": dump(dict(part.arguments)).decode()}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, ToolResult):
            raise misplaced(part, message.role)
    if calls:
        turn["tool_calls"] = calls
    elif turn["content"] is None:
        turn["content"] = ""
    if echo_reasoning and message.thinking:
        turn["reasoning_content"] = message.thinking
    return turn


def _answer(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    choices = as_list(body.get("choices"), "choices")
    if not choices:
        raise MalformedError("choices is empty")
    choice = as_object(choices[0], "choices[0]")
    word = choice.get("finish_reason")
    if choice.get("error") or word == "error":
        # OpenRouter and Mistral report a generation that broke off this way.
        raise failure(response, model, _fault(choice, response.status))
    message = as_object(choice.get("message"), "choices[0].message")
    parts = _parts(message)
    finish = _FINISH.get(word, word.lower()) if type(word) is str else None
    if finish == "stop" and parts and type(parts[-1]) is ToolCall:
        finish = "tool_calls"
    error = None
    declined = text_or_none(message.get("refusal"))
    if declined or finish == "content_filter":
        finish = "refusal" if declined else "content_filter"
        error = refusal(response, model, finish, declined)
    content = Message("assistant", tuple(parts))
    return Answer(content, _usage(body.get("usage")), finish, text_or_none(body.get("id")), error)


def _parts(message: dict[str, Any]) -> list[Part]:
    content = message.get("content")
    thoughts = text_or_none(message.get("reasoning_content")) or text_or_none(
        message.get("reasoning")
    )
    parts: list[Part] = [Thinking(thoughts)] if thoughts else []
    calls = message.get("tool_calls")
    if type(content) is str:
        if content or not calls:
            parts.append(Text(content))
    elif content is not None:
        parts += _chunks(as_list(content, "message.content"))
    elif "content" not in message and not (thoughts or calls or message.get("refusal")):
        raise MalformedError("message.content is missing")
    if calls:
        parts += [_tool_call(call) for call in as_list(calls, "message.tool_calls")]
    return parts


def _chunks(content: list[Any]) -> list[Part]:
    """Mistral's content in chunks: text, thinking, and others that are not text."""
    parts: list[Part] = []
    for chunk in content:
        chunk = as_object(chunk, "a chunk of message.content")
        if chunk.get("type") == "text":
            parts.append(Text(as_text(chunk.get("text"), "a text chunk's text")))
        elif chunk.get("type") == "thinking":
            inner = chunk.get("thinking")
            texts = [inner] if type(inner) is str else as_list(inner, "a thinking chunk")
            thoughts = "".join(
                as_text(details(text, "text") or "" if type(text) is dict else text, "a thought")
                for text in texts
            )
            parts.append(Thinking(thoughts, text_or_none(chunk.get("signature"))))
    return parts


def _tool_call(call: Any) -> ToolCall:
    call = as_object(call, "a tool call")
    identity = as_text(call.get("id") or "", "a tool call's id")
    if call.get("type") == "custom":
        custom = as_object(call.get("custom"), "a tool call's custom")
        name, arguments = custom.get("name"), {"input": custom.get("input")}
    else:
        function = as_object(call.get("function"), "a tool call's function")
        name = function.get("name")
        arguments = load_arguments(function.get("arguments"), "a tool call's arguments")
    return ToolCall(identity, as_text(name, "a tool call's name"), arguments)


def _usage(usage: Any) -> Usage:
    if type(usage) is not dict:
        return Usage()
    read, written = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    reasoning = count(details(completion, "reasoning_tokens"))
    if reasoning and usage.get("total_tokens") == read + written + reasoning:
        # xAI leaves reasoning out of completion_tokens; its total gives it away.
        written += reasoning
    cache_write = count(details(prompt, "cache_write_tokens"))
    by_ttl = details(prompt, "cache_write_tokens_details")
    return Usage(
        read,
        written,
        _cache_read(usage, prompt),
        cache_write,
        reasoning,
        min(count(details(by_ttl, "ttl_12h_tokens")), cache_write),
    )


def _cache_read(usage: Mapping[str, Any], prompt: Any) -> int:
    """Prompt tokens read from the cache: in the details, or beside them (Moonshot, DeepSeek)."""
    return (
        count(details(prompt, "cached_tokens"))
        or count(usage.get("cached_tokens"))
        or count(usage.get("prompt_cache_hit_tokens"))
    )


def _fault(body: Any, status: int) -> Fault:
    """Reads `{"error": {...}}`, `{"error": "text"}` and the flat forms of Mistral and FastAPI."""
    error = details(body, "error") or body
    if type(error) is not dict:
        return Fault(sentence(error))
    message = sentence(error.get("message")) or sentence(error.get("detail"))
    codes = words(error.get("code"), error.get("type"))
    kind: type[CallError] | None = None
    if (status <= 400 and _TOO_LONG.search(message)) or _never_fits(message):
        kind = TooLongError
    elif details(error.get("metadata"), "flagged_input") is not None:
        # OpenRouter's moderation; as a 403 it would pass for a bad key.
        kind = RefusalError
    elif error.get("finish_reason") == "error":
        kind, message = TransientError, "the model failed while it wrote the answer"
    return Fault(message, codes, kind)


def _never_fits(message: str) -> bool:
    """Whether one request asks for more tokens than a whole minute allows (a 429 for ever)."""
    match = _LIMIT_AND_REQUESTED.search(message)
    return match is not None and int(match[2]) > int(match[1])
