"""Jina's reranking, whose form Together, Fireworks, OpenRouter, vLLM and others share.

Written from Jina's API reference and the together SDK 3.1 (`types/rerank_create_params`,
`types/rerank_create_response`). Hosts differ in two names: the results are `data` at Fireworks, and
tokens are told as `prompt_tokens`, `total_tokens` or not at all.
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Ranking, RerankRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import count, details, text_or_none
from .failures import request_id
from .openai_common import fault, limits
from .packs import post_pack, refuse_cut, top_k
from .rankings import decode_ranking, ranking

__all__ = ["decode", "encode", "limits", "request_id"]


def encode(request: RerankRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.RerankAdapter.encode`. The documents, which the caller has,
    are not to come back.
    """
    refuse_cut(request, model)
    body: dict[str, Any] = {
        "model": model.id,
        "query": request.query,
        "documents": request.documents,
        "return_documents": False,
    }
    best = top_k(request)
    if best is not None:
        body["top_n"] = best
    return post_pack(address(model, "/rerank"), body, request, model)


def decode(response: HttpResponse, request: RerankRequest, model: Model) -> Ranking:
    """What `response` says; see `base.RerankAdapter.decode`."""
    return decode_ranking(response, request, model, _read, fault)


def _read(body: dict[str, Any], request: RerankRequest) -> Ranking:
    rows = body.get("data") if body.get("results") is None else body["results"]
    usage = body.get("usage")
    tokens = count(details(usage, "prompt_tokens")) or count(details(usage, "total_tokens"))
    searches, identity = details(usage, "search_units"), text_or_none(body.get("id"))
    return ranking(rows, request, Usage(tokens), searches, identity)
