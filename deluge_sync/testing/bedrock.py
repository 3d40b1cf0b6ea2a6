"""Amazon Bedrock: what Converse and InvokeModel have in common, and InvokeModel for Claude.

Shapes, statuses and names of errors as in botocore 1.44's model of `bedrock-runtime`; Claude's body
as the anthropic SDK 2.12 sends it (`lib/bedrock`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from .answers import Finished, Question
from .anthropic_messages import AnthropicMessages
from .checks import VendorError
from .frames import chunk_frame, exception_frame
from .hosting import hosted_body, version_of
from .http import Headers
from .limiter import LimitState, Refusal
from .wire import Body, Route

FRAMES = ("content-type", "application/vnd.amazon.eventstream")
STREAMS = ("invoke-with-response-stream", "converse-stream")

_PATH = re.compile(r"/model/([^/]+)/([a-z-]+)")
_ACCESS_KEY = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/")
_ERRORS = {
    400: "ValidationException",
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class StreamRoute(Route):
    """A path that asks for an answer in events."""


class BedrockManners:
    """What of a `Wire` is the same for all of Bedrock."""

    stream_type = FRAMES

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        found = _PATH.fullmatch(path)
        if found is None or method != "POST":
            raise VendorError(404, "UnknownOperationException", kind="UnknownOperationException")
        model = unquote(found[1])
        return StreamRoute("generate", model) if found[2] in STREAMS else Route("generate", model)

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`: a bearer token, or the id of the access key that signed."""
        return bearer_or_access_key(headers)

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        return VendorError(400, "The provided model identifier is invalid.")

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        what = refusal.name.replace("_", " ")
        wait = None if math.isinf(refusal.wait) else math.ceil(refusal.wait)
        message = f"Too many {what}, please wait before trying again."
        return VendorError(429, message, retry_after=wait)

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        return VendorError(429, "Too many tokens per day, please wait before trying again.")

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`."""
        headers: Headers = (("x-amzn-errortype", _kind(problem)),)
        if problem.retry_after is not None:
            headers += (("retry-after", f"{problem.retry_after:.12g}"),)
        return {"message": problem.message}, headers

    def stream_problem(self, problem: VendorError, serial: int) -> bytes:
        """See `Wire`."""
        return exception_frame(_kind(problem), problem.message)

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`. Nothing of limits."""
        return (("x-amzn-requestid", f"00000000-0000-4000-8000-{serial:012d}"),)


class BedrockMessages(BedrockManners, AnthropicMessages):
    """Claude over InvokeModel: Anthropic's bodies, the model and the stream in the path."""

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        inner = hosted_body(body, route.model or "", ("model", "stream"))
        inner["stream"] = isinstance(route, StreamRoute)
        headers = {**headers, "anthropic-version": version_of(body)}
        return super().question(Route("generate"), inner, headers, strict)

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        events = super().stream(question, finished, serial, now)
        return [chunk_frame(event.partition(b"data: ")[2].strip()) for event in events]


def bearer_or_access_key(headers: Mapping[str, str]) -> str | None:
    """The bearer token, or the id of the access key of a signature, where there is one."""
    value = headers.get("authorization", "")
    signed = _ACCESS_KEY.match(value)
    if signed is not None:
        return signed[1]
    scheme, _, token = value.partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def _kind(problem: VendorError) -> str:
    return problem.kind or _ERRORS.get(problem.status, "InternalServerException")
