"""One vendor's wire format per module, as pure functions. See `base.Adapter` for the contract."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    anthropic,
    bedrock_converse,
    cohere_chat,
    gemini,
    openai_chat,
    openai_responses,
)
from .base import Adapter

ADAPTERS: Mapping[str, Adapter] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock_converse": bedrock_converse,
    "cohere_chat": cohere_chat,
}
"""Every adapter by the name that `Provider.adapter` gives it."""

__all__ = ["ADAPTERS", "Adapter"]
