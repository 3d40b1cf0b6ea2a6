"""Voyage: `POST /voyage/v1/embeddings` and `/voyage/v1/rerank`.

At Voyage's own the paths are OpenAI's, so the sandbox has them under a prefix, which belongs into
the base URL. Fields and shapes as in voyageai 0.5 (`client.py`, `object`); the words of the
refusals are those that users report: sigoden/aichat #825, ggozad/haiku.rag #365 for the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import (
    BOOLEAN,
    STRING,
    STRING_OR_STRINGS,
    STRINGS,
    Fields,
    Path,
    VendorError,
    bracketed,
    check_fields,
    integer_from,
    one_of,
)
from .computed import SIZE, Computed, asked, cut, ranked, size_of, texts_of
from .http import Headers
from .likeness import as_base64, embedding, quantised
from .limiter import LimitState, Refusal
from .openai_chat import OpenAIChat
from .wire import Body, Route

PREFIX = "/voyage/v1"
MOST_TEXTS = 1000
MOST_TOKENS = 32_000
MOST_RERANK_TOKENS = 600_000
_MOST_REQUEST_TOKENS = {  # by how the model's id begins, the longest such beginning first
    "voyage-4-large": 120_000,
    "voyage-4-lite": 1_000_000,
    "voyage-3.5-lite": 1_000_000,
    "voyage-4": 320_000,
    "voyage-3.5": 320_000,
    "voyage-2": 320_000,
}
_USUAL_REQUEST_TOKENS = 120_000

_EMBED_FIELDS: Fields = {
    "input": STRING_OR_STRINGS,
    "model": STRING,
    "input_type": one_of("query", "document"),
    "truncation": BOOLEAN,
    "output_dimension": SIZE,
    "output_dtype": one_of("float", "int8", "uint8", "binary", "ubinary"),
    "encoding_format": one_of("base64"),
}
_RERANK_FIELDS: Fields = {
    "query": STRING,
    "documents": STRINGS,
    "model": STRING,
    "top_k": integer_from(1),
    "return_documents": BOOLEAN,
    "truncation": BOOLEAN,
}


class _Voice:
    """See `checks.Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"Argument '{bracketed(path)}' is not supported by our API.")

    def missing(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"Argument '{bracketed(path)}' is missing or empty.")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"The value of '{bracketed(path) or 'body'}' must be {expected}.")


_VOICE = _Voice()


class _Voyage(Computed, OpenAIChat):
    """What both have in common: keys as at OpenAI, errors of their own."""

    name = "voyage"
    path = ""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        if path != self.path:
            raise VendorError(404, "Not Found")
        if method != "POST":
            raise VendorError(405, "Method Not Allowed")
        return Route("generate")

    def unknown_model(self, model_id: str) -> VendorError:
        """See `Wire`."""
        return VendorError(400, f"Model {model_id} is not supported.")

    def refused(self, refusal: Refusal, model: str) -> VendorError:
        """See `Wire`."""
        what = "RPM" if refusal.name == "requests" else "TPM"
        wait = None if math.isinf(refusal.wait) else math.ceil(refusal.wait)
        message = f"You have exceeded your rate limit of {refusal.limit:g} {what} for {model}."
        return VendorError(429, message, retry_after=wait)

    def out_of_quota(self) -> VendorError:
        """See `Wire`."""
        message = "You have not yet added your payment method in the billing page."
        return VendorError(429, message)

    def problem(self, problem: VendorError, serial: int) -> tuple[Body, Headers]:
        """See `Wire`."""
        wait = problem.retry_after
        headers = () if wait is None else (("retry-after", f"{wait:.12g}"),)
        return {"detail": problem.message}, headers

    def headers(self, serial: int, states: Iterable[LimitState], now: float) -> Headers:
        """See `Wire`. Voyage sends no limit headers."""
        return ()


class VoyageEmbeddings(_Voyage):
    """See `Wire`."""

    path = PREFIX + "/embeddings"

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_fields(body, _EMBED_FIELDS, _VOICE, required=("input", "model"), strict=strict)
        texts, model = body["input"], body["model"]
        texts = [texts] if isinstance(texts, str) else texts
        if not texts or not all(texts):
            raise VendorError(400, "Input cannot contain empty strings or empty lists")
        if len(texts) > MOST_TEXTS:
            raise VendorError(
                400,
                f"The batch size limit is {MOST_TEXTS}. Your batch size is {len(texts)}.",
            )
        texts = _shortened(texts, body, f"Request to model '{model}' failed.")
        total, most = sum(map(count_tokens, texts)), _most_tokens(model)
        if total > most:
            raise _too_many(model, most, total)
        return asked(self.name, model, texts, body, total)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        body, data = question.body, []
        size = size_of(question.model, body.get("output_dimension"))
        for index, text in enumerate(texts_of(question)):
            vector = quantised(embedding(text, size), body.get("output_dtype") or "float")
            value: Any = as_base64(vector) if body.get("encoding_format") else vector.tolist()
            data.append({"object": "embedding", "embedding": value, "index": index})
        return _whole(question, data)


class VoyageRerank(_Voyage):
    """See `Wire`."""

    path = PREFIX + "/rerank"

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`. The query is the first of the texts."""
        required = ("query", "documents", "model")
        check_fields(body, _RERANK_FIELDS, _VOICE, required=required, strict=strict)
        query, documents, model = body["query"], body["documents"], body["model"]
        for name in ("query", "documents"):
            if not body[name]:
                raise _VOICE.missing((name,))
        if len(documents) > MOST_TEXTS:
            raise VendorError(
                400,
                f"The number of documents must not exceed {MOST_TEXTS}. You have {len(documents)}.",
            )
        texts = _shortened([query, *documents], body, f"Request to model '{model}' failed.")
        counts = list(map(count_tokens, texts))
        total = counts[0] * len(documents) + sum(counts[1:])
        if total > MOST_RERANK_TOKENS:
            raise _too_many(model, MOST_RERANK_TOKENS, total)
        return asked(self.name, model, texts, body, total)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        query, *documents = texts_of(question)
        data: list[Body] = []
        for index, score in ranked(query, documents, question.body.get("top_k")):
            result: Body = {"relevance_score": score, "index": index}
            if question.body.get("return_documents"):
                result["document"] = question.body["documents"][index]
            data.append(result)
        return _whole(question, data)


def _most_tokens(model: str) -> int:
    found = (most for name, most in _MOST_REQUEST_TOKENS.items() if model.startswith(name))
    return next(found, _USUAL_REQUEST_TOKENS)


def _shortened(texts: Sequence[str], body: Mapping[str, Any], what: str) -> list[str]:
    """`texts` cut to what the model reads, unless that is not wanted."""
    for text in texts:
        tokens = count_tokens(text)
        if tokens > MOST_TOKENS and body.get("truncation") is False:
            raise VendorError(
                400,
                f"{what} The example has {tokens} tokens, which is above the context length of "
                f"{MOST_TOKENS} tokens, and truncation is off.",
            )
    return [cut(text, MOST_TOKENS) for text in texts]


def _too_many(model: str, most: int, total: int) -> VendorError:
    return VendorError(
        400,
        f"Request to model '{model}' failed. The max allowed tokens per submitted batch is {most}. "
        f"Your batch has {total} tokens after truncation. Please lower the number of tokens in the "
        "batch.",
    )


def _whole(question: Question, data: list[Body]) -> Body:
    usage = {"total_tokens": question.input_tokens}
    return {"object": "list", "data": data, "model": question.model, "usage": usage}
