"""OpenAI's embeddings, which Mistral and OpenAI-compatible hosts answer too.

Written from the types of the openai SDK 3.54 (`types/embedding_create_params`,
`types/create_embedding_response`, `lib/_parsing/_embeddings`: the SDK asks for base64 by itself)
and of mistralai 3.7 (`models/embeddingrequest`, `models/embeddingresponsedata`).
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Embedded, EmbedRequest
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .body import count, details, text_or_none
from .failures import request_id
from .openai_common import fault, limits
from .packs import dimensions, input_word, post_pack, refuse_types
from .vectors import by_index, decode_embedded, embedded

__all__ = ["decode", "encode", "limits", "request_id"]


def encode(request: EmbedRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.EmbedAdapter.encode`. There is no form for `input_type`."""
    input_word(request, model, {})
    refuse_types(request, model, "output_dtype", ("float",))
    body: dict[str, Any] = {"model": model.id, "input": request.texts}
    if "base64_vectors" in model.supports:
        body["encoding_format"] = "base64"
    body.update(dimensions(request, model, model.dimensions_field))
    return post_pack(address(model, "/embeddings"), body, request, model)


def decode(response: HttpResponse, request: EmbedRequest, model: Model) -> Embedded:
    """What `response` says; see `base.EmbedAdapter.decode`."""
    return decode_embedded(response, request, model, read, fault)


def read(body: dict[str, Any], request: EmbedRequest) -> Embedded:
    """The vectors in a good body."""
    usage = body.get("usage")
    tokens = count(details(usage, "prompt_tokens")) or count(details(usage, "total_tokens"))
    values = by_index(body.get("data"), request)
    return embedded(values, request, Usage(tokens), text_or_none(body.get("id")))
