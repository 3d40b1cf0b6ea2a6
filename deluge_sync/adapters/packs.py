"""What requests of many texts share: what vendors say of too many or too long ones, and options
that a model has no form for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..values.embedding import EmbedRequest, RerankRequest
from ..values.errors import ConfigError, TooLongError
from ..values.model import Model
from ..values.wire import HttpRequest
from .body import JSON_HEADERS, post
from .failures import Fault

_OVERSIZE = re.compile(
    r"""(?ix)
      maximum\ input\ length                        # OpenAI: Invalid 'input[0]': maximum input ...
    | max\ \d+\ tokens\ per\ request                # OpenAI: Requested 416735 tokens, ...
    | array\ too\ long                              # OpenAI: ... maximum length 2048
    | too\ many\ (?:inputs|input\ tokens|tokens)    # Mistral, Voyage (one text), Cohere
    | exceeding\ max                               # Mistral: Input id 0 has 9000 tokens, ...
    | max\ allowed\ tokens                          # Voyage: ... per submitted batch is 120000
    | batch\ size\ limit                            # Voyage: ... is 1000
    | maximum\ allowed\ batch\ size                 # text-embeddings-inference
    | must\ have\ less\ than\ \d+\ tokens           # the same
    | (?:texts|inputs|documents)\ must\ be\ at\ most # Cohere: total number of texts ...
    | at\ most\ \d+\ requests\ can\ be\ in\ one      # Gemini: ... batch
    | payload\ size\ exceeds                        # Gemini
    | too\ large\ to\ process                       # llama.cpp, with status 500
    """
)
_STATUSES = frozenset({200, 400, 413, 422, 500})
"""Those that such an error comes with. A 429 in the same words is about a minute, not a request."""


def sized(fault: Fault, status: int) -> Fault:
    """`fault`, as a `TooLongError` where the request held too much: fewer texts may well pass."""
    if fault.kind is None and status in _STATUSES and _OVERSIZE.search(fault.message):
        return fault._replace(kind=TooLongError)
    return fault


def dimensions(request: EmbedRequest, model: Model, field: str) -> dict[str, Any]:
    """The wish for vectors of another length, as `field` says it."""
    wanted = request.dimensions
    if wanted is None:
        return {}
    if type(wanted) is not int or wanted < 1:
        raise ConfigError(f"dimensions must be a whole number of at least 1, not {wanted!r}")
    if "dimensions" not in model.supports:
        raise ConfigError(
            f"{model.name} has vectors of one length only (the `supports` of its entry lacks "
            "dimensions)"
        )
    return {field: wanted}


def input_word(request: EmbedRequest, model: Model, words: Mapping[str, str]) -> str | None:
    """The vendor's word for what the texts are embedded for; None where nothing is said."""
    wanted = request.input_type
    if wanted is None:
        return None
    if wanted not in words:
        has = f"it has {', '.join(words)}" if words else "leave it out, or put it into the texts"
        raise ConfigError(f"{model.name} has no input_type {wanted!r}: {has}")
    return words[wanted]


def refuse_types(request: EmbedRequest, model: Model, field: str, allowed: tuple[Any, ...]) -> None:
    """Raise `ConfigError` where `extra_body` asks for vectors of other numbers than float32, which
    could only be misread.
    """
    wanted = request.extra_body.get(field)
    if wanted is not None and wanted not in allowed:
        raise ConfigError(f"{model.name}: vectors are float32; leave {field} out of extra_body")


def top_k(request: RerankRequest) -> int | None:
    """How many documents to be told of: no more than there are, as some vendors refuse that."""
    wanted = request.top_k
    if wanted is None:
        return None
    if type(wanted) is not int or wanted < 1:
        raise ConfigError(f"top_k must be a whole number of at least 1, not {wanted!r}")
    return min(wanted, len(request.documents))


def refuse_cut(request: RerankRequest, model: Model) -> None:
    """Raise `ConfigError` for a `max_document_tokens` that the wire format has no form for."""
    if request.max_document_tokens is not None:
        raise ConfigError(
            f"{model.name} has no max_document_tokens: cut them, or use a model of Cohere's"
        )


def post_pack(
    url: str, body: dict[str, Any], request: EmbedRequest | RerankRequest, model: Model
) -> HttpRequest:
    """The call, with the caller's own fields and headers laid over it."""
    return post(
        url,
        body,
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
    )
