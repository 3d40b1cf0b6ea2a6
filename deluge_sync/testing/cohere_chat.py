"""Cohere: `POST /v2/chat`. Shapes as in the cohere SDK 7.3 (`v2`, `types`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRING_OR_ARRAY,
    STRINGS,
    Fields,
    Path,
    VendorError,
    bracketed,
    check_fields,
    integer_from,
    number_between,
    one_of,
)
from .codec import dump_json, event
from .http import Headers
from .limiter import LimitState, Refusal
from .wire import Body, Route

PATH = "/v2/chat"

_FIELDS: Fields = {
    "model": STRING,
    "messages": ARRAY,
    "tools": ARRAY,
    "strict_tools": BOOLEAN,
    "documents": ARRAY,
    "citation_options": OBJECT,
    "response_format": OBJECT,
    "safety_mode": one_of("CONTEXTUAL", "STRICT", "OFF"),
    "max_tokens": integer_from(0),
    "stop_sequences": STRINGS,
    "temperature": NUMBER,
    "seed": INTEGER,
    "frequency_penalty": number_between(0, 1),
    "presence_penalty": number_between(0, 1),
    "k": number_between(0, 500),
    "p": number_between(0.01, 0.99),
    "logprobs": BOOLEAN,
    "tool_choice": one_of("REQUIRED", "NONE"),
    "thinking": OBJECT,
    "priority": INTEGER,
    "stream": BOOLEAN,
}
_MESSAGE: Fields = {
    "role": one_of("user", "assistant", "system", "tool"),
    "content": STRING_OR_ARRAY,
    "tool_calls": ARRAY,
    "tool_plan": STRING,
    "tool_call_id": STRING,
    "citations": ARRAY,
}
_TOOL: Fields = {"type": one_of("function"), "function": OBJECT}
_FUNCTION: Fields = {"name": STRING, "description": STRING, "parameters": OBJECT}
_CALL: Fields = {"id": STRING, "type": one_of("function"), "function": OBJECT}
_CALLED: Fields = {"name": STRING, "arguments": STRING}
_RESULT: Fields = {"type": one_of("text", "document"), "text": STRING, "document": OBJECT}
_DOCUMENT: Fields = {"data": OBJECT, "id": STRING}
_FINISH = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "refusal": "COMPLETE",
    "content_filter": "ERROR",
}


class _Voice:
    """See `checks.Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(
            422, f"unknown field: parameter '{bracketed(path)}' is not a valid field"
        )

    def missing(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"invalid request: {bracketed(path)} is required")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"invalid type: {bracketed(path) or 'the body'} must be {expected}")


VOICE = _Voice()


class CohereChat:
    """See `Wire`."""

    name = "cohere"

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        if path != PATH or method != "POST":
            raise VendorError(404, f"404 page not found: {method} {path}")
        return Route("generate")

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" and key else None

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_fields(body, _FIELDS, VOICE, required=("model", "messages"), strict=strict)
        _check_tools(body, strict)
        turns = tuple(_turn(turn, at, strict) for at, turn in enumerate(body["messages"]))
        _check_pairs(body["messages"])
        system = "\n\n".join(text for role, text in turns if role == "system")
        return Question(
            self.name,
            body["model"],
            next((said for role, said in reversed(turns) if role == "user"), ""),
            system or None,
            tuple(turn for turn in turns if turn[0] != "system"),
            count_tokens("".join(text for _, text in turns)),
            body.get("max_tokens"),
            tuple(body.get("stop_sequences") or ()),
            body,
            bool(body.get("stream")),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        message: Body = {"role": "assistant"}
        if finished.tool_calls:
            message["tool_calls"] = _tool_calls(finished, serial)
            if finished.text:
                message["tool_plan"] = finished.text
        content = _content(finished)
        if content:
            message["content"] = content
        return {
            "id": _id(serial),
            "finish_reason": _finish(finished),
            "message": message,
            "usage": _usage(finished),
        }

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        bodies: list[Body] = [
            {"type": "message-start", "id": _id(serial), "delta": _message(role="assistant")}
        ]
        for index, block in enumerate(_content(finished)):
            bodies += _block_events(index, block)
        if finished.tool_calls and finished.text:
            bodies.append({"type": "tool-plan-delta", "delta": _message(tool_plan=finished.text)})
        for index, call in enumerate(_tool_calls(finished, serial)):
            bodies += _call_events(index, call)
        end = {"finish_reason": _finish(finished), "usage": _usage(finished)}
        bodies.append({"type": "message-end", "delta": end})
        return [event(body, body["type"]) for body in bodies]

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`."""
        end = {"finish_reason": "ERROR", "error": problem.message}
        return event({"type": "message-end", "delta": end}, "message-end")

    def count(self, question: Question) -> Body:
        """See `Wire`."""
        return {"tokens": question.input_tokens}

    def models(self, ids: Iterable[str]) -> Body:
        """See `Wire`."""
        return {"models": [self.model(model_id) for model_id in ids]}

    def model(self, model_id: str) -> Body:
        """See `Wire`."""
        return {"name": model_id, "endpoints": ["chat"]}

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        return VendorError(404, f"model '{model_id}' not found, make sure the model ID is correct")

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        wait = None if math.isinf(refusal.wait) else math.ceil(refusal.wait)
        message = f"too many {refusal.name.replace('_', ' ')}, please slow down"
        return VendorError(429, message, retry_after=wait)

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        message = "You are using a Trial key, which is limited to 1000 API calls / month."
        return VendorError(429, message)

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`."""
        body = {"id": _id(serial), "message": problem.message}
        if problem.retry_after is None:
            return body, ()
        return body, (("retry-after", f"{problem.retry_after:.12g}"),)

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`."""
        lines = [("x-debug-trace-id", f"{serial:032x}")]
        for state in states:
            if state.name == "requests":
                lines.append(("x-trial-endpoint-call-limit", f"{state.limit:.0f}"))
                lines.append(("x-trial-endpoint-call-remaining", str(int(state.remaining))))
        return tuple(lines)


def _check_tools(body: Mapping[str, Any], strict: bool) -> None:
    for at, tool in enumerate(body.get("tools") or ()):
        path: Path = ("tools", at)
        check_fields(tool, _TOOL, VOICE, path=path, required=("type", "function"), strict=strict)
        path, needed = (*path, "function"), ("name", "parameters")
        check_fields(tool["function"], _FUNCTION, VOICE, path=path, required=needed, strict=strict)
        if tool["function"]["parameters"].get("type") != "object":
            raise VOICE.wrong((*path, "parameters"), "the JSON Schema of an object")
    for name in ("tool_choice", "strict_tools"):
        if body.get(name) and not body.get("tools"):
            raise VendorError(400, f"invalid request: {name} may only be set with tools")


def _check_calls(turn: Mapping[str, Any], path: Path, strict: bool) -> None:
    """What an earlier turn asked for, and what a tool said."""
    for at, call in enumerate(turn.get("tool_calls") or ()):
        where = (*path, "tool_calls", at)
        check_fields(call, _CALL, VOICE, path=where, required=("id", "function"), strict=strict)
        where, needed = (*where, "function"), ("name", "arguments")
        check_fields(call["function"], _CALLED, VOICE, path=where, required=needed, strict=strict)
    if turn["role"] != "tool":
        return
    for name in ("tool_call_id", "content"):
        if not turn.get(name):
            raise VOICE.missing((*path, name))
    for at, block in enumerate(turn["content"] if isinstance(turn["content"], list) else ()):
        where = (*path, "content", at)
        check_fields(block, _RESULT, VOICE, path=where, required=("type",), strict=strict)
        if block["type"] == "document":
            document, where = block.get("document"), (*where, "document")
            check_fields(document, _DOCUMENT, VOICE, path=where, required=("data",), strict=strict)


def _check_pairs(messages: list[Any]) -> None:
    """Each call is answered by a message of its own, before anything else is said."""
    waiting: list[str] = []
    for at, turn in enumerate(messages):
        if turn["role"] == "tool":
            if turn["tool_call_id"] not in waiting:
                raise VendorError(
                    400,
                    f"invalid request: messages[{at}].tool_call_id is not that of a tool call of "
                    "the assistant message before it",
                )
            waiting.remove(turn["tool_call_id"])
            continue
        if waiting:
            raise VendorError(
                400, f"invalid request: messages[{at}]: no tool message answers {waiting[0]}"
            )
        waiting = [call["id"] for call in turn.get("tool_calls") or ()]


def _turn(turn: Any, at: int, strict: bool) -> tuple[str, str]:
    path: Path = ("messages", at)
    check_fields(turn, _MESSAGE, VOICE, path=path, required=("role",), strict=strict)
    _check_calls(turn, path, strict)
    content = turn.get("content") or ""
    if isinstance(content, str):
        return turn["role"], content
    texts = [part.get("text", "") for part in content if isinstance(part, dict)]
    return turn["role"], "".join(text for text in texts if isinstance(text, str))


def _id(serial: int) -> str:
    return f"00000000-0000-4000-8000-{serial:012d}"


def _content(finished: Finished) -> list[Body]:
    blocks: list[Body] = []
    if finished.thinking is not None:
        blocks.append({"type": "thinking", "thinking": finished.thinking})
    if finished.text and not finished.tool_calls:  # beside calls it is a plan
        blocks.append({"type": "text", "text": finished.text})
    return blocks


def _tool_calls(finished: Finished, serial: int) -> list[Body]:
    calls = []
    for at, (name, arguments) in enumerate(finished.tool_calls):
        function = {"name": name, "arguments": dump_json(arguments).decode()}
        calls.append({"id": f"{name}_{serial}{at}", "type": "function", "function": function})
    return calls


def _block_events(index: int, block: Body) -> list[Body]:
    """A block in its pieces, its text in two."""
    kind = block["type"]
    middle = len(block[kind]) // 2
    begun = _message(content={"type": kind, kind: ""})
    pieces = [_message(content={kind: p}) for p in (block[kind][:middle], block[kind][middle:])]
    return [
        {"type": "content-start", "index": index, "delta": begun},
        *({"type": "content-delta", "index": index, "delta": piece} for piece in pieces),
        {"type": "content-end", "index": index},
    ]


def _call_events(index: int, call: Body) -> list[Body]:
    function = call["function"]
    begun = {**call, "function": {"name": function["name"], "arguments": ""}}
    more = {"function": {"arguments": function["arguments"]}}
    return [
        {"type": "tool-call-start", "index": index, "delta": _message(tool_calls=begun)},
        {"type": "tool-call-delta", "index": index, "delta": _message(tool_calls=more)},
        {"type": "tool-call-end", "index": index},
    ]


def _message(**fields: Any) -> Body:
    return {"message": fields}


def _finish(finished: Finished) -> str:
    if finished.stop_word is not None:
        return "STOP_SEQUENCE"
    return _FINISH.get(finished.finish, finished.finish)


def _usage(finished: Finished) -> Body:
    usage = finished.usage
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    cached = usage.cache_read_tokens
    return {"billed_units": tokens, "tokens": tokens, "cached_tokens": cached}
