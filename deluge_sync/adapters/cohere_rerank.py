"""Cohere's reranking, version 2.

Written from the types of the cohere SDK 7.3 (`v2/raw_client`, `v2/types/v2rerank_response`,
`types/api_meta`): newer models are billed by the token, older ones by the search.
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Ranking, RerankRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import details, text_or_none
from .cohere_common import fault, limits, request_id, units
from .packs import post_pack, top_k
from .rankings import decode_ranking, ranking

__all__ = ["decode", "encode", "limits", "request_id"]


def encode(request: RerankRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.RerankAdapter.encode`. Documents are cut to 4,096 tokens
    where nothing is said (the SDK's docstring).
    """
    body: dict[str, Any] = {
        "model": model.id,
        "query": request.query,
        "documents": request.documents,
    }
    best = top_k(request)
    if best is not None:
        body["top_n"] = best
    if request.max_document_tokens is not None:
        body["max_tokens_per_doc"] = request.max_document_tokens
    return post_pack(address(model, "/v2/rerank"), body, request, model)


def decode(response: HttpResponse, request: RerankRequest, model: Model) -> Ranking:
    """What `response` says; see `base.RerankAdapter.decode`."""
    return decode_ranking(response, request, model, _read, fault)


def _read(body: dict[str, Any], request: RerankRequest) -> Ranking:
    billed = details(body.get("meta"), "billed_units")
    usage, searches = Usage(units(billed, "input_tokens")), details(billed, "search_units")
    return ranking(body.get("results"), request, usage, searches, text_or_none(body.get("id")))
