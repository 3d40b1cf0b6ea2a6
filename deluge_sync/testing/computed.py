"""Questions whose answer is computed from their texts: embeddings and rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..values.response import Usage
from .answers import CHARACTERS_PER_TOKEN, Finished, Question, count_tokens
from .checks import Kind
from .likeness import relevances

SIZES: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "gemini-embedding": 3072,
    "voyage": 1024,
    "mistral-embed": 1024,
    "codestral-embed": 1536,
    "embed-v4": 1536,
    "embed-v5": 2048,
    "embed-english-light-v3": 384,
    "embed-multilingual-light-v3": 384,
    "embed-english-v3": 1024,
    "embed-multilingual-v3": 1024,
}
"""Length of the vectors, by how the model's id begins."""

USUAL_SIZE = 256
LARGEST_SIZE = 8192

SIZE = Kind(
    f"an integer from 1 to {LARGEST_SIZE}",
    lambda value: type(value) is int and 1 <= value <= LARGEST_SIZE,
)


def known_size(model: str) -> int | None:
    """The length of that model's vectors, where it is one of the vendors'."""
    return next((size for name, size in SIZES.items() if model.startswith(name)), None)


def size_of(model: str, wanted: int | None) -> int:
    """The length of the vectors that are to be made."""
    return wanted or known_size(model) or USUAL_SIZE


class Computed:
    """A wire whose answers no `Answerer` chooses; see `Service`."""

    def finish(self, question: Question) -> Finished:
        """What stands for a reply: nothing is written, only read."""
        return Finished("", None, "stop", None, (), Usage(question.input_tokens, 0))


def asked(
    wire: str, model: str, texts: Sequence[str], body: Mapping[str, Any], tokens: int | None = None
) -> Question:
    """The question about `texts`, which its turns hold one by one and its prompt line by line."""
    if tokens is None:
        tokens = sum(map(count_tokens, texts))
    turns = tuple(("input", text) for text in texts)
    return Question(wire, model, "\n".join(texts), None, turns, tokens, None, (), body)


def texts_of(question: Question) -> list[str]:
    """The texts that `asked` was given."""
    return [text for _, text in question.turns]


def cut(text: str, tokens: int, *, at_start: bool = False) -> str:
    """What is left of `text` when no more than `tokens` are read, of its beginning or its end."""
    most = tokens * CHARACTERS_PER_TOKEN
    return text[-most:] if at_start else text[:most]


def ranked(query: str, documents: Sequence[str], most: int | None) -> list[tuple[int, float]]:
    """Positions and scores, the best first; of equal ones that which came first."""
    scores = enumerate(relevances(query, documents))
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))[:most]
