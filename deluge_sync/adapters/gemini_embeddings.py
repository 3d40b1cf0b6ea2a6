"""Gemini's embeddings, in the Developer API: `batchEmbedContents`, as its SDK always calls it.

Written from the google-genai SDK 3.4 (`models._EmbedContentParametersPrivate_to_mldev`,
`types.EmbedContentResponse`) and ai.google.dev's page on embeddings. Vertex AI has other bodies.
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Embedded, EmbedRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .body import JSON_HEADERS, as_list, as_object, count, details, post
from .failures import request_id
from .gemini import limits, method_url, resource
from .gemini_answers import read_fault
from .packs import dimensions, input_word
from .vectors import decode_embedded, embedded

__all__ = ["decode", "encode", "limits", "request_id"]

_TASKS = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
}
_PREFIXES = {
    "document": "title: none | text: ",
    "query": "task: search result | query: ",
    "classification": "task: classification | query: ",
    "clustering": "task: clustering | query: ",
    "similarity": "task: sentence similarity | query: ",
}
"""How gemini-embedding-2 is told, which passes over taskType (ai.google.dev, Embeddings)."""


def encode(request: EmbedRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.EmbedAdapter.encode`. `extra_body` is laid over what is
    said of each text, as there is nothing beside that.
    """
    prefixed = "task_prefixes" in model.supports
    word = input_word(request, model, _PREFIXES if prefixed else _TASKS)
    prefix = word or "" if prefixed else ""
    common: dict[str, Any] = {"model": resource(model)}
    if word is not None and not prefixed:
        common["taskType"] = word
    common.update(dimensions(request, model, "outputDimensionality"))
    common.update(request.extra_body)
    requests = [
        {"content": {"role": "user", "parts": [{"text": prefix + text}]}, **common}
        for text in request.texts
    ]
    return post(
        method_url(model, "batchEmbedContents"),
        {"requests": requests},
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body={},
    )


def decode(response: HttpResponse, request: EmbedRequest, model: Model) -> Embedded:
    """What `response` says; see `base.EmbedAdapter.decode`. Its order is that of the texts."""
    return decode_embedded(response, request, model, _read, read_fault)


def _read(body: dict[str, Any], request: EmbedRequest) -> Embedded:
    items = as_list(body.get("embeddings"), "embeddings")
    values = [as_object(item, "an embedding").get("values") for item in items]
    tokens = count(details(body.get("usageMetadata"), "promptTokenCount"))
    return embedded(values, request, Usage(tokens))
