"""A completion of OpenAI's Chat Completions, and of all hosts that speak it, as an answer.

From the openai SDK 3.54 (`types/chat/chat_completion.py`, `types/completion_usage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import RefusalError, TransientError
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall
from ..values.response import Answer, TokenLogprob, Usage
from ..values.wire import HttpResponse
from . import openai_common
from .body import (
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    load_arguments,
    text_or_none,
)
from .failures import Fault, failure, refusal

_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
_HUGE = 1e300
"""What no logprob is: beyond are infinities, and whole numbers that are no float."""


def read_completion(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    """The answer in `body`; where it says that the model failed, that as a `CallError`."""
    choices = as_list(body.get("choices"), "choices")
    if not choices:
        raise MalformedError("choices is empty")
    choice = as_object(choices[0], "choices[0]")
    word = choice.get("finish_reason")
    if choice.get("error") or word == "error":
        # OpenRouter and Mistral report a generation that broke off this way.
        raise failure(response, model, fault(choice, response.status))
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
    return Answer(
        Message("assistant", tuple(parts)),
        read_usage(body.get("usage")),
        finish,
        text_or_none(body.get("id")),
        error,
        _logprobs(choice.get("logprobs")),
        service_tier=text_or_none(body.get("service_tier")),
    )


def read_usage(usage: Any) -> Usage:
    """Tokens, in all the places where hosts say them."""
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


def fault(body: Any, status: int) -> Fault:
    """What went wrong; see `openai_common.fault`. Hosts have forms of their own."""
    said = openai_common.fault(body, status)
    error = details(body, "error") or body
    if details(details(error, "metadata"), "flagged_input") is not None:
        # OpenRouter's moderation; as a 403 it would pass for a bad key.
        return said._replace(kind=RefusalError)
    if details(error, "finish_reason") == "error":
        return Fault("the model failed while it wrote the answer", said.words, TransientError)
    return said


def thought(chunk: dict[str, Any]) -> str:
    """The text of Mistral's chunk of thinking."""
    inner = chunk.get("thinking")
    texts = [inner] if type(inner) is str else as_list(inner, "a thinking chunk")
    return "".join(
        as_text(details(text, "text") or "" if type(text) is dict else text, "a thought")
        for text in texts
    )


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
            parts.append(Thinking(thought(chunk), text_or_none(chunk.get("signature"))))
    return parts


def _tool_call(call: Any) -> ToolCall:
    call = as_object(call, "a tool call")
    identity = as_text(call.get("id") or "", "a tool call's id")
    if call.get("type") == "custom":
        custom = as_object(call.get("custom"), "a tool call's custom")
        name = as_text(custom.get("name"), "a tool call's name")
        arguments = {"input": as_text(custom.get("input"), "a tool's input")}
        return ToolCall(identity, name, arguments, kind="custom")
    function = as_object(call.get("function"), "a tool call's function")
    arguments = load_arguments(function.get("arguments"), "a tool call's arguments")
    return ToolCall(identity, as_text(function.get("name"), "a tool call's name"), arguments)


def _cache_read(usage: Mapping[str, Any], prompt: Any) -> int:
    """Prompt tokens read from the cache: in the details, or beside them (Moonshot, DeepSeek)."""
    return (
        count(details(prompt, "cached_tokens"))
        or count(usage.get("cached_tokens"))
        or count(usage.get("prompt_cache_hit_tokens"))
    )


def _logprobs(value: Any) -> tuple[TokenLogprob, ...] | None:
    """Those of the text. What is not one is left out: an answer is not thrown away for it."""
    tokens = details(value, "content")
    if type(tokens) is not list:
        return None
    read = tuple(
        TokenLogprob(*pair, _top(details(token, "top_logprobs")))
        for token in tokens
        for pair in _pair(token)
    )
    return read or None


def _top(tokens: Any) -> tuple[tuple[str, float], ...]:
    if type(tokens) is not list:
        return ()
    return tuple(pair for token in tokens for pair in _pair(token))


def _pair(token: Any) -> list[tuple[str, float]]:
    text, logprob = details(token, "token"), details(token, "logprob")
    if type(text) is str and type(logprob) in (int, float) and -_HUGE < logprob < _HUGE:
        return [(text, float(logprob))]
    return []
