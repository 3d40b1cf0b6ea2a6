"""Texts to be embedded and documents to be ranked, before and after any vendor's wire format."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .response import Usage

INPUT_TYPES = ("document", "query", "classification", "clustering", "similarity")
"""What a text is embedded for, in our words; vendors have their own."""


class EmbedRequest(NamedTuple):
    """Texts for one request. `dimensions` shortens the vectors, where the model can; `input_type`
    is one of `INPUT_TYPES`. `extra_body` and `extra_headers` are laid over what is sent.
    """

    texts: tuple[str, ...]
    dimensions: Optional[int] = None
    input_type: Optional[str] = None
    extra_body: Mapping[str, Any] = MappingProxyType({})
    extra_headers: Mapping[str, str] = MappingProxyType({})


class Embedded(NamedTuple):
    """The vectors of one request's texts, in their order, all of one length: float32, as
    `array("f")`.
    """

    vectors: tuple[array[float], ...]
    usage: Usage
    response_id: Optional[str] = None


class RerankRequest(NamedTuple):
    """One query and the documents to be ranked by how well they answer it; with `top_k`, only the
    best are told of. `max_document_tokens` cuts each document, where the vendor can.
    """

    query: str
    documents: tuple[str, ...]
    top_k: Optional[int] = None
    max_document_tokens: Optional[int] = None
    extra_body: Mapping[str, Any] = MappingProxyType({})
    extra_headers: Mapping[str, str] = MappingProxyType({})


class Scored(NamedTuple):
    """A document by its position in the request, from 0, and its score: more is better."""

    position: int
    score: float


class Ranking(NamedTuple):
    """The documents told of, the best first. `searches` is what a vendor bills that bills so."""

    scored: tuple[Scored, ...]
    usage: Usage
    searches: float = 0.0
    response_id: Optional[str] = None
