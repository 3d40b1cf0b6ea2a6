"""Gemini: `POST /{v1,v1beta}/models/{model}:embedContent` and `:batchEmbedContents`.

Fields and shapes as in google-genai 3.4 (`_EmbedContentParametersPrivate_to_mldev` of `models.py`,
which always sends a batch, and `EmbedContentResponse`); the limit of 100 as in langchainjs #4491.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import ARRAY, OBJECT, STRING, Fields, Path, VendorError, check_fields, one_of
from .computed import SIZE, Computed, asked, known_size, size_of, texts_of
from .gemini_content import GeminiContent
from .gemini_fields import VOICE, read_content
from .likeness import embedding
from .wire import Body, Route

ONE, MANY = ":embedContent", ":batchEmbedContents"
MOST_CONTENTS = 100
_MOST_TOKENS = {"gemini-embedding-001": 2048}
_USUAL_TOKENS = 8192

_FIELDS: Fields = {
    "model": STRING,
    "content": OBJECT,
    "taskType": one_of(
        "TASK_TYPE_UNSPECIFIED",
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    ),
    "title": STRING,
    "outputDimensionality": SIZE,
}


class GeminiEmbed(Computed, GeminiContent):
    """See `Wire`."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        for verb in (ONE, MANY):
            if path.endswith(verb):
                plain = super().route(method, path[: -len(verb)] + ":generateContent")
                return Route("generate", plain.model)
        raise VendorError(404, f"Not Found: {path}")

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        model = route.model or ""
        if not isinstance(body, dict) or "requests" not in body:
            return asked(self.name, model, [_text(body, model, (), strict)], body)
        check_fields(body, {"requests": ARRAY}, VOICE, required=("requests",), strict=strict)
        requests = body["requests"]
        if not requests:
            raise VOICE.missing(("requests",))
        if len(requests) > MOST_CONTENTS:
            raise VendorError(
                400,
                "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n",
            )
        texts = []
        for at, request in enumerate(requests):
            texts.append(_text(request, model, ("requests", at), strict))
            if request.get("model") != f"models/{model}":
                name = f"BatchEmbedContentsRequest.requests[{at}].model"
                message = f"* {name}: model must match the model in the request: models/{model}\n"
                raise VendorError(400, message)
        return asked(self.name, model, texts, body)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        body, tokens = question.body, question.input_tokens
        requests = body.get("requests", [body])
        vectors = [
            {"values": embedding(text, size_of(question.model, _size(request))).tolist()}
            for text, request in zip(texts_of(question), requests)
        ]
        usage = {"usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens}}
        if "requests" in body:
            return {"embeddings": vectors, **usage}
        return {"embedding": vectors[0], **usage}


def _text(request: Any, model: str, path: Path, strict: bool) -> str:
    """What is to be embedded of one request."""
    check_fields(request, _FIELDS, VOICE, path=path, required=("content",), strict=strict)
    text = read_content(request["content"], (*path, "content"), strict)
    if not text:
        raise VendorError(400, "The content is empty: the sandbox embeds text only.")
    most, tokens = _MOST_TOKENS.get(model, _USUAL_TOKENS), count_tokens(text)
    if tokens > most:
        raise VendorError(
            400,
            f"The input token count ({tokens}) exceeds the maximum number of tokens allowed "
            f"({most}).",
        )
    size, longest = _size(request), known_size(model)
    if size is not None and longest is not None and size > longest:
        message = f"output_dimensionality must be between 1 and {longest}, but got {size}."
        raise VendorError(400, message)
    return text


def _size(request: Mapping[str, Any]) -> int | None:
    return request.get("outputDimensionality")
