"""Cohere's embeddings, version 2.

Written from the types of the cohere SDK 7.3 (`v2/raw_client`, `types/embed_by_type_response`).
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Embedded, EmbedRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import as_list, as_object, details, text_or_none
from .cohere_common import fault, limits, request_id, units
from .packs import dimensions, input_word, post_pack, refuse_types
from .vectors import decode_embedded, embedded

__all__ = ["decode", "encode", "limits", "request_id"]

_WORDS = {
    "document": "search_document",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
}


def encode(request: EmbedRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.EmbedAdapter.encode`. Texts are documents where nothing is
    said: this vendor wants to know. One that is too long is an error, not cut in silence.
    """
    form = "base64" if "base64_vectors" in model.supports else "float"
    refuse_types(request, model, "embedding_types", (["float"], ["base64"]))
    body: dict[str, Any] = {
        "model": model.id,
        "input_type": input_word(request, model, _WORDS) or _WORDS["document"],
        "texts": request.texts,
        "embedding_types": [form],
        "truncate": "NONE",
    }
    body.update(dimensions(request, model, "output_dimension"))
    return post_pack(address(model, "/v2/embed"), body, request, model)


def decode(response: HttpResponse, request: EmbedRequest, model: Model) -> Embedded:
    """What `response` says; see `base.EmbedAdapter.decode`."""
    return decode_embedded(response, request, model, _read, fault)


def _read(body: dict[str, Any], request: EmbedRequest) -> Embedded:
    forms = as_object(body.get("embeddings"), "embeddings")
    values = as_list(forms.get("float") or forms.get("base64"), "embeddings.float")
    tokens = units(details(body.get("meta"), "billed_units"), "input_tokens")
    return embedded(values, request, Usage(tokens), text_or_none(body.get("id")))
