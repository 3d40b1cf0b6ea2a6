"""Rankings of the documents of many queries at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .client import Client, sending_client
from .rankings.run import RerankOptions
from .values.embedding import Ranked, RerankResponse

__all__ = ["Ranked", "RerankResponse", "rerank_parallel"]

DEFAULT_MODEL = "cohere/rerank-v5.0-fast"
"""Where neither a model nor a client is given."""


def rerank_parallel(
    queries: Iterable[str],
    documents: Iterable[Iterable[str]],
    model: str | None = None,
    *,
    top_k: int | None = None,
    max_document_tokens: int | None = None,
    client: Client | None = None,
    timeout: float | None = None,
    max_cost: float | None = None,
    **client_options: Any,
) -> list[RerankResponse]:
    """One response for each query, in their order; `documents` has a list for each of them.

    Failures are responses with an `error`; they cost the others nothing. It is sent by `client`,
    or by a client made for it with `client_options` (`api_key`, `base_url`, ...). Without a `model`
    it is that of `client`, or cohere/rerank-v5.0-fast. The other options are those of
    `Client.rerank`; `timeout` is seconds for all of it, `max_cost` US dollars.
    """
    asked = RerankOptions(top_k, max_document_tokens)
    chosen = DEFAULT_MODEL if model is None else model
    with sending_client(client, chosen, client_options) as sender:
        return sender._rerank_responses(
            queries,
            documents,
            asked,
            model=model,
            timeout=timeout,
            max_cost=max_cost,
        )
