"""What generateContent answers: one whole body, or the events of a stream.

Written from the types of the google-genai SDK 3.4 (`types`, `_api_client`, `_extra_utils`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from ..values.errors import (
    BadRequestError,
    CallError,
    DecodeError,
    QuotaExhaustedError,
    TooLongError,
)
from ..values.model import Model
from ..values.prompt import Message, Part, Text, Thinking, ToolCall, VendorBlock
from ..values.response import Answer, TokenLogprob, Usage
from ..values.wire import HttpResponse
from .body import (
    MalformedError,
    as_list,
    as_object,
    as_text,
    count,
    details,
    load,
    text_or_none,
)
from .failures import Fault, cut_off, failure, refusal, sentence, unreadable, words
from .gemini_tools import made_up_id
from .headers import duration
from .sse import ServerEvent

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
_MISHAPS: Mapping[Any, tuple[type[CallError], str]] = {
    "MALFORMED_FUNCTION_CALL": (DecodeError, "the model wrote a tool call that cannot be read"),
    "UNEXPECTED_TOOL_CALL": (BadRequestError, "the model asked for a tool that it was not offered"),
    "TOO_MANY_TOOL_CALLS": (BadRequestError, "the model went on calling tools without an answer"),
    "MISSING_THOUGHT_SIGNATURE": (BadRequestError, "a call was sent back without its signature"),
}
"""What went wrong with tools, by the reason for the end. Only what the model may well do better the
next time is worth another try."""
_SERVER_SIDE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""Parts of what the vendor's own tools did; they go back as they came."""
_CONTINUED = "CONTINUATION"
_LONGEST_ODDS = 1e9
"""Of a logprob; keeps infinity out of everybody's arithmetic."""
# These have no code of their own on the wire, only INVALID_ARGUMENT and RESOURCE_EXHAUSTED.
_TOO_LONG = re.compile(r"(?i)token count.*exceeds the maximum number of tokens")
_OUT_OF_CREDIT = re.compile(r"(?i)prepayment credits are depleted")


class Gathered:
    """What has been read of one answer, out of one body or of many chunks of the same shape."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.usage = Usage()
        self._told: dict[str, Any] | None = None
        self.word: str | None = None
        self._explanation: str | None = None
        self.blocked: str | None = None
        self._answer_id: str | None = None
        self._token: str | None = None
        self._tier: str | None = None
        self._logprobs: list[TokenLogprob] = []
        self._read = 0  # wire parts

    def take(self, chunk: dict[str, Any]) -> list[Part]:
        """The parts that `chunk` adds; all else that it says is kept."""
        self._answer_id = self._answer_id or text_or_none(chunk.get("responseId"))
        blocked = text_or_none(details(chunk.get("promptFeedback"), "blockReason"))
        if blocked is not None:
            self.blocked = blocked
            self._explanation = text_or_none(details(chunk["promptFeedback"], "blockReasonMessage"))
        usage = chunk.get("usageMetadata")
        if type(usage) is dict and usage != self._told:  # in a stream mostly the same again
            self._told = usage
            self.usage = _usage(usage)
            self._tier = text_or_none(usage.get("trafficType")) or self._tier
        candidates = chunk.get("candidates")
        if not candidates:
            return []
        return self._take(as_object(as_list(candidates, "candidates")[0], "candidates[0]"))

    def _take(self, candidate: dict[str, Any]) -> list[Part]:
        if candidate.get("index"):
            return []  # of several candidates (by extra_body) only the first is read
        parts = self._parts(candidate.get("content"))
        word = text_or_none(candidate.get("finishReason"))
        if word is not None:
            self.word = word
            self._explanation = text_or_none(candidate.get("finishMessage")) or self._explanation
        elif any(map(_says_something, parts)):
            # Gateways give a reason with empty chunks before the text; only the last one counts.
            self.word = None
        self._token = text_or_none(candidate.get("continuationToken")) or self._token
        if "logprobsResult" in candidate:
            self._logprobs += _logprobs(candidate["logprobsResult"])
        self.parts += parts
        return parts

    def _parts(self, content: Any) -> list[Part]:
        """The parts that are text, thoughts, calls, or of the vendor's own tools.

        A plain text's signature becomes a redacted `Thinking` behind it, and calls that came
        without an id get one made of the answer's.
        """
        if content is None:
            return []
        wire_parts = as_object(content, "candidates[0].content").get("parts")
        parts: list[Part] = []
        for wire in as_list(wire_parts, "content.parts") if wire_parts else ():
            _read_part(as_object(wire, "a part"), made_up_id(self._answer_id, self._read), parts)
            self._read += 1
        return parts

    def answer(self, response: HttpResponse, model: Model) -> Answer:
        """All of it as one answer, an error in it where the vendor declined to give (the rest)."""
        declined = self.blocked or (self.word if self.word in _FILTERED else None)
        finish = _FINISH.get(self.word, self.word.lower()) if self.word else None
        if declined is not None:
            finish = "content_filter"
        elif finish == "stop" and any(type(part) is ToolCall for part in self.parts):
            finish = "tool_calls"
        return Answer(
            Message("assistant", tuple(self.parts)),
            self.usage,
            finish,
            self._answer_id,
            self._error(declined, response, model),
            tuple(self._logprobs) or None,
            continuation=self._token if self.word in (None, _CONTINUED) else None,
            service_tier=text_or_none(response.headers.get("x-gemini-service-tier")) or self._tier,
        )

    def _error(
        self, declined: str | None, response: HttpResponse, model: Model
    ) -> CallError | None:
        """What is wrong with the answer; raised where another try may well bring a better one."""
        if declined is not None:
            return refusal(response, model, declined, self._explanation)
        if self.word not in _MISHAPS:
            return None
        kind, meaning = _MISHAPS[self.word]
        fault = Fault(self._explanation or meaning, words(self.word), kind)
        error = failure(response, model, fault)
        if error.retryable:
            raise error
        return error


def read(body: dict[str, Any], response: HttpResponse, model: Model) -> Answer:
    """The answer in a whole body; it need not give a reason for its end."""
    gathered = Gathered()
    gathered.take(body)
    candidates = body.get("candidates")
    if not candidates and gathered.blocked is None:
        raise MalformedError("there are no candidates and no promptFeedback.blockReason")
    if candidates and gathered.word is None and candidates[0].get("content") is None:
        raise MalformedError("candidates[0] has neither content nor finishReason")
    return gathered.answer(response, model)


class StreamFold:
    """See `base.Fold`.

    This vendor has no sign for the end: the stream is whole when its body ended as it should and
    the last thing it said is a `finishReason` (or a `blockReason`). `done` is therefore never
    True: chunks with the final usage or a signature may follow the reason, and gateways give one
    with chunks in the middle. Who reads goes on to the end of the body and then asks for the
    `answer`.
    """

    done = False

    def __init__(self, head: HttpResponse, model: Model) -> None:
        self._head = head
        self._model = model
        self._gathered = Gathered()
        self._calls = 0

    def feed(self, event: ServerEvent) -> list[Delta]:
        """See `base.Fold`. A bare event is a chunk too; that is how errors come."""
        try:
            chunk = load(event.data)
            if type(chunk) is list and len(chunk) == 1:
                chunk = chunk[0]
            chunk = as_object(chunk, "an event")
            if chunk.get("error"):
                raise failure(self._head, self._model, read_fault(chunk, self._head.status))
            before = self._gathered.usage
            deltas = list(self._deltas(self._gathered.take(chunk)))
        except MalformedError as error:
            raise unreadable(self._head, self._model, error) from None
        if self._gathered.usage != before:
            deltas.append(UsageDelta(self._gathered.usage))
        return deltas

    def answer(self) -> Answer:
        """See `base.Fold`."""
        if self._gathered.word is None and self._gathered.blocked is None:
            raise cut_off(self._head, self._model)
        self._gathered.parts = _merged(self._gathered.parts)
        return self._gathered.answer(self._head, self._model)

    def _deltas(self, parts: list[Part]) -> Iterator[Delta]:
        for part in parts:
            if isinstance(part, ToolCall):
                yield ToolCallDelta(self._calls, _arguments(part), part.id, part.name)
                self._calls += 1
            elif isinstance(part, Text) and part.text:
                yield TextDelta(part.text)
            elif isinstance(part, Thinking) and part.text and not part.redacted:
                yield ThinkingDelta(part.text)


def read_fault(body: Any, status: int) -> Fault:
    """What `body` says went wrong; see `failures.read_answer`."""
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


def _read_part(wire: dict[str, Any], unnamed: str, parts: list[Part]) -> None:
    signature = text_or_none(wire.get("thoughtSignature"))
    call, text = wire.get("functionCall"), wire.get("text")
    if call is not None:
        parts.append(_tool_call(call, unnamed, signature))
    elif any(wire.get(name) is not None for name in _SERVER_SIDE):
        parts.append(VendorBlock(wire))
    elif wire.get("thought") is True:
        parts.append(Thinking(as_text(text or "", "a thought's text"), signature))
    else:
        if text is not None:
            parts.append(Text(as_text(text, "a part's text")))
        if signature:
            parts.append(Thinking(signature, redacted=True))


def _tool_call(call: Any, unnamed: str, signature: str | None) -> ToolCall:
    call = as_object(call, "a functionCall")
    return ToolCall(
        text_or_none(call.get("id")) or unnamed,
        as_text(call.get("name"), "a functionCall's name"),
        as_object(call.get("args") or {}, "a functionCall's args"),
        signature,
    )


def _arguments(call: ToolCall) -> str:
    try:
        return json.dumps(dict(call.arguments), ensure_ascii=False)
    except RecursionError:
        raise MalformedError("a functionCall's args are nested too deeply") from None


def _says_something(part: Part) -> bool:
    """Whether a person or a program would miss it: a signature and an empty text nobody would."""
    if isinstance(part, Thinking):
        return bool(part.text) and not part.redacted
    return not isinstance(part, Text) or bool(part.text)


def _merged(parts: list[Part]) -> list[Part]:
    """`parts` with the deltas of one text, or one thought, joined.

    What has a signature stays as it came: Google wants it back so, not merged with its neighbours.
    """
    merged: list[Part] = []
    run: list[str] = []
    kind: type[Text] | type[Thinking] | None = None
    for index, part in enumerate(parts):
        now = _unsigned(part, parts[index + 1] if index + 1 < len(parts) else None)
        if now is not kind:
            _close_run(run, kind, merged)
            kind = now
        if kind is None:
            merged.append(part)
        else:
            run.append(part.text)  # type: ignore[union-attr]
    _close_run(run, kind, merged)
    return merged


def _close_run(
    run: list[str], kind: type[Text] | type[Thinking] | None, merged: list[Part]
) -> None:
    text = "".join(run)
    run.clear()
    if text and kind is not None:
        merged.append(kind(text))


def _unsigned(part: Part, following: Part | None) -> type[Text] | type[Thinking] | None:
    """What `part` may be joined with more of; None where it stands alone."""
    if isinstance(part, Text):
        signed = isinstance(following, Thinking) and following.redacted
        return None if signed else Text
    if isinstance(part, Thinking) and part.signature is None and not part.redacted:
        return Thinking
    return None


def _logprobs(result: Any) -> list[TokenLogprob]:
    """`logprobsResult` as far as it can be read: an answer is not thrown away for it."""
    chosen, tops = details(result, "chosenCandidates"), details(result, "topCandidates")
    if type(chosen) is not list:
        return []
    logprobs = []
    for index, candidate in enumerate(chosen):
        top = tops[index] if type(tops) is list and index < len(tops) else None
        others = details(top, "candidates")
        likeliest = map(_logprob, others) if type(others) is list else ()
        logprobs.append(TokenLogprob(*_logprob(candidate), tuple(likeliest)))
    return logprobs


def _logprob(candidate: Any) -> tuple[str, float]:
    """A token and its logprob; Google leaves out what is zero or empty."""
    value = details(candidate, "logProbability")
    token = text_or_none(details(candidate, "token")) or ""
    is_number = type(value) in (int, float) and -_LONGEST_ODDS < value < _LONGEST_ODDS
    return token, float(value) if is_number else 0.0


def _usage(usage: dict[str, Any]) -> Usage:
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Usage(
        count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount")),
        count(usage.get("candidatesTokenCount")) + thoughts,
        count(usage.get("cachedContentTokenCount")),
        0,
        thoughts,
    )
