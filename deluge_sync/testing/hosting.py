"""The sandbox under other vendors' addresses: Azure, Foundry, Bedrock's Mantle and Vertex AI.

Paths and bodies as the SDKs send them: openai 3.54 (`lib/azure`), anthropic 2.12 (`lib/foundry`,
`lib/bedrock`, `lib/vertex`) and google-genai 3.4 (`_api_client`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from .answers import Question
from .anthropic_messages import NEW_VERSION, OLD_VERSION, AnthropicMessages
from .checks import VendorError
from .gemini_content import GeminiContent
from .openai_chat import OpenAIChat
from .wire import Route, Wire

_VERSIONS = {
    "bedrock-2023-05-31": OLD_VERSION,
    "vertex-2023-10-16": OLD_VERSION,
    NEW_VERSION: NEW_VERSION,
}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/chat/completions")
_CLAUDE = re.compile(r".*/models/([^/:]+):(rawPredict|streamRawPredict)")


class Under:
    """Another wire under a prefix of its paths."""

    def __init__(self, prefix: str, wire: Wire) -> None:
        self._prefix = prefix
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        return self._wire.route(method, path[len(self._prefix) :])


def under(prefix: str, wire: Wire) -> Wire:
    """`wire` at paths that begin with `prefix`."""
    return cast("Wire", Under(prefix, wire))


class AzureDeployment(OpenAIChat):
    """Chat with the model in the path, as `AzureOpenAI` sends it with an `api-version`."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        found = _DEPLOYMENT.fullmatch(path)
        if found is None or method != "POST":
            raise VendorError(404, "Resource not found", code="404")
        return Route("generate", found[1])

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        body = {**body, "model": route.model} if isinstance(body, dict) else body
        return super().question(route, body, headers, strict)


class VertexContent(GeminiContent):
    """Gemini on Vertex AI: a longer path, and access tokens."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        return super().route(method, "/v1/models/" + path.partition("/models/")[2])

    def key(self, headers: Mapping[str, str], query: str) -> str | None:
        """See `Wire`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return (token if scheme == "Bearer" else None) or super().key(headers, query)


class VertexMessages(AnthropicMessages):
    """Claude on Vertex AI: the model in the path, the version in the body."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        found = _CLAUDE.fullmatch(path)
        if found is None or method != "POST":
            raise VendorError(404, "Not Found")
        return Route("generate", found[1])

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        inner = hosted_body(body, route.model or "", ("model",))
        headers = {**headers, "anthropic-version": version_of(body)}
        return super().question(route, inner, headers, strict)


def version_of(body: Any) -> str:
    """The version that a body names, in the words of Anthropic's header."""
    version = body.get("anthropic_version") if isinstance(body, dict) else None
    if version is None:
        raise VendorError(400, "anthropic_version: Field required")
    if version not in _VERSIONS:
        raise VendorError(400, f"anthropic_version: {version!r} is not a valid version")
    return _VERSIONS[version]


def hosted_body(body: Any, model: str, in_path: tuple[str, ...]) -> dict[str, Any]:
    """Anthropic's own body. What the path says may not stand in it."""
    if not isinstance(body, dict):
        raise VendorError(400, "the body must be an object")
    for name in in_path:
        if name in body:
            raise VendorError(400, f"{name}: Extra inputs are not permitted")
    inner = {k: v for k, v in body.items() if k not in ("anthropic_version", "anthropic_beta")}
    return {"model": model, **inner}
