"""One vendor's wire format per module, as pure functions. See `base.Adapter` for the contract."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    anthropic,
    bedrock_converse,
    cohere_chat,
    cohere_embeddings,
    cohere_rerank,
    gemini,
    gemini_embeddings,
    jina_rerank,
    openai_chat,
    openai_embeddings,
    openai_responses,
    voyage_embeddings,
    voyage_rerank,
)
from .base import Adapter, EmbedAdapter, RerankAdapter

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

__all__ = ["ADAPTERS", "EMBEDDERS", "RERANKERS", "Adapter", "EmbedAdapter", "RerankAdapter"]
