"""Cohere: `POST /v2/embed` and `POST /v2/rerank`.

Fields and shapes as in the cohere SDK 7.3 (`v2`, `types/embed_by_type_response.py`,
`v2/types/v2rerank_response.py`); the words about too many texts as in langchain4j #1442.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import (
    ARRAY,
    INTEGER,
    OBJECT,
    STRING,
    STRINGS,
    Fields,
    Kind,
    VendorError,
    check_fields,
    integer_from,
    one_of,
)
from .cohere_chat import VOICE, CohereChat
from .computed import SIZE, Computed, asked, cut, known_size, ranked, size_of, texts_of
from .likeness import as_base64, embedding, quantised
from .wire import Body, Route

EMBED_PATH = "/v2/embed"
RERANK_PATH = "/v2/rerank"
MOST_TEXTS = 96
MOST_DOCUMENTS = 10_000
MOST_DOCUMENT_TOKENS = 4096
DOCUMENTS_A_SEARCH = 100
TOKENS_A_DOCUMENT = 500
"""Of a search unit; a longer document counts as several."""

_TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_EMBED_FIELDS: Fields = {
    "model": STRING,
    "input_type": one_of(
        "search_document", "search_query", "classification", "clustering", "image"
    ),
    "texts": STRINGS,
    "images": STRINGS,
    "inputs": ARRAY,
    "max_tokens": integer_from(1),
    "output_dimension": SIZE,
    "embedding_types": Kind(
        "an array of " + ", ".join(_TYPES),
        lambda value: isinstance(value, list) and all(word in _TYPES for word in value),
    ),
    "truncate": one_of("NONE", "START", "END"),
    "priority": INTEGER,
}
_INPUT: Fields = {"content": ARRAY}
_CONTENT: Fields = {"type": one_of("text", "image_url"), "text": STRING, "image_url": OBJECT}
_RERANK_FIELDS: Fields = {
    "model": STRING,
    "query": STRING,
    "documents": STRINGS,
    "top_n": integer_from(1),
    "max_tokens_per_doc": integer_from(1),
    "relevant_spans": OBJECT,
    "priority": INTEGER,
}


class CohereEmbed(Computed, CohereChat):
    """See `Wire`."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        return _route(method, path, EMBED_PATH)

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_fields(body, _EMBED_FIELDS, VOICE, required=("model", "input_type"), strict=strict)
        texts = _texts(body, strict)
        if len(texts) > MOST_TEXTS:
            raise VendorError(
                400,
                f"invalid request: total number of texts must be at most {MOST_TEXTS} - "
                f"received {len(texts)}",
            )
        _check_size(body)
        return asked(self.name, body["model"], _shortened(texts, body), body)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        body, texts = question.body, texts_of(question)
        size = size_of(question.model, body.get("output_dimension"))
        vectors = [embedding(text, size) for text in texts]
        embeddings: dict[str, list[Any]] = {}
        for kind in body.get("embedding_types") or ("float",):
            if kind == "base64":
                embeddings[kind] = list(map(as_base64, vectors))
            else:
                embeddings[kind] = [quantised(vector, kind).tolist() for vector in vectors]
        return {
            "id": _id(serial),
            "response_type": "embeddings_by_type",
            "embeddings": embeddings,
            "texts": body.get("texts") or texts,
            "meta": _meta(input_tokens=question.input_tokens),
        }


class CohereRerank(Computed, CohereChat):
    """See `Wire`."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        return _route(method, path, RERANK_PATH)

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`. The query is the first of the texts."""
        required = ("model", "query", "documents")
        check_fields(body, _RERANK_FIELDS, VOICE, required=required, strict=strict)
        query, documents = body["query"], body["documents"]
        if not query:
            raise VendorError(400, "invalid request: query must not be empty")
        if not documents:
            raise VendorError(400, "invalid request: at least one document is required")
        if len(documents) > MOST_DOCUMENTS:
            raise VendorError(
                400,
                f"invalid request: total number of documents must be at most {MOST_DOCUMENTS} - "
                f"received {len(documents)}",
            )
        if (body.get("relevant_spans") or {}).get("mode") == "enabled":
            raise VendorError(400, "the sandbox finds no relevant_spans: leave them out")
        most = body.get("max_tokens_per_doc") or MOST_DOCUMENT_TOKENS
        texts = [query, *(cut(document, most) for document in documents)]
        counts = list(map(count_tokens, texts))
        total = counts[0] * len(documents) + sum(counts[1:])
        return asked(self.name, body["model"], texts, body, total)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`. From version 5 on tokens are billed, before that searches."""
        query, *documents = texts_of(question)
        pairs = ranked(query, documents, question.body.get("top_n"))
        if question.model.startswith("rerank-v5"):
            meta = _meta(input_tokens=question.input_tokens)
        else:
            meta = _meta(search_units=_searches(documents))
        results = [{"index": index, "relevance_score": score} for index, score in pairs]
        return {"id": _id(serial), "results": results, "meta": meta}


def _route(method: str, path: str, expected: str) -> Route:
    if path != expected or method != "POST":
        raise VendorError(404, f"404 page not found: {method} {path}")
    return Route("generate")


def _texts(body: Mapping[str, Any], strict: bool) -> list[str]:
    """The texts to embed, from whichever field has them."""
    given = [name for name in ("texts", "images", "inputs") if body.get(name)]
    if len(given) != 1:
        raise VendorError(400, "invalid request: one of texts, images or inputs must be given")
    if given == ["images"]:
        raise VendorError(400, "the sandbox embeds texts only: it cannot see images")
    texts: list[str] = body["texts"] if given == ["texts"] else _of_inputs(body["inputs"], strict)
    if not all(texts):
        raise VendorError(400, "invalid request: texts must not contain empty strings")
    return texts


def _of_inputs(inputs: Sequence[Any], strict: bool) -> list[str]:
    texts = []
    for at, one in enumerate(inputs):
        check_fields(one, _INPUT, VOICE, path=("inputs", at), required=("content",), strict=strict)
        for part_at, part in enumerate(one["content"]):
            path = ("inputs", at, "content", part_at)
            check_fields(part, _CONTENT, VOICE, path=path, required=("type",), strict=strict)
            if part["type"] != "text":
                raise VendorError(400, "the sandbox embeds texts only: it cannot see images")
        texts.append("".join(part.get("text") or "" for part in one["content"]))
    return texts


def _check_size(body: Mapping[str, Any]) -> None:
    size, model = body.get("output_dimension"), body["model"]
    if size is None:
        return
    most = known_size(model)
    if "v3" in model or (most is not None and size > most):
        raise VendorError(400, f"invalid request: output_dimension {size} is invalid for {model}")


def _shortened(texts: Sequence[str], body: Mapping[str, Any]) -> list[str]:
    """`texts` cut to what the model reads, at the end that `truncate` names."""
    most = 512 if "v3" in body["model"] else 128_000
    most = min(most, body.get("max_tokens") or most)
    way = body.get("truncate") or "END"
    if way == "NONE":
        for at, text in enumerate(texts):
            if count_tokens(text) > most:
                raise VendorError(
                    400,
                    f"invalid request: text at index {at} is too long: total number of tokens "
                    f"must be at most {most} - received {count_tokens(text)}. Set truncate to "
                    "START or END to cut it.",
                )
    return [cut(text, most, at_start=way == "START") for text in texts]


def _searches(documents: Sequence[str]) -> int:
    parts = sum(-(-count_tokens(document) // TOKENS_A_DOCUMENT) for document in documents)
    return math.ceil(parts / DOCUMENTS_A_SEARCH)


def _meta(**billed: int) -> Body:
    return {"api_version": {"version": "2"}, "billed_units": billed}


def _id(serial: int) -> str:
    return f"00000000-0000-4000-8000-{serial:012d}"
