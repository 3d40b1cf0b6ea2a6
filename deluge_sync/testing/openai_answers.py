"""Good answers of Chat Completions, whole and in chunks, as the types of the openai SDK 3.54 have
them (`types/chat/chat_completion.py`, `chat_completion_chunk.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .answers import Finished, Question, pieces
from .openai_tools import offered
from .wire import Body


def completion(question: Question, finished: Finished, serial: int, now: float) -> Body:
    """The body of a whole answer."""
    choice = {
        "index": 0,
        "message": _message(question, finished, serial),
        "logprobs": _logprobs(question, finished, pieces(finished.text)),
        "finish_reason": _finish(finished),
    }
    body = _frame(question, "chat.completion", serial, now)
    return {**body, "choices": [choice], "usage": _usage(finished)}


def chunks(question: Question, finished: Finished, serial: int, now: float) -> Iterator[Body]:
    """The same answer as the chunks of a stream, all but the closing [DONE]."""
    options = question.body.get("stream_options") or {}
    frame = _frame(question, "chat.completion.chunk", serial, now)
    if options.get("include_usage"):
        frame["usage"] = None
    for choice in _choices(question, finished, serial):
        yield {**frame, "choices": [choice]}
    if options.get("include_usage"):
        yield {**frame, "choices": [], "usage": _usage(finished)}


def _frame(question: Question, kind: str, serial: int, now: float) -> Body:
    tier = question.body.get("service_tier")
    return {
        "id": f"chatcmpl-sandbox{serial:020d}",
        "object": kind,
        "created": int(now),
        "model": question.model,
        "service_tier": _TIERS.get(tier, tier),
        "system_fingerprint": "fp_sandbox",
    }


_TIERS = {None: "default", "auto": "default", "fast": "priority"}
"""The tier that is said to have served, where it has another name than the one asked for."""


def _choices(question: Question, finished: Finished, serial: int) -> Iterator[Body]:
    silent = bool(finished.tool_calls) or finished.finish == "refusal"
    yield _choice({"role": "assistant", "content": None if silent else "", "refusal": None})
    for text in pieces(finished.thinking or ""):
        # OpenAI shows none; DeepSeek, Moonshot, Z.ai and vLLM put it here.
        yield _choice({"reasoning_content": text})
    name = "refusal" if finished.finish == "refusal" else "content"
    for text in pieces(finished.text):
        yield _choice({name: text}, logprobs=_logprobs(question, finished, [text]))
    for at, call in enumerate(_tool_calls(question, finished, serial)):
        yield from _call_choices(at, call)
    yield _choice({}, finish=_finish(finished))


def _call_choices(at: int, call: Body) -> Iterator[Body]:
    kind, name = call["type"], _TEXTS[call["type"]]
    held = call[kind]
    begun = {**call, "index": at, kind: {"name": held["name"], name: ""}}
    yield _choice({"tool_calls": [begun]})
    for text in pieces(held[name]):
        yield _choice({"tool_calls": [{"index": at, kind: {name: text}}]})


_TEXTS = {"function": "arguments", "custom": "input"}
"""What each kind of call takes."""


def _choice(delta: Body, *, finish: str | None = None, logprobs: Body | None = None) -> Body:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _finish(finished: Finished) -> str:
    return "stop" if finished.finish == "refusal" else finished.finish


def _message(question: Question, finished: Finished, serial: int) -> Body:
    refused = finished.finish == "refusal"
    silent = refused or (finished.tool_calls and not finished.text)
    message: Body = {
        "role": "assistant",
        "content": None if silent else finished.text,
        "refusal": finished.text if refused else None,
        "annotations": [],
    }
    if finished.thinking is not None:
        # As in the chunks.
        message["reasoning_content"] = finished.thinking
    if finished.tool_calls:
        message["tool_calls"] = _tool_calls(question, finished, serial)
    return message


def _tool_calls(question: Question, finished: Finished, serial: int) -> list[Body]:
    custom = offered(question.body, "custom")
    calls = []
    for at, (name, arguments) in enumerate(finished.tool_calls):
        kind, text = "function", json.dumps(arguments)
        if name in custom:
            kind, text = "custom", arguments["input"]
        held = {"name": name, _TEXTS[kind]: text}
        calls.append({"id": f"call_sandbox{serial:016d}{at:02d}", "type": kind, kind: held})
    return calls


def _logprobs(question: Question, finished: Finished, texts: list[str]) -> Body | None:
    """Of tokens of four characters each; the likeliest of them was always taken."""
    if not question.body.get("logprobs"):
        return None
    most = question.body.get("top_logprobs") or 0
    tokens = [{**_token(text, 0), "top_logprobs": _top(text, most)} for text in texts]
    refused = finished.finish == "refusal"
    return {"content": None if refused else tokens, "refusal": tokens if refused else None}


def _top(text: str, most: int) -> list[Body]:
    return [_token(text if at == 0 else f"{text}{at}", at) for at in range(most)]


def _token(text: str, rank: int) -> Body:
    encoded = text.encode("utf-8", "replace")
    return {"token": text, "logprob": -0.25 - rank, "bytes": list(encoded)}


def _usage(finished: Finished) -> Any:
    usage = finished.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
