"""Texts to be embedded and documents to be ranked, before and after any vendor's wire format."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from .errors import DelugeError
from .response import Usage

NOTHING_USED = Usage()

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


class Embedding(NamedTuple):
    """What `iter_embed` gives for the text at `index`: its vector (float32, as `array("f")`), or
    the `error` it has none for.
    """

    index: int  # type: ignore[assignment]  # nobody asks a value like this for a tuple's index()
    vector: Optional[array[float]]
    error: Optional[DelugeError] = None


@dataclass(frozen=True)
class EmbedResponse:
    """The outcome of one request for embeddings, or of what the cache had.

    `indices` has for each vector the positions of the texts it is for: several where a text was
    given several times, as it is sent once. `vectors` are float32, as `array("f")`; () where
    there is an `error`. `cost` is US dollars, None where nobody knows; `attempts` counts sends.
    """

    model: str
    indices: tuple[tuple[int, ...], ...]
    vectors: tuple[array[float], ...] = field(default=(), repr=False)
    usage: Usage = NOTHING_USED
    cost: float | None = None
    error: DelugeError | None = None
    attempts: int = 0
    cached: bool = False

    @property
    def embeddings(self) -> list[list[float]]:
        """The vectors as lists of floats."""
        return [vector.tolist() for vector in self.vectors]

    @property
    def is_error(self) -> bool:
        """Whether the request failed."""
        return self.error is not None


class Ranked(NamedTuple):
    """A document, its position among those given, and its score: more is better."""

    index: int  # type: ignore[assignment]  # as above
    score: float
    document: str


@dataclass(frozen=True)
class RerankResponse:
    """One query's documents, the best first, or the `error` it failed with.

    `index` is the query's position. `cost` is US dollars, None where nobody knows; `searches` is
    what a vendor bills that bills so; `attempts` counts sends.
    """

    model: str
    query: Any
    ranked: tuple[Ranked, ...] = ()
    usage: Usage = NOTHING_USED
    searches: float = 0.0
    cost: float | None = None
    error: DelugeError | None = None
    attempts: int = 0
    index: int = 0

    @property
    def ranked_documents(self) -> list[str]:
        """The documents, the best first."""
        return [one.document for one in self.ranked]

    @property
    def indices(self) -> list[int]:
        """Their positions among those given."""
        return [one.index for one in self.ranked]

    @property
    def scores(self) -> list[float]:
        """Their scores."""
        return [one.score for one in self.ranked]

    @property
    def is_error(self) -> bool:
        """Whether it failed."""
        return self.error is not None

    def raise_for_error(self) -> RerankResponse:
        """Raise `error` if there is one, else return this response."""
        if self.error is not None:
            raise self.error
        return self
