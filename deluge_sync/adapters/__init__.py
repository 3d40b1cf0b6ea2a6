"""One vendor's wire format per module, as pure functions. See `base.Adapter` for the contract."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    anthropic,
    anthropic_batches,
    bedrock_converse,
    cohere_chat,
    gemini,
    gemini_batches,
    mistral_batches,
    openai_batches,
    openai_chat,
    openai_responses,
)
from .base import Adapter, BatchAdapter

ADAPTERS: Mapping[str, Adapter] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock_converse": bedrock_converse,
    "cohere_chat": cohere_chat,
}
"""Every adapter by the name that `Provider.adapter` gives it."""

BATCHES: Mapping[str, BatchAdapter] = {
    "openai": openai_batches,
    "anthropic": anthropic_batches,
    "gemini": gemini_batches,
    "mistral": mistral_batches,
}
"""Every adapter of batches by the name that `BatchApi.wire` gives it."""

__all__ = ["ADAPTERS", "BATCHES", "Adapter", "BatchAdapter"]
