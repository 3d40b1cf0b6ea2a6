"""The wire formats there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic_messages import AnthropicMessages
from .bedrock import BedrockMessages
from .bedrock_converse import BedrockConverse
from .cohere_chat import PATH as COHERE_PATH
from .cohere_chat import CohereChat
from .gemini_content import GeminiContent
from .hosting import AzureDeployment, VertexContent, VertexMessages, under
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .wire import Wire

OPENAI = OpenAIChat()
ANTHROPIC = AnthropicMessages()
GEMINI = GeminiContent()
COHERE = CohereChat()
CONVERSE = BedrockConverse()
BEDROCK = BedrockMessages()
AZURE = AzureDeployment()
VERTEX = VertexContent()
VERTEX_CLAUDE = VertexMessages()

_PREFIXES = ("/anthropic", "/openai")
"""Of Azure, Foundry and Bedrock's Mantle, before the vendor's own path."""


class Wires:
    """The wire formats of one sandbox: that of Responses remembers what it gave."""

    def __init__(self, responses: OpenAIResponses) -> None:
        self.responses = responses

    def of(self, method: str, path: str, headers: Mapping[str, str]) -> Wire:
        """The wire format of a request: by its path, where that is shared by its headers."""
        hosted = self._hosted(method, path, headers)
        if hosted is not None:
            return hosted
        if path.startswith("/v1/chat/"):
            return OPENAI
        if path == "/v1/responses" or path.startswith("/v1/responses/"):
            return self.responses
        if path.startswith("/v1/messages"):
            return ANTHROPIC
        if path.startswith(("/v1beta/", "/download/")) or (
            method == "POST" and path.startswith("/v1/models/")
        ):
            return GEMINI
        if "anthropic-version" in headers:
            return ANTHROPIC
        return GEMINI if "x-goog-api-key" in headers else OPENAI

    def _hosted(self, method: str, path: str, headers: Mapping[str, str]) -> Wire | None:
        """That of a host which has the vendors' wire formats under paths of its own."""
        if path.startswith("/model/"):
            return CONVERSE if "/converse" in path else BEDROCK
        if path.startswith("/openai/deployments/"):
            return AZURE
        if path.startswith("/models/") or "/publishers/" in path:
            return VERTEX_CLAUDE if path.endswith("awPredict") else VERTEX
        for prefix in _PREFIXES:
            if path.startswith(prefix + "/"):
                return under(prefix, self.of(method, path[len(prefix) :], headers))
        return COHERE if path == COHERE_PATH else None
