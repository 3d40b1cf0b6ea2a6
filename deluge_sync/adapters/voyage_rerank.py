"""Voyage's reranking, written from the voyageai SDK 0.5 (`client`, `object/reranking`)."""

from __future__ import annotations

from typing import Any

from ..values.embedding import Ranking, RerankRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import count, details
from .failures import request_id
from .openai_common import fault, limits
from .packs import post_pack, refuse_cut, top_k
from .rankings import decode_ranking, ranking

__all__ = ["decode", "encode", "limits", "request_id"]


def encode(request: RerankRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.RerankAdapter.encode`. What is longer than the model's
    context is cut, as is the vendor's default.
    """
    refuse_cut(request, model)
    body: dict[str, Any] = {
        "query": request.query,
        "documents": request.documents,
        "model": model.id,
    }
    best = top_k(request)
    if best is not None:
        body["top_k"] = best
    return post_pack(address(model, "/rerank"), body, request, model)


def decode(response: HttpResponse, request: RerankRequest, model: Model) -> Ranking:
    """What `response` says; see `base.RerankAdapter.decode`."""
    return decode_ranking(response, request, model, _read, fault)


def _read(body: dict[str, Any], request: RerankRequest) -> Ranking:
    tokens = count(details(body.get("usage"), "total_tokens"))
    return ranking(body.get("data"), request, Usage(tokens))
