"""Good answers of generateContent, whole and in chunks, as the types of google-genai 3.4 have them.

An answer whose text holds `[[sandbox:continue]]` breaks off there: it ends with `CONTINUATION` and
a token, and the same request with that token is answered with what comes behind it. So does a reply
that ends with the word "CONTINUATION"; then the next reply is the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from .answers import Finished, Question, count_tokens, pieces
from .checks import VendorError
from .gemini_fields import SIGNATURE
from .wire import Body

CONTINUE = "[[sandbox:continue]]"
CONTINUATION = "CONTINUATION"
_TOKEN = "sandbox part"
_FINISH_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}


def check_token(body: Mapping[str, Any]) -> None:
    """Raise Google's `VendorError` unless the token to go on with, if any, is one of ours."""
    if body.get("continuationToken") is not None and _position(body["continuationToken"]) is None:
        raise VendorError(400, "The continuation token is not valid.")


def whole(question: Question, finished: Finished, serial: int) -> Body:
    """The body of a whole answer. A refusal is a blocked prompt: no candidates."""
    finished, token = _hop(question, finished)
    frame = _frame(question, serial)
    usage = {"usageMetadata": _usage(finished)}
    if finished.finish == "refusal":
        return {"promptFeedback": _feedback(finished), **usage, **frame}
    parts = [*_thoughts(finished, [finished.thinking or ""]), *_texts(finished)]
    parts += _calls(finished, serial)
    candidate = {**_content(parts), **_end(finished, token)}
    candidate.update(_logprobs(question, pieces(finished.text)))
    return {"candidates": [candidate], **usage, **frame}


def chunks(question: Question, finished: Finished, serial: int) -> Iterator[Body]:
    """The same answer in chunks: calls come whole, a text's signature at the end, on an empty one;
    the usage is the one so far.
    """
    finished, token = _hop(question, finished)
    frame = _frame(question, serial)
    final = {"usageMetadata": _usage(finished)}
    if finished.finish == "refusal":
        yield {"promptFeedback": _feedback(finished), **final, **frame}
        return
    frame = {"usageMetadata": _usage_before(finished), **frame}
    for part in _thoughts(finished, pieces(finished.thinking or "")):
        yield {"candidates": [_content([part])], **frame}
    for text in pieces(finished.text):
        candidate = {**_content([{"text": text}]), **_logprobs(question, [text])}
        yield {"candidates": [candidate], **frame}
    if finished.tool_calls:
        yield {"candidates": [_content(_calls(finished, serial))], **frame}
    last = _content([_signed(finished, "")])
    yield {"candidates": [{**last, **_end(finished, token)}], **frame, **final}


def _hop(question: Question, finished: Finished) -> tuple[Finished, str | None]:
    """What this request gets of an answer in several, and the token to get the next with."""
    token = question.body.get("continuationToken")
    at = (_position(token) or 0) if token is not None else 0
    texts = finished.text.split(CONTINUE)
    text = texts[min(at, len(texts) - 1)]
    first, last = at == 0, at >= len(texts) - 1
    spared = count_tokens(finished.text) - count_tokens(text)
    usage = finished.usage
    if len(texts) > 1:
        usage = usage._replace(output_tokens=max(1, usage.output_tokens - spared))
        finished = finished._replace(
            text=text,
            thinking=finished.thinking if first else None,
            tool_calls=finished.tool_calls if last else (),
            finish=finished.finish if last else CONTINUATION,
            usage=usage,
        )
    token = _token(at + 1) if finished.finish == CONTINUATION else None
    return finished, token


def _token(at: int) -> str:
    return base64.b64encode(f"{_TOKEN} {at}".encode()).decode()


def _position(token: str) -> int | None:
    """The SDK sends tokens in the alphabet for URLs, which is the same for ours."""
    try:
        word, _, at = base64.b64decode(token, validate=True).decode().rpartition(" ")
        return int(at) if word == _TOKEN else None
    except ValueError:
        return None


def _frame(question: Question, serial: int) -> Body:
    return {"modelVersion": question.model, "responseId": f"sandbox{serial:017d}"}


def _content(parts: list[Body]) -> Body:
    return {"content": {"role": "model", "parts": parts}, "index": 0}


def _end(finished: Finished, token: str | None) -> Body:
    end = {"finishReason": _FINISH_REASONS.get(finished.finish, finished.finish)}
    return end if token is None else {**end, "continuationToken": token}


def _feedback(finished: Finished) -> Body:
    return {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": finished.text}


def _thoughts(finished: Finished, texts: list[str]) -> list[Body]:
    if finished.thinking is None:
        return []
    return [{"text": text, "thought": True} for text in texts]


def _texts(finished: Finished) -> list[Body]:
    if not finished.text and finished.tool_calls:
        return []
    return [_signed(finished, finished.text)]


def _signed(finished: Finished, text: str) -> Body:
    """Who thought signs what was said; where there are calls, the first of them instead."""
    if finished.thinking is None or finished.tool_calls:
        return {"text": text}
    return {"text": text, "thoughtSignature": SIGNATURE}


def _calls(finished: Finished, serial: int) -> list[Body]:
    """Of parallel calls only the first is signed."""
    parts: list[Body] = []
    for at, (name, arguments) in enumerate(finished.tool_calls):
        call = {"id": f"call_sandbox{serial:016d}{at:02d}", "name": name, "args": arguments}
        signed: Body = {} if at else {"thoughtSignature": SIGNATURE}
        parts.append({"functionCall": call, **signed})
    return parts


def _logprobs(question: Question, texts: list[str]) -> Body:
    """Of tokens of four characters each; the likeliest of them was always taken."""
    config = question.body.get("generationConfig") or {}
    if not config.get("responseLogprobs"):
        return {}
    most = config.get("logprobs") or 0
    result: Body = {
        "chosenCandidates": [_candidate(text, 0) for text in texts],
        "topCandidates": [{"candidates": _top(text, most)} for text in texts],
    }
    return {"avgLogprobs": -0.25, "logprobsResult": result}


def _top(text: str, most: int) -> list[Body]:
    return [_candidate(text if at == 0 else f"{text}{at}", at) for at in range(most)]


def _candidate(text: str, rank: int) -> Body:
    return {"token": text, "tokenId": rank, "logProbability": -0.25 - rank}


def _usage_before(finished: Finished) -> Body:
    """The usage of a chunk that is not the last."""
    prompt = finished.usage.input_tokens
    return {"promptTokenCount": prompt, "totalTokenCount": prompt}


def _usage(finished: Finished) -> Any:
    """Gemini's `candidatesTokenCount` leaves out the thoughts."""
    usage = finished.usage
    body: Body = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cache_read_tokens:
        body["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    return body
