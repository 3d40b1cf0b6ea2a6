"""`POST /v1/rerank` as Jina, Together and Fireworks have it, which is nobody's standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .checks import ARRAY, BOOLEAN, STRING, Fields, VendorError, check_fields, integer_from
from .computed import Computed, asked, ranked, texts_of
from .openai_chat import OpenAIChat
from .openai_voice import VOICE
from .wire import Body, Route

PATH = "/v1/rerank"
_FIELDS: Fields = {
    "model": STRING,
    "query": STRING,
    "documents": ARRAY,
    "top_n": integer_from(1),
    "return_documents": BOOLEAN,
}


class HostRerank(Computed, OpenAIChat):
    """See `Wire`. Errors look like OpenAI's, as they do at most such hosts."""

    def route(self, method: str, path: str) -> Route:
        """See `Wire`."""
        if path != PATH:
            return super().route(method, path)
        if method != "POST":
            raise VendorError(405, f"Not allowed to {method} on {path}")
        return Route("generate")

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`. The query is the first of the texts."""
        required = ("model", "query", "documents")
        check_fields(body, _FIELDS, VOICE, required=required, strict=strict)
        documents = [_text(document) for document in body["documents"]]
        if not body["query"] or not documents or None in documents:
            name = "documents" if body["query"] else "query"
            raise VOICE.wrong((name,), "text, and not an empty one")
        texts = [body["query"], *documents]
        tokens = count_tokens(body["query"]) * len(documents) + sum(map(count_tokens, documents))
        return asked(self.name, body["model"], texts, body, tokens)

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        query, *documents = texts_of(question)
        results: list[Body] = []
        for index, score in ranked(query, documents, question.body.get("top_n")):
            result: Body = {"index": index, "relevance_score": score}
            if question.body.get("return_documents"):
                result["document"] = {"text": documents[index]}
            results.append(result)
        tokens = question.input_tokens
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return {
            "id": f"rerank-{serial}",
            "object": "rerank",
            "model": question.model,
            "results": results,
            "usage": usage,
        }


def _text(document: Any) -> Any:
    """That of a document, which may be an object that holds it; None where there is none."""
    text = document.get("text") if isinstance(document, dict) else document
    return text if isinstance(text, str) and text else None
