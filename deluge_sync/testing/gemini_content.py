"""Gemini: `POST /{v1,v1beta}/models/{model}:generateContent`, `:countTokens`, `GET .../models`.

Fields and shapes as in google-genai 3.4 (`types.py`, the `_to_mldev` functions of `models.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from .answers import Finished, Question, count_tokens
from .checks import VendorError, check_fields
from .gemini_fields import COUNT_FIELDS, FIELDS, VOICE, check_config, read_contents
from .http import Headers
from .limiter import LimitState, Refusal
from .wire import Body, Route

VERBS = {"generateContent": "generate", "countTokens": "count"}
STREAM_VERB = "streamGenerateContent"

_FINISH_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPES = "type.googleapis.com/google.rpc."


class GeminiContent:
    """See `Wire`."""

    name = "gemini"

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        version, _, rest = path.lstrip("/").partition("/")
        if version not in ("v1", "v1beta") or not (rest + "/").startswith("models/"):
            raise VendorError(404, f"Not Found: {path}")
        name = unquote(rest[len("models/") :])
        if method == "GET":
            return Route("model", name) if name else Route("models")
        model, _, verb = name.rpartition(":")
        if verb == STREAM_VERB:
            raise VendorError(400, "the sandbox does not stream")
        if method != "POST" or not model or verb not in VERBS:
            raise VendorError(404, f"Not Found: {method} {path}")
        return Route(VERBS[verb], model)

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`."""
        return headers.get("x-goog-api-key") or parse_qs(query).get("key", [None])[0]

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        counting = route.operation == "count"
        fields = COUNT_FIELDS if counting else FIELDS
        check_fields(body, fields, VOICE, strict=strict)
        if counting and body.get("generateContentRequest") is not None:
            body = body["generateContentRequest"]
            check_fields(body, {**FIELDS, "model": fields["model"]}, VOICE, strict=strict)
        config = body.get("generationConfig") or {}
        check_config(config, strict)
        system, turns, text = read_contents(body, strict)
        return Question(
            self.name,
            route.model or "",
            next((said for role, said in reversed(turns) if role == "user"), ""),
            system,
            turns,
            count_tokens(text),
            config.get("maxOutputTokens"),
            tuple(config.get("stopSequences") or ()),
            body,
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`. A refusal is a blocked prompt: no candidates."""
        body: Body = {
            "usageMetadata": _usage(finished),
            "modelVersion": question.model,
            "responseId": f"sandbox{serial:017d}",
        }
        if finished.finish == "refusal":
            feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": finished.text}
            return {"promptFeedback": feedback, **body}
        candidate = {
            "content": {"role": "model", "parts": _parts(finished, serial)},
            "finishReason": _FINISH_REASONS.get(finished.finish, finished.finish),
            "index": 0,
        }
        return {"candidates": [candidate], **body}

    def count(self, question: Question) -> Body:
        """See `Wire`."""
        return {"totalTokens": question.input_tokens}

    def models(self, ids: Iterable[str]) -> Body:
        """See `Wire`."""
        return {"models": [self.model(model_id) for model_id in ids]}

    def model(self, model_id: str) -> Body:
        """See `Wire`."""
        return {
            "name": f"models/{model_id}",
            "version": "001",
            "displayName": model_id,
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": list(VERBS),
        }

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        message = f"models/{model_id} is not found, or is not supported for generateContent."
        return VendorError(404, message)

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        message = (
            f"You exceeded your current quota of {refusal.limit:g} "
            f"{refusal.name.replace('_', ' ')} per minute (model: {model})."
        )
        details = [_quota_failure("PerMinute")]
        never = math.isinf(refusal.wait)
        wait = None if never else math.ceil(refusal.wait)
        return VendorError(429, message, retry_after=wait, details=details)

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        message = "You exceeded your current quota, please check your plan and billing details."
        return VendorError(429, message, details=[_quota_failure("PerDay")])

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`. Google says when to retry in the body, not in a header."""
        status = problem.status
        default = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
        error: Body = {
            "code": status,
            "message": problem.message,
            "status": problem.kind or _STATUSES.get(status, default),
        }
        details = list(problem.details or ())
        if problem.code:
            details.append({"@type": _TYPES + "ErrorInfo", "reason": problem.code})
        if problem.retry_after is not None:
            delay = f"{problem.retry_after:.12g}s"
            details.append({"@type": _TYPES + "RetryInfo", "retryDelay": delay})
        if details:
            error["details"] = details
        return {"error": error}, ()

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`. Google sends no limit headers."""
        return ()


def _quota_failure(period: str) -> Body:
    quota = f"GenerateRequests{period}PerProjectPerModel"
    return {"@type": _TYPES + "QuotaFailure", "violations": [{"quotaId": quota}]}


def _parts(finished: Finished, serial: int) -> list[Body]:
    parts: list[Body] = []
    if finished.thinking is not None:
        parts.append({"text": finished.thinking, "thought": True})
    if finished.text or not finished.tool_calls:
        parts.append({"text": finished.text})
    for at, (name, arguments) in enumerate(finished.tool_calls):
        call = {"id": f"call_sandbox{serial:016d}{at:02d}", "name": name, "args": arguments}
        # Base64, as the SDK decodes it: "sandbox".
        parts.append({"functionCall": call, "thoughtSignature": "c2FuZGJveA=="})
    return parts


def _usage(finished: Finished) -> Body:
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
