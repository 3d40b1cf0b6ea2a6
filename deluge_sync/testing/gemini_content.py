"""Gemini: `POST /{v1,v1beta}/models/{model}:generateContent`, `:streamGenerateContent` (always as
server-sent events), `:countTokens`, `GET .../models`.

Fields and shapes as in google-genai 3.4 (`types.py`, the `_to_mldev` functions of `models.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from .answers import Finished, Question, count_tokens
from .checks import VendorError, check_fields
from .codec import event
from .gemini_answers import check_token, chunks, whole
from .gemini_fields import (
    COUNT_FIELDS,
    FIELDS,
    VOICE,
    check_config,
    read_contents,
    wanted_schema,
)
from .gemini_tools import check_pairs, check_signatures, check_tools
from .http import Headers
from .limiter import LimitState, Refusal
from .wire import Body, Route

VERBS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count",
}
STREAM_VERB = "streamGenerateContent"

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


class StreamRoute(Route):
    """A path that asks for an answer in events: here the path says so, not the body."""


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
        if method != "POST" or not model or verb not in VERBS:
            raise VendorError(404, f"Not Found: {method} {path}")
        kind = StreamRoute if verb == STREAM_VERB else Route
        return kind(VERBS[verb], model)

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
        check_token(body)
        check_tools(body, VOICE, strict)
        system, turns, text = read_contents(body, strict)
        check_pairs(body["contents"])
        if strict:
            check_signatures(body["contents"], route.model or "")
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
            isinstance(route, StreamRoute),
            schema=wanted_schema(config),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        return whole(question, finished, serial)

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`. There is no event that says the end."""
        return [event(chunk) for chunk in chunks(question, finished, serial)]

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`. Google writes it as bare JSON over several lines, outside of any event."""
        return json.dumps(self.problem(problem, serial)[0], indent=2).encode() + b"\n"

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
