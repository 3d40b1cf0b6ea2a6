"""`rerank` and `rerank_parallel` over real HTTP."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from deluge_sync import (
    BudgetExceeded,
    CallCancelledError,
    Client,
    ConfigError,
    DeadlineExceededError,
    NotFoundError,
    PromptError,
    TooLongError,
)
from deluge_sync.rerank import rerank_parallel
from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.likeness import relevances

COHERE = "cohere/rerank-v5.0-fast"
QUERY = "a cat on a warm sofa"
DOCUMENTS = [
    "Quarterly taxes are due in April.",
    "The cat sleeps on the warm sofa.",
    "A dog barks.",
    "A kitten and a cat sleep on a sofa.",
]


def best(documents: list[str], query: str = QUERY) -> list[int]:
    """The positions of the documents, the best first, as the sandbox sees them."""
    scores = relevances(query, documents)
    return sorted(range(len(documents)), key=lambda position: (-scores[position], position))


def reranker(sandbox: Sandbox, model: str = COHERE, **options: Any) -> Client:
    """A client of `sandbox` that speaks the format of that model's vendor."""
    urls = {"voyage": sandbox.voyage_url, "cohere": sandbox.anthropic_url}
    options.setdefault("max_requests_per_minute", 1e9)
    options.setdefault("max_tokens_per_minute", 1e9)
    base_url = urls.get(model.split("/")[0], sandbox.base_url)
    return Client(model, base_url=base_url, api_key="sk-secret-key", progress="none", **options)


@pytest.mark.parametrize(
    "model", [COHERE, "voyage/rerank-3", "jina/jina-reranker-v2-base-multilingual", "my-own"]
)
def test_each_vendors_format_gives_the_best_first(sandbox, model):
    response = reranker(sandbox, model).rerank(QUERY, DOCUMENTS)
    assert response.indices == best(DOCUMENTS)
    assert response.ranked_documents == [DOCUMENTS[index] for index in best(DOCUMENTS)]
    assert response.scores == sorted(response.scores, reverse=True)
    assert [document for _, _, document in response.ranked] == response.ranked_documents
    assert (response.query, response.error, response.attempts) == (QUERY, None, 1)


def test_only_the_best_are_told_of_with_top_k(sandbox):
    response = reranker(sandbox).rerank(QUERY, iter(DOCUMENTS), top_k=2)
    assert response.indices == best(DOCUMENTS)[:2]
    assert sandbox.journal[0].body["top_n"] == 2
    assert len(reranker(sandbox).rerank(QUERY, DOCUMENTS, top_k=99).ranked) == 4


def test_a_long_list_is_split_and_merged_by_score(sandbox):
    documents = [f"{DOCUMENTS[number % 4]} {number}" for number in range(2500)]
    response = reranker(sandbox).rerank(QUERY, documents, top_k=1500)
    assert sorted(len(record.body["documents"]) for record in sandbox.journal) == [500, 1000, 1000]
    scores = relevances(QUERY, documents)
    assert response.scores == pytest.approx(sorted(scores, reverse=True)[:1500])
    assert all(documents[index] == text for index, _, text in response.ranked)
    assert response.attempts == 3
    assert response.cost == pytest.approx(response.usage.input_tokens * 0.02 / 1e6)


def test_a_long_list_is_refused_where_scores_cannot_be_compared(sandbox):
    config = {"models": {COHERE: {"independent_scores": False}}}
    with pytest.raises(TooLongError, match="query 0 has 1001 documents"):
        reranker(sandbox, config=config).rerank(QUERY, ["x"] * 1001)
    assert not sandbox.journal


def test_a_list_that_is_too_long_for_a_request_is_halved_and_merged(sandbox):
    documents = [f"{DOCUMENTS[number % 4]} {number} " + "x " * 4000 for number in range(400)]
    client = reranker(sandbox, "voyage/rerank-3")
    response = client.rerank(QUERY, documents)
    assert [len(record.body["documents"]) for record in sandbox.journal] == [400, 200, 200]
    assert response.scores == pytest.approx(sorted(relevances(QUERY, documents), reverse=True))
    assert (response.attempts, client.usage().attempts, client.usage().prompts) == (3, 3, 1)


def test_a_list_that_is_too_long_is_an_error_where_scores_cannot_be_compared(sandbox):
    config = {"models": {"voyage/rerank-3": {"independent_scores": False}}}
    with pytest.raises(TooLongError):
        reranker(sandbox, "voyage/rerank-3", config=config).rerank(QUERY, ["x " * 8000] * 400)
    assert len(sandbox.journal) == 1


def test_a_search_is_priced_as_one(sandbox):
    client = reranker(sandbox, "cohere/rerank-v3.5")
    response = client.rerank(QUERY, ["x" * 4 * 501, *["y"] * 99])
    assert (response.searches, response.cost) == (2, pytest.approx(0.004))
    assert client.usage().cost == pytest.approx(0.004)


def test_what_searches_could_cost_is_set_aside(sandbox):
    client = reranker(sandbox, "cohere/rerank-v3.5")
    with pytest.raises(BudgetExceeded):
        client.rerank(QUERY, ["y"] * 101, max_cost=0.003)
    assert not sandbox.journal
    assert client.rerank(QUERY, ["y"] * 100, max_cost=0.003).cost == pytest.approx(0.002)


def test_responses_come_in_the_order_of_the_queries(sandbox):
    queries = [QUERY, "taxes in April", "a dog"]
    responses = rerank_parallel(queries, [DOCUMENTS] * 3, COHERE, client=reranker(sandbox), top_k=1)
    assert [one.query for one in responses] == queries
    assert [one.index for one in responses] == [0, 1, 2]
    assert [one.indices for one in responses] == [best(DOCUMENTS, query)[:1] for query in queries]


def test_a_failed_query_costs_the_others_nothing(sandbox):
    sandbox.script([Fault("404", match="taxes in")])
    queries = [QUERY, "taxes in April", "", 5, "a dog", "a dog", "a dog"]
    lists = [DOCUMENTS] * 4 + [[], ["fine", ""], "text"]
    responses = rerank_parallel(queries, lists, COHERE, client=reranker(sandbox))
    kinds = [type(one.error) for one in responses]
    assert kinds == [type(None), NotFoundError, *[PromptError] * 5]
    assert [one.error.message for one in responses[2:]] == [
        "query 2 is empty",
        "query 3 is of type int, not a string",
        "query 4 has no documents",
        "document 1 of query 5 is empty",
        "the documents of query 6 must be a list of texts",
    ]


def test_the_model_is_that_of_the_client_where_none_is_named(sandbox):
    client = reranker(sandbox, "voyage/rerank-3")
    (response,) = rerank_parallel([QUERY], [DOCUMENTS], client=client)
    assert (response.model, response.error) == ("voyage/rerank-3", None)


def test_it_makes_its_own_client_of_options(sandbox):
    options = {"base_url": sandbox.anthropic_url, "api_key": "k"}
    (response,) = rerank_parallel([QUERY], [DOCUMENTS], **options)
    assert response.indices == best(DOCUMENTS)


@pytest.mark.parametrize(
    ("queries", "documents", "words"),
    [
        ("one", [DOCUMENTS], "queries must be a list"),
        ([QUERY], "one", "documents must be a list"),
        ([QUERY], DOCUMENTS, "1 queries and 4 lists of documents"),
    ],
)
def test_what_does_not_fit_together_is_refused(sandbox, queries, documents, words):
    with pytest.raises(PromptError, match=words):
        rerank_parallel(queries, documents, COHERE, client=reranker(sandbox))


def test_one_text_is_no_list_of_documents(sandbox):
    with pytest.raises(PromptError, match="documents must be a list of texts"):
        reranker(sandbox).rerank(QUERY, "a document")


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": True}, {"timeout": 0}])
def test_a_bad_option_is_refused_before_anything_is_sent(sandbox, options):
    with pytest.raises(ConfigError):
        reranker(sandbox).rerank(QUERY, DOCUMENTS, **options)
    assert not sandbox.journal


def test_a_cut_is_for_vendors_that_can(sandbox):
    reranker(sandbox).rerank(QUERY, DOCUMENTS, max_document_tokens=5)
    assert sandbox.journal[0].body["max_tokens_per_doc"] == 5
    with pytest.raises(ConfigError, match="max_document_tokens"):
        reranker(sandbox, "voyage/rerank-3").rerank(QUERY, DOCUMENTS, max_document_tokens=5)


def test_models_that_rank_are_asked_for_rankings_only(sandbox):
    client = reranker(sandbox)
    with pytest.raises(ConfigError, match=r"use rerank\(\)"):
        client.complete("Hi")
    with pytest.raises(ConfigError, match="is a model for rerank, not for embedding"):
        client.embed(["a"])
    with pytest.raises(ConfigError, match=r"rerank\(query, documents, model=\.\.\.\)"):
        Client("gpt-4.1-mini", api_key="k").rerank(QUERY, DOCUMENTS)


@pytest.mark.parametrize("kind", ["429", "503", "malformed", "reset"])
def test_what_may_pass_is_tried_again(sandbox, kind):
    sandbox.script([Fault(kind, retry_after=0.01 if kind == "429" else None)])
    client = reranker(sandbox)
    assert client.rerank(QUERY, DOCUMENTS).attempts == 2
    assert (client.usage().prompts, client.usage().attempts) == (1, 2)


def test_the_deadline_is_one_for_all():
    with Sandbox(delay=5.0) as sandbox, pytest.raises(DeadlineExceededError):
        reranker(sandbox).rerank(QUERY, DOCUMENTS, timeout=0.1)


def test_close_from_another_thread_cancels_it():
    arrived = threading.Event()

    def delay(question: Any) -> float:
        arrived.set()
        return 30.0

    with Sandbox(delay=delay) as sandbox:
        client = reranker(sandbox)
        closing = threading.Thread(target=lambda: (arrived.wait(10), client.close()))
        closing.start()
        with pytest.raises(CallCancelledError):
            client.rerank(QUERY, DOCUMENTS)
        closing.join()
