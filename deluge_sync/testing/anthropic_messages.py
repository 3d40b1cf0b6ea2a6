"""Anthropic: `POST /v1/messages`, `POST /v1/messages/count_tokens`, `GET /v1/models`.

Fields and shapes as in the anthropic SDK 2.12 (`types/`); error types as in its
`_error_classes.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from .answers import Finished, Question, count_tokens
from .anthropic_answers import events, message
from .anthropic_fields import COUNT_FIELDS, FIELDS, SAMPLING, check_values, read_turns
from .anthropic_prefixes import Kept, prefixes
from .anthropic_tools import check_rounds, check_tools, takes_mcp
from .anthropic_voice import VOICE
from .checks import ARRAY, Fields, VendorError, check_fields
from .codec import event
from .http import Headers
from .limiter import LimitState, Refusal
from .wire import Body, Route

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
"""Under it `temperature`, `top_p` and `top_k` are gone."""

_MODELS = "/v1/models"
_POSTS = {"/v1/messages": "generate", "/v1/messages/count_tokens": "count"}
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicMessages:
    """See `Wire`."""

    name = "anthropic"

    def __init__(self) -> None:
        self._kept = Kept()

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        expected = "POST" if path in _POSTS else "GET"
        known = path in _POSTS or path == _MODELS or path.startswith(_MODELS + "/")
        if not known:
            raise VendorError(404, "Not Found")
        if method != expected:
            raise VendorError(405, "Method Not Allowed")
        if path in _POSTS:
            return Route(_POSTS[path])
        return Route("models") if path == _MODELS else Route("model", path[len(_MODELS) + 1 :])

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return headers.get("x-api-key") or (key if scheme.lower() == "bearer" else None) or None

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        fields, required = _fields(route, headers)
        check_fields(body, fields, VOICE, required=required, strict=strict)
        check_tools(body, strict)
        check_values(body)
        system, turns, text = read_turns(body, strict)
        check_rounds(body)
        # Keys do not see each other's prompts, nor do sandboxes of one process.
        owner = (headers.get("host"), self.key(headers, ""), body["model"])
        begun = prefixes(body, repr(owner))
        return Question(
            self.name,
            body["model"],
            next((said for role, said in reversed(turns) if role == "user"), ""),
            system,
            turns,
            count_tokens(text),
            body.get("max_tokens"),
            tuple(body.get("stop_sequences") or ()),
            body,
            bool(body.get("stream")),
            self._kept.found(begun),
            tuple(prefix.key for prefix in begun if prefix.lifetime is not None),
            (((body.get("output_config") or {}).get("format")) or {}).get("schema"),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        self._kept.keep(question.prefixes)
        return message(question, finished, serial)

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        self._kept.keep(question.prefixes)
        return [event(body, body["type"]) for body in events(question, finished, serial)]

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`."""
        return event(self.problem(problem, serial)[0], "error")

    def count(self, question: Question) -> Body:
        """See `Wire`."""
        return {"input_tokens": question.input_tokens}

    def models(self, ids: Iterable[str]) -> Body:
        """See `Wire`."""
        models = [self.model(model_id) for model_id in ids]
        return {
            "data": models,
            "has_more": False,
            "first_id": models[0]["id"] if models else None,
            "last_id": models[-1]["id"] if models else None,
        }

    def model(self, model_id: str) -> Body:
        """See `Wire`."""
        return {
            "id": model_id,
            "type": "model",
            "display_name": model_id,
            "created_at": "2025-01-01T00:00:00Z",
            "lifecycle": "active",
        }

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        return VendorError(404, f"model: {model_id}")

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        message = (
            f"This request would exceed your organization's rate limit of {refusal.limit:g} "
            f"{refusal.name.replace('_', ' ')} per minute (model: {model})."
        )
        never = math.isinf(refusal.wait)
        return VendorError(429, message, retry_after=None if never else math.ceil(refusal.wait))

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        message = "Your organization has reached its spend limit."
        return VendorError(429, message, details={"error_code": "enforced_spend_limit_reached"})

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`."""
        status = problem.status
        default = "api_error" if status >= 500 else "invalid_request_error"
        error: Body = {
            "type": problem.kind or _ERROR_TYPES.get(status, default),
            "message": problem.message,
        }
        details = problem.details or ({"error_code": problem.code} if problem.code else None)
        if details:
            error["details"] = details
        body = {"type": "error", "error": error, "request_id": _request_id(serial)}
        if problem.retry_after is None:
            return body, ()
        return body, (("retry-after", f"{problem.retry_after:.12g}"),)

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`."""
        lines = [("request-id", _request_id(serial))]
        for state in states:
            prefix = f"anthropic-ratelimit-{state.name.replace('_', '-')}"
            lines.append((f"{prefix}-limit", f"{state.limit:.0f}"))
            lines.append((f"{prefix}-remaining", str(int(state.remaining))))
            lines.append((f"{prefix}-reset", instant(now + state.reset_after)))
        return tuple(lines)


def instant(seconds: float) -> str:
    """An RFC 3339 time in UTC, rounded up to a second."""
    moment = datetime.fromtimestamp(math.ceil(seconds), tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(headers: Mapping[str, str]) -> str:
    version = headers.get("anthropic-version")
    if version is None:
        raise VendorError(400, "anthropic-version: header is required")
    if version not in (OLD_VERSION, NEW_VERSION):
        raise VendorError(400, f'anthropic-version: "{version}" is not a valid version')
    return version


def _fields(route: Route, headers: Mapping[str, str]) -> tuple[Fields, tuple[str, ...]]:
    version = _version(headers)
    with_betas = takes_mcp(headers.get("anthropic-beta", ""))
    betas: Fields = {"mcp_servers": ARRAY} if with_betas else {}
    if route.operation == "count":
        return {**COUNT_FIELDS, **betas}, ("model", "messages")
    required = ("model", "max_tokens", "messages")
    sampling = SAMPLING if version == OLD_VERSION else {}
    return {**FIELDS, **sampling, **betas}, required


def _request_id(serial: int) -> str:
    return f"req_sandbox{serial:017d}"
