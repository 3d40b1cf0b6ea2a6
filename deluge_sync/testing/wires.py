"""The wire formats there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic_messages import AnthropicMessages
from .bedrock import BedrockMessages
from .bedrock_converse import BedrockConverse
from .cohere_chat import PATH as COHERE_PATH
from .cohere_chat import CohereChat
from .cohere_embed import EMBED_PATH, RERANK_PATH, CohereEmbed, CohereRerank
from .gemini_content import GeminiContent
from .gemini_embed import MANY, ONE, GeminiEmbed
from .host_rerank import PATH as HOST_RERANK_PATH
from .host_rerank import HostRerank
from .hosting import AzureDeployment, VertexContent, VertexMessages, under
from .openai_chat import OpenAIChat
from .openai_embeddings import PATH as EMBEDDINGS_PATH
from .openai_embeddings import OpenAIEmbeddings
from .openai_responses import OpenAIResponses
from .voyage import PREFIX as VOYAGE_PREFIX
from .voyage import VoyageEmbeddings, VoyageRerank
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
EMBEDDINGS = OpenAIEmbeddings()
GEMINI_EMBED = GeminiEmbed()
VOYAGE_EMBED = VoyageEmbeddings()
VOYAGE_RERANK = VoyageRerank()
_COMPUTED: Mapping[str, Wire] = {
    EMBEDDINGS_PATH: EMBEDDINGS,
    HOST_RERANK_PATH: HostRerank(),
    EMBED_PATH: CohereEmbed(),
    RERANK_PATH: CohereRerank(),
}

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
        computed = self._computed(path)
        if computed is not None:
            return computed
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

    def _computed(self, path: str) -> Wire | None:
        """That of embeddings and rankings."""
        if path.startswith(VOYAGE_PREFIX + "/"):
            return VOYAGE_RERANK if path.endswith("/rerank") else VOYAGE_EMBED
        if path.endswith((ONE, MANY)):
            return GEMINI_EMBED
        return _COMPUTED.get(path)

    def _hosted(self, method: str, path: str, headers: Mapping[str, str]) -> Wire | None:
        """That of a host which has the vendors' wire formats under paths of its own."""
        if path.startswith("/model/"):
            return CONVERSE if "/converse" in path else BEDROCK
        if path.startswith("/openai/deployments/"):
            return EMBEDDINGS if path.endswith("/embeddings") else AZURE
        if path.startswith("/models/") or "/publishers/" in path:
            return VERTEX_CLAUDE if path.endswith("awPredict") else VERTEX
        for prefix in _PREFIXES:
            if path.startswith(prefix + "/"):
                return under(prefix, self.of(method, path[len(prefix) :], headers))
        return COHERE if path == COHERE_PATH else None
