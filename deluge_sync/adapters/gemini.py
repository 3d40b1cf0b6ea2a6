"""Google Gemini's generateContent (the Developer API).

Written from the types of the google-genai SDK 3.4 (`types`, `models`, `errors`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from ..values.errors import CallError, PromptError, QuotaExhaustedError, TooLongError
from ..values.model import Model
from ..values.params import SamplingParams
from ..values.prompt import Conversation, Message, Part, Text, Thinking, ToolCall, ToolResult
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
    join_url,
    misplaced,
    post,
    text_or_none,
)
from .failures import Fault, read_answer, refusal, request_id, sentence, words
from .headers import duration

__all__ = ["UNSUPPORTED", "decode", "encode", "limits", "needs_stream", "request_id"]

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
_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    }
)
# These have no code of their own on the wire, only INVALID_ARGUMENT and RESOURCE_EXHAUSTED.
_TOO_LONG = re.compile(r"(?i)token count.*exceeds the maximum number of tokens")
_OUT_OF_CREDIT = re.compile(r"(?i)prepayment credits are depleted")


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    named = model.id.startswith(("models/", "tunedModels/"))
    name = model.id if named else f"models/{model.id}"
    path = f"/{model.api_version or 'v1'}/{quote(name)}:generateContent"
    body: dict[str, Any] = {"contents": _contents(request.conversation)}
    system = request.conversation.system_text
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    config = _config(request.params, model)
    if config:
        body["generationConfig"] = config
    return post(
        join_url(model.provider.base_url, path),
        body,
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
        nested="generationConfig",
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, _answer, _fault)


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """Nothing: this vendor sends no such headers."""
    return ()


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


def _contents(conversation: Conversation) -> list[dict[str, Any]]:
    """The turns after the leading system messages, those of one role in a row as one.

    A later system message goes into a user's turn: there is no other place for it.
    """
    contents: list[dict[str, Any]] = []
    tool_names: dict[str, str] = {}
    leading = True
    for message in conversation.messages:
        leading = leading and message.role == "system"
        parts = [] if leading else _wire_parts(message, tool_names)
        role = "model" if message.role == "assistant" else "user"
        if parts and contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise PromptError("Gemini needs a message with text beside the system prompt")
    return contents


def _wire_parts(message: Message, tool_names: dict[str, str]) -> list[dict[str, Any]]:
    """`message`'s parts, without the empty; `tool_names` collects the tools asked for, by id."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"text": part.text})
        elif isinstance(part, ToolResult) and message.role in ("tool", "user"):
            parts.append({"functionResponse": _function_response(part, tool_names)})
        elif isinstance(part, ToolCall) and message.role == "assistant":
            tool_names[part.id] = part.name
            call = {"id": part.id, "name": part.name, "args": dict(part.arguments)}
            parts.append(_signed({"functionCall": call}, part.signature))
        elif isinstance(part, Thinking) and message.role == "assistant":
            if part.redacted:
                _sign_text(parts, part.text)
            elif part.signature:
                parts.append(_signed({"text": part.text, "thought": True}, part.signature))
        else:
            raise misplaced(part, message.role)
    return [part for part in parts if part != {"text": ""}]


def _signed(part: dict[str, Any], signature: str | None) -> dict[str, Any]:
    if signature:
        part["thoughtSignature"] = signature
    return part


def _sign_text(parts: list[dict[str, Any]], signature: str) -> None:
    """Put a signature back on the text it came with (see `_parts`), or on an empty one."""
    if not parts or parts[-1].keys() != {"text"}:
        parts.append({"text": ""})
    parts[-1]["thoughtSignature"] = signature


def _function_response(part: ToolResult, tool_names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": part.tool_call_id,
        "name": part.name or tool_names.get(part.tool_call_id, part.tool_call_id),
        "response": {"error" if part.is_error else "output": part.content},
    }


def _answer(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    usage = _usage(body.get("usageMetadata"))
    answer_id = text_or_none(body.get("responseId"))
    candidates = body.get("candidates")
    if not candidates:
        feedback = body.get("promptFeedback")
        blocked = text_or_none(details(feedback, "blockReason"))
        if blocked is None:
            raise MalformedError("there are no candidates and no promptFeedback.blockReason")
        why = text_or_none(details(feedback, "blockReasonMessage"))
        error = refusal(response, model, blocked, why)
        return Answer(Message("assistant", ()), usage, "content_filter", answer_id, error)
    candidate = as_object(as_list(candidates, "candidates")[0], "candidates[0]")
    word = text_or_none(candidate.get("finishReason"))
    if word is None and candidate.get("content") is None:
        raise MalformedError("candidates[0] has neither content nor finishReason")
    parts = _parts(candidate.get("content"), answer_id or "call")
    finish = _FINISH.get(word, word.lower()) if word else None
    if finish == "stop" and any(type(part) is ToolCall for part in parts):
        finish = "tool_calls"
    declined = None
    if word in _FILTERED:
        finish = "content_filter"
        declined = refusal(
            response, model, word or finish, text_or_none(candidate.get("finishMessage"))
        )
    return Answer(Message("assistant", tuple(parts)), usage, finish, answer_id, declined)


def _parts(content: Any, call_id: str) -> list[Part]:
    """The parts that are text, thoughts or calls.

    A plain text's signature becomes a redacted `Thinking` behind it, and calls that came without
    an id get one made of `call_id`.
    """
    if content is None:
        return []
    wire_parts = as_object(content, "candidates[0].content").get("parts")
    parts: list[Part] = []
    for index, wire in enumerate(as_list(wire_parts, "content.parts") if wire_parts else ()):
        wire = as_object(wire, "a part")
        signature = text_or_none(wire.get("thoughtSignature"))
        call, text = wire.get("functionCall"), wire.get("text")
        if call is not None:
            parts.append(_tool_call(call, f"{call_id}-{index}", signature))
        elif wire.get("thought") is True:
            parts.append(Thinking(as_text(text or "", "a thought's text"), signature))
        else:
            if text is not None:
                parts.append(Text(as_text(text, "a part's text")))
            if signature:
                parts.append(Thinking(signature, redacted=True))
    return parts


def _tool_call(call: Any, made_up_id: str, signature: str | None) -> ToolCall:
    call = as_object(call, "a functionCall")
    return ToolCall(
        text_or_none(call.get("id")) or made_up_id,
        as_text(call.get("name"), "a functionCall's name"),
        as_object(call.get("args") or {}, "a functionCall's args"),
        signature,
    )


def _usage(usage: Any) -> Usage:
    if type(usage) is not dict:
        return Usage()
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Usage(
        count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount")),
        count(usage.get("candidatesTokenCount")) + thoughts,
        count(usage.get("cachedContentTokenCount")),
        0,
        thoughts,
    )


def _fault(body: Any, status: int) -> Fault:
    if type(body) is list and len(body) == 1:
        body = body[0]
    error = details(body, "error")
    if type(error) is not dict:
        return Fault(sentence(error or body))
    message = sentence(error.get("message"))
    reason, per_day, wait = _read_details(error.get("details"))
    kind: type[CallError] | None = None
    if status <= 400 and _TOO_LONG.search(message):
        kind = TooLongError
    elif per_day or _OUT_OF_CREDIT.search(message):
        kind = QuotaExhaustedError
    number = error.get("code")
    codes = words(reason, error.get("status"), number)
    return Fault(message, codes, kind, number if type(number) is int else None, wait)


def _read_details(entries: Any) -> tuple[str | None, bool, float | None]:
    """The reason, whether a daily quota is used up, and the seconds to wait (google.rpc.*)."""
    reason, per_day, wait = None, False, None
    for entry in entries if type(entries) is list else ():
        if type(entry) is not dict:
            continue
        reason = text_or_none(entry.get("reason")) or reason
        delay = text_or_none(entry.get("retryDelay"))
        wait = duration(delay) if delay else wait
        violations = entry.get("violations")
        for violation in violations if type(violations) is list else ():
            per_day = per_day or "PerDay" in (text_or_none(details(violation, "quotaId")) or "")
    return reason, per_day, wait
