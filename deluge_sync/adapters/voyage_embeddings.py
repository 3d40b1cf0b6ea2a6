"""Voyage's embeddings.

Written from the voyageai SDK 0.5 (`client`, `api_resources/embedding`: it asks for base64 by
itself, and reads float32 out of it). Answers are shaped as OpenAI's are; errors are
`{"detail": ...}`.
"""

from __future__ import annotations

from typing import Any

from ..values.embedding import Embedded, EmbedRequest
from ..values.model import Model
from ..values.wire import HttpRequest, HttpResponse
from .address import address
from .failures import request_id
from .openai_common import fault, limits
from .openai_embeddings import read
from .packs import dimensions, input_word, post_pack, refuse_types
from .vectors import decode_embedded

__all__ = ["decode", "encode", "limits", "request_id"]

_WORDS = {"document": "document", "query": "query"}


def encode(request: EmbedRequest, model: Model) -> HttpRequest:
    """The call for `request`; see `base.EmbedAdapter.encode`. A text that is too long is an error,
    where this vendor would cut it in silence.
    """
    refuse_types(request, model, "output_dtype", ("float",))
    body: dict[str, Any] = {"model": model.id, "input": request.texts, "truncation": False}
    word = input_word(request, model, _WORDS)
    if word is not None:
        body["input_type"] = word
    if "base64_vectors" in model.supports:
        body["encoding_format"] = "base64"
    body.update(dimensions(request, model, "output_dimension"))
    return post_pack(address(model, "/embeddings"), body, request, model)


def decode(response: HttpResponse, request: EmbedRequest, model: Model) -> Embedded:
    """What `response` says; see `base.EmbedAdapter.decode`."""
    return decode_embedded(response, request, model, read, fault)
