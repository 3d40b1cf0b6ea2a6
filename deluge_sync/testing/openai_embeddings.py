"""OpenAI's `POST /v1/embeddings`, and that of Mistral and other compatible hosts.

Fields and shapes as in the openai SDK 3.54 (`types/embedding_create_params.py`,
`types/create_embedding_response.py`) and in mistralai 3.7 (`models/embeddingrequest.py`). The words
of the refusals are those that users report: langchain #31227, mteb #1200, JMTEB #15.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import OBJECT, STRING, Fields, Kind, VendorError, check_fields, one_of
from .computed import SIZE, Computed, asked, known_size, size_of, texts_of
from .likeness import as_base64, embedding, quantised
from .openai_chat import OpenAIChat
from .openai_voice import VOICE
from .wire import Body, Route

PATH = "/v1/embeddings"
MOST_INPUTS = 2048
MOST_TOKENS = 8192
MOST_REQUEST_TOKENS = 300_000

_AZURE = re.compile(r"/openai/deployments/([^/]+)/embeddings")
_FIXED_SIZE = "text-embedding-ada-002"
_DTYPES = ("float", "int8", "uint8", "binary", "ubinary")
_FIELDS: Fields = {
    "model": STRING,
    "input": Kind("a string or an array", lambda value: isinstance(value, (str, list))),
    "dimensions": SIZE,
    "encoding_format": one_of("float", "base64"),
    "user": STRING,
}
_MISTRAL_FIELDS: Fields = {
    "model": STRING,
    "input": _FIELDS["input"],
    "metadata": OBJECT,
    "output_dimension": SIZE,
    "output_dtype": one_of(*_DTYPES),
    "encoding_format": one_of("float", "base64"),
}


class OpenAIEmbeddings(Computed, OpenAIChat):
    """See `Wire`. A model of Mistral's is asked in Mistral's fields, any other in OpenAI's."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        azure = _AZURE.fullmatch(path)
        if azure is None and path != PATH:
            return super().route(method, path)
        if method != "POST":
            raise VendorError(405, f"Not allowed to {method} on {path}")
        return Route("generate", azure[1] if azure else None)

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        if route.model is not None and isinstance(body, dict):
            body = {**body, "model": route.model}
        return read_embeddings(body, strict=strict)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        return _answer(question, serial)


def embeddings_answer(body: Any, *, strict: bool = True, serial: int = 0) -> dict[str, Any]:
    """The good answer to the body of a request for embeddings, or the `VendorError` it gets."""
    return _answer(read_embeddings(body, strict=strict), serial)


def read_embeddings(body: Any, *, strict: bool) -> Question:
    """The question in such a body. Raises the `VendorError` of what is wrong with it."""
    fields = _MISTRAL_FIELDS if _is_mistral(body) else _FIELDS
    check_fields(body, fields, VOICE, required=("model", "input"), strict=strict)
    _check_size(body)
    texts, counts = _inputs(body["input"])
    for count in counts:
        if count > MOST_TOKENS:
            raise VendorError(
                400,
                f"This model's maximum context length is {MOST_TOKENS} tokens, however you "
                f"requested {count} tokens ({count} in your prompt; 0 for the completion). Please "
                "reduce your prompt; or completion length.",
            )
    total = sum(counts)
    if total > MOST_REQUEST_TOKENS:
        message = f"Requested {total} tokens, max {MOST_REQUEST_TOKENS} tokens per request"
        name = "max_tokens_per_request"
        raise VendorError(400, message, kind=name, code=name)
    return asked("openai", body["model"], texts, body, total)


def _is_mistral(body: Any) -> bool:
    model = body.get("model") if isinstance(body, dict) else None
    return isinstance(model, str) and model.startswith(("mistral-embed", "codestral-embed"))


def _check_size(body: Mapping[str, Any]) -> None:
    name = "output_dimension" if _is_mistral(body) else "dimensions"
    size, model = body.get(name), body["model"]
    if size is None:
        return
    if model == _FIXED_SIZE:
        raise VendorError(400, f"This model does not support specifying {name}.", param=name)
    most = known_size(model)
    if most is not None and size > most:
        message = f"Invalid value for '{name}' = {size}. Must be less than or equal to {most}."
        raise VendorError(400, message)


def _inputs(given: Any) -> tuple[list[str], list[int]]:
    """The texts and their tokens. What comes as tokens is a text whose words are their numbers."""
    items = [given] if isinstance(given, str) or _are_tokens(given) else given
    if not items or len(items) > MOST_INPUTS:
        raise _invalid()
    texts = all(isinstance(item, str) for item in items)
    if not all(items) or not (texts or all(map(_are_tokens, items))):
        raise _invalid()
    if texts:
        return items, list(map(count_tokens, items))
    return [" ".join(map(str, item)) for item in items], list(map(len, items))


def _are_tokens(item: Any) -> bool:
    return isinstance(item, list) and all(type(token) is int and token >= 0 for token in item)


def _invalid() -> VendorError:
    """What is said of an empty text, of no text and of too many."""
    return VendorError(
        400,
        "'$.input' is invalid. Please check the API reference: "
        "https://platform.openai.com/docs/api-reference.",
    )


def _answer(question: Question, serial: int) -> Body:
    body, model = question.body, question.model
    size = size_of(model, body.get("dimensions") or body.get("output_dimension"))
    dtype = body.get("output_dtype") or "float"
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts_of(question)):
        vector = quantised(embedding(text, size), dtype)
        value: Any = as_base64(vector) if packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": value})
    usage = {"prompt_tokens": question.input_tokens, "total_tokens": question.input_tokens}
    answer: Body = {"object": "list", "data": data, "model": model, "usage": usage}
    return {"id": f"{serial:032x}", **answer} if _is_mistral(body) else answer
