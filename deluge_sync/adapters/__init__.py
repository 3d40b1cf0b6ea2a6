"""One vendor's wire format per module, as pure functions. See `base` for the contracts."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    anthropic,
    anthropic_batches,
    bedrock_converse,
    cohere_chat,
    cohere_embeddings,
    cohere_rerank,
    gemini,
    gemini_batches,
    gemini_embeddings,
    jina_rerank,
    mistral_batches,
    openai_batches,
    openai_chat,
    openai_embeddings,
    openai_responses,
    voyage_embeddings,
    voyage_rerank,
)
from .base import Adapter, BatchAdapter, EmbedAdapter, RerankAdapter

ADAPTERS: Mapping[str, Adapter] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock_converse": bedrock_converse,
    "cohere_chat": cohere_chat,
}
"""Every adapter by the name that `Provider.adapter` gives it."""

EMBEDDERS: Mapping[str, EmbedAdapter] = {
    "openai_embeddings": openai_embeddings,
    "gemini_embeddings": gemini_embeddings,
    "cohere_embeddings": cohere_embeddings,
    "voyage_embeddings": voyage_embeddings,
}
"""Every adapter for embeddings, by the same."""

RERANKERS: Mapping[str, RerankAdapter] = {
    "cohere_rerank": cohere_rerank,
    "voyage_rerank": voyage_rerank,
    "jina_rerank": jina_rerank,
}
"""Every adapter for ranking documents, by the same."""

BATCHES: Mapping[str, BatchAdapter] = {
    "openai": openai_batches,
    "anthropic": anthropic_batches,
    "gemini": gemini_batches,
    "mistral": mistral_batches,
}
"""Every adapter of batches by the name that `BatchApi.wire` gives it."""

__all__ = [
    "ADAPTERS",
    "BATCHES",
    "EMBEDDERS",
    "RERANKERS",
    "Adapter",
    "BatchAdapter",
    "EmbedAdapter",
    "RerankAdapter",
]
