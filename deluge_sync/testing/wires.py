"""The wire formats there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic_messages import AnthropicMessages
from .gemini_content import GeminiContent
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .wire import Wire

OPENAI = OpenAIChat()
ANTHROPIC = AnthropicMessages()
GEMINI = GeminiContent()


class Wires:
    """The wire formats of one sandbox: that of Responses remembers what it gave."""

    def __init__(self, responses: OpenAIResponses) -> None:
        self.responses = responses

    def of(self, method: str, path: str, headers: Mapping[str, str]) -> Wire:
        """The wire format of a request: by its path, where that is shared by its headers."""
        if path.startswith("/v1/chat/"):
            return OPENAI
        if path == "/v1/responses" or path.startswith("/v1/responses/"):
            return self.responses
        if path.startswith("/v1/messages"):
            return ANTHROPIC
        if path.startswith("/v1beta/") or (method == "POST" and path.startswith("/v1/models/")):
            return GEMINI
        if "anthropic-version" in headers:
            return ANTHROPIC
        return GEMINI if "x-goog-api-key" in headers else OPENAI
