"""What the sandbox knows of the meaning of texts: vectors in which like texts are near, and scores.

A text is taken for its words and their pieces of three characters. Each is hashed to a place and a
sign (feature hashing: Weinberger et al., 2009), so that texts share as much of their vectors as
they share words, and words alike share some. The same text gives the same vector, in any process.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_WORDS = re.compile(r"\w+")
_LONG = 64
"""Characters from which on a word is no word that comes again, and is not kept."""

_PIECE_WEIGHT = 0.5
_FULL_WEIGHT = 6
"""Characters from which on a word has its full weight: the shortest say least."""

Feature = tuple[int, float]


def embedding(text: str, size: int) -> array[float]:
    """The unit vector of `text`: `size` float32."""
    places: dict[int, float] = {}
    for word, times in Counter(_words(text)).items():
        often = math.sqrt(times)
        for at, weight in _places(word, size) if len(word) < _LONG else _placed(word, size):
            places[at] = places.get(at, 0.0) + weight * often
    length = math.sqrt(sum(weight * weight for weight in places.values()))
    vector = array("f", bytes(4 * size))
    if length < 1e-9:  # all signs met their opposites, as they may in few dimensions
        vector[zlib.crc32(text.encode("utf-8", "surrogatepass")) % size] = 1.0
        return vector
    for at, weight in places.items():
        vector[at] = weight / length
    return vector


def relevances(query: str, documents: Iterable[str]) -> list[float]:
    """How well each document answers `query`, from 0 to 1: each on its own.

    Four fifths is how much of the query is in the document, one fifth the other way round.
    """
    wanted = _weights(query)
    most = sum(wanted.values())
    scores = []
    for document in documents:
        there = _weights(document)
        found = sum(weight for key, weight in wanted.items() if key in there)
        back = sum(weight for key, weight in there.items() if key in wanted)
        scores.append(min(1.0, 0.8 * found / most + 0.2 * back / sum(there.values())))
    return scores


def as_base64(numbers: array[Any]) -> str:
    """The bytes of `numbers`; of floats in the order of all our machines, the lowest first."""
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def quantised(vector: array[float], kind: str) -> array[Any]:
    """`vector` in a type of Cohere's and Voyage's: "float", "int8" or "uint8" (a number each, up to
    127 either way), "binary" or "ubinary" (a bit each, packed into bytes, the first the highest).
    """
    if kind == "float":
        return vector
    if kind in ("int8", "uint8"):
        scale = 127 / max(map(abs, vector))
        numbers = [round(value * scale) for value in vector]
        return array("b", numbers) if kind == "int8" else array("B", [n + 128 for n in numbers])
    packed = [_packed(vector[at : at + 8]) for at in range(0, len(vector), 8)]
    return array("B", packed) if kind == "ubinary" else array("b", [byte - 128 for byte in packed])


def _packed(values: array[float]) -> int:
    return sum(0x80 >> at for at, value in enumerate(values) if value > 0)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower()) or [text]


def _weights(text: str) -> dict[int, float]:
    """What `text` is made of, each but once."""
    weights: dict[int, float] = {}
    for word in _words(text):
        weights.update(_features(word) if len(word) < _LONG else _parts(word))
    return weights


def _parts(word: str) -> tuple[Feature, ...]:
    """`word` and its pieces, hashed, with their weights."""
    framed = f"<{word}>"
    weight = min(1.0, max(1, len(word)) / _FULL_WEIGHT)
    parts = [(_hashed(framed), weight)]
    weight *= _PIECE_WEIGHT
    parts += [(_hashed(framed[at : at + 3]), weight) for at in range(len(framed) - 2)]
    return tuple(parts)


def _hashed(part: str) -> int:
    """32 bits of `part`, mixed: those of a CRC alone are alike for parts that are."""
    mixed = zlib.crc32(part.encode("utf-8", "surrogatepass")) * 0x9E3779B1 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    return mixed ^ mixed >> 13


def _placed(word: str, size: int) -> tuple[Feature, ...]:
    """The places of `word` in a vector, and what it adds there: the lowest bit is the sign."""
    parts = _features(word) if len(word) < _LONG else _parts(word)
    return tuple(((key >> 1) % size, weight if key & 1 else -weight) for key, weight in parts)


_features = lru_cache(maxsize=1 << 15)(_parts)
_places = lru_cache(maxsize=1 << 15)(_placed)
