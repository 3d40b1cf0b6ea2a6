"""OpenAI: `POST /v1/chat/completions`, `GET /v1/models`.

Fields, roles and shapes as in the openai SDK 3.54 (`types/chat`); error bodies as in its
`_exceptions.py` and OpenAI's published error codes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import VendorError, check_fields
from .codec import event
from .http import Headers
from .limiter import LimitState, Refusal
from .openai_answers import chunks, completion
from .openai_fields import FIELDS, check_options, read_messages, wanted_schema
from .openai_tools import check_chat_tools
from .openai_voice import VOICE
from .wire import Body, Route

_MODELS = "/v1/models"
_LIMIT_NAMES = {"requests": "requests", "tokens": "tokens"}
_LIMIT_PHRASES = {"requests": "requests per min (RPM)"}
_ERROR_TYPES = {429: "requests", 500: "server_error", 503: "server_error"}
_ERROR_CODES = {
    401: "invalid_api_key",
    429: "rate_limit_exceeded",
    503: "server_is_overloaded",
}


class OpenAIChat:
    """See `Wire`."""

    name = "openai"

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        if path == "/v1/chat/completions":
            _require(method, "POST", path)
            return Route("generate")
        if path == _MODELS:
            _require(method, "GET", path)
            return Route("models")
        if path.startswith(_MODELS + "/"):
            _require(method, "GET", path)
            return Route("model", path[len(_MODELS) + 1 :])
        raise VendorError(404, f"Invalid URL ({method} {path})", kind="invalid_request_error")

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`. Azure has a header of its own."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return (key if scheme.lower() == "bearer" else None) or headers.get("api-key") or None

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_fields(body, FIELDS, VOICE, required=("model", "messages"), strict=strict)
        if (body.get("n") or 1) != 1:
            raise VendorError(400, "the sandbox gives one choice: n must be 1", param="n")
        if body.get("max_tokens") and body.get("max_completion_tokens"):
            message = "max_tokens and max_completion_tokens cannot be set at the same time"
            raise VendorError(400, message, param="max_tokens")
        check_options(body, strict)
        check_chat_tools(body, strict)
        system, turns, text = read_messages(body["messages"], strict)
        stop = body.get("stop") or ()
        return Question(
            self.name,
            body["model"],
            next((said for role, said in reversed(turns) if role == "user"), ""),
            system,
            turns,
            count_tokens(text),
            body.get("max_completion_tokens") or body.get("max_tokens"),
            (stop,) if isinstance(stop, str) else tuple(stop),
            body,
            bool(body.get("stream")),
            schema=wanted_schema(body, text, strict),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        return completion(question, finished, serial, now)

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        events = [event(chunk) for chunk in chunks(question, finished, serial, now)]
        return [*events, b"data: [DONE]\n\n"]

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`."""
        return event(self.problem(problem, serial)[0])

    def count(self, question: Question) -> Body:
        """Chat Completions cannot count; never routed to."""
        raise VendorError(404, "there is no token count here")

    def models(self, ids: Iterable[str]) -> Body:
        """See `Wire`."""
        return {"object": "list", "data": [self.model(model_id) for model_id in ids]}

    def model(self, model_id: str) -> Body:
        """See `Wire`."""
        return {"id": model_id, "object": "model", "created": 1735689600, "owned_by": "sandbox"}

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        message = f"The model `{model_id}` does not exist or you do not have access to it."
        return VendorError(404, message, code="model_not_found", kind="invalid_request_error")

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        what = _LIMIT_PHRASES.get(refusal.name, "tokens per min (TPM)")
        numbers = f"Limit {refusal.limit:g}, Requested {refusal.requested:g}"
        kind = "requests" if refusal.name == "requests" else "tokens"
        if math.isinf(refusal.wait):
            message = f"Request too large for {model} in organization org-sandbox on {what}: "
            return VendorError(429, message + numbers, kind=kind, code="rate_limit_exceeded")
        message = (
            f"Rate limit reached for {model} in organization org-sandbox on {what}: {numbers}, "
            f"Used {refusal.used:g}. Please try again in {duration(refusal.wait)}."
        )
        exact = (("retry-after-ms", str(math.ceil(refusal.wait * 1000))),)
        seconds = math.ceil(refusal.wait)
        return VendorError(429, message, kind=kind, retry_after=seconds, headers=exact)

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        message = "You exceeded your current quota, please check your plan and billing details."
        return VendorError(429, message, kind="insufficient_quota", code="insufficient_quota")

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`."""
        status = problem.status
        error = {
            "message": problem.message,
            "type": problem.kind or _ERROR_TYPES.get(status, "invalid_request_error"),
            "param": problem.param,
            "code": problem.code or _ERROR_CODES.get(status),
        }
        if problem.retry_after is None:
            return {"error": error}, ()
        return {"error": error}, (("retry-after", f"{problem.retry_after:.12g}"),)

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`."""
        lines = [("x-request-id", f"req_sandbox{serial:024d}")]
        for state in states:
            name = _LIMIT_NAMES.get(state.name)
            if name is not None:
                lines.append((f"x-ratelimit-limit-{name}", f"{state.limit:.0f}"))
                lines.append((f"x-ratelimit-remaining-{name}", str(int(state.remaining))))
                lines.append((f"x-ratelimit-reset-{name}", duration(state.reset_after)))
        return tuple(lines)


def duration(seconds: float) -> str:
    """`seconds` as OpenAI writes durations: 12ms, 1.5s, 6m0s, 1h0m3s. Rounded up to a ms."""
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _require(method: str, expected: str, path: str) -> None:
    if method != expected:
        message = f"Not allowed to {method} on {path} (HINT: Perhaps you meant to use a different "
        message += "HTTP method?)"
        raise VendorError(405, message, code="method_not_supported")
