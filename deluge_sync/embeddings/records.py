"""Vectors in the cache: one record for each text, by the request that would embed it alone."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Callable

from ..adapters import EmbedAdapter
from ..cache import Answers
from ..notices import warn_once
from ..route import Route
from ..values.embedding import EmbedRequest

Vector = array  # of float32, "f"

MARK = b"deluge-sync vector 1\0"
"""Every record begins so, and goes on with its float32s, little-endian."""

_BIG = sys.byteorder == "big"


def packed(vector: Vector[float]) -> bytes:
    """The record of a vector."""
    if _BIG:
        vector = vector[:]
        vector.byteswap()
    return MARK + vector.tobytes()


def unpacked(record: bytes) -> Vector[float] | None:
    """The vector of a record; None for one that is none, or of another version."""
    size = len(record) - len(MARK)
    if not record.startswith(MARK) or size < 4 or size % 4:
        return None
    vector = array("f")
    vector.frombytes(record[len(MARK) :])
    if _BIG:
        vector.byteswap()
    return vector if all(map(math.isfinite, vector)) else None


class VectorCache:
    """The vectors that a store has, under the keys of `route`.

    The same text in two runs at once is sent by both: nobody waits for somebody else's pack.
    """

    def __init__(
        self,
        answers: Answers,
        route: Route[EmbedAdapter],
        request: Callable[[Sequence[str]], EmbedRequest],
    ) -> None:
        self._answers = answers
        self._route = route
        self._request = request

    def keys(self, texts: Sequence[str]) -> list[str]:
        """One for each text."""
        encode, model, key = self._route.adapter.encode, self._route.model, self._route.keys.key
        return [key(encode(self._request((text,)), model)) for text in texts]

    def find(self, keys: Sequence[str]) -> dict[str, Vector[float]]:
        """The vectors there are, by key."""
        found = {}
        for key, record in self._answers.records(keys).items():
            vector = unpacked(record)
            if vector is None:
                warn_once("the cache holds a vector that cannot be read")
            else:
                found[key] = vector
        return found

    def keep(self, keys: Sequence[str], vectors: Sequence[Vector[float]]) -> None:
        """Put vectors into the store."""
        for key, vector in zip(keys, vectors):
            self._answers.keep_record(key, packed(vector))
