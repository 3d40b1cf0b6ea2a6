"""Documents to rank as vendors want them, and rankings as they give them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS, EMBEDDERS, RERANKERS
from deluge_sync.catalog import Catalog
from deluge_sync.options import reranker_of
from deluge_sync.values.embedding import Ranking, RerankRequest, Scored
from deluge_sync.values.errors import (
    BadRequestError,
    CallError,
    ConfigError,
    DecodeError,
    PromptError,
    ThrottledError,
    TooLongError,
)
from deluge_sync.values.model import Model
from deluge_sync.values.wire import HttpResponse

from .vendor_server import answering

CATALOG = Catalog.builtin()
MODELS = {
    "cohere_rerank": "rerank-v5.0-pro",
    "voyage_rerank": "rerank-3",
    "jina_rerank": "jina-reranker-v2-base-multilingual",
}
DOCUMENTS = ("a", "b", "c")
REQUEST = RerankRequest("q", DOCUMENTS)
SCORES = [(1, 0.9), (0, 0.5), (2, 0.25)]
BEST_FIRST = tuple(Scored(*pair) for pair in SCORES)
adapters = pytest.mark.parametrize("name", sorted(RERANKERS))


def model_of(name: str) -> Model:
    return CATALOG.model(MODELS[name])


def answer(name: str, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    rows = [{"index": index, "relevance_score": score} for index, score in pairs]
    if name == "cohere_rerank":
        billed = {"billed_units": {"search_units": 2.0, "input_tokens": 7.0}}
        return {"id": "r", "results": rows, "meta": billed}
    if name == "voyage_rerank":
        return {"object": "list", "data": rows, "model": "m", "usage": {"total_tokens": 7}}
    return {"model": "m", "results": rows, "usage": {"total_tokens": 7}}


def rows_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body["results"] if "results" in body else body["data"]


def decoded(name: str, body: Any, request: RerankRequest = REQUEST, status: int = 200) -> Ranking:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RERANKERS[name].decode(HttpResponse(status, {}, raw), request, model_of(name))


def failed(name: str, body: Any, status: int = 200) -> CallError:
    with pytest.raises(CallError) as caught:
        decoded(name, body, status=status)
    return caught.value


def sent(request: RerankRequest, model: Model) -> dict[str, Any]:
    return json.loads(RERANKERS[reranker_of(model)].encode(request, model).body)


def test_each_vendor_gets_its_own_words_for_the_same_wish() -> None:
    request = RerankRequest("q", DOCUMENTS, 2)
    common = {"query": "q", "documents": ["a", "b", "c"]}
    assert sent(request._replace(max_document_tokens=9), model_of("cohere_rerank")) == {
        **common,
        "model": "rerank-v5.0-pro",
        "top_n": 2,
        "max_tokens_per_doc": 9,
    }
    assert sent(request, model_of("voyage_rerank")) == {**common, "model": "rerank-3", "top_k": 2}
    assert sent(request, model_of("jina_rerank")) == {
        **common,
        "model": "jina-reranker-v2-base-multilingual",
        "top_n": 2,
        "return_documents": False,
    }


def test_each_vendor_is_asked_at_its_own_address() -> None:
    urls = {name: RERANKERS[name].encode(REQUEST, model_of(name)).url for name in MODELS}
    assert urls == {
        "cohere_rerank": "https://api.cohere.com/v2/rerank",
        "voyage_rerank": "https://api.voyageai.com/v1/rerank",
        "jina_rerank": "https://api.jina.ai/v1/rerank",
    }


@adapters
def test_no_more_documents_are_asked_for_than_there_are(name: str) -> None:
    body = sent(REQUEST._replace(top_k=9), model_of(name))
    assert body.get("top_n", body.get("top_k")) == 3
    without = sent(REQUEST, model_of(name))
    assert "top_n" not in without
    assert "top_k" not in without


@adapters
@pytest.mark.parametrize("wanted", [0, -1, True, 1.0, "2"])
def test_a_top_k_that_is_no_number_is_named(name: str, wanted: Any) -> None:
    with pytest.raises(ConfigError, match="top_k must be"):
        sent(REQUEST._replace(top_k=wanted), model_of(name))


@pytest.mark.parametrize("name", ["voyage_rerank", "jina_rerank"])
def test_a_cut_that_a_vendor_has_no_form_for_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="max_document_tokens"):
        sent(REQUEST._replace(max_document_tokens=9), model_of(name))


@adapters
def test_what_cannot_be_written_is_a_prompt_error(name: str) -> None:
    with pytest.raises(PromptError):
        sent(REQUEST._replace(query="\ud800"), model_of(name))


@adapters
def test_the_callers_own_fields_and_headers_are_laid_over_what_is_sent(name: str) -> None:
    request = REQUEST._replace(extra_body={"truncation": False}, extra_headers={"X-A": "1"})
    call = RERANKERS[name].encode(request, model_of(name))
    assert json.loads(call.body)["truncation"] is False
    assert ("X-A", "1") in call.headers


@adapters
@settings(max_examples=30, deadline=None)
@given(order=st.permutations(SCORES))
def test_the_best_comes_first_whatever_the_order_of_the_answer(
    name: str, order: list[tuple[int, float]]
) -> None:
    found = decoded(name, answer(name, order))
    assert found.scored == BEST_FIRST
    assert found.usage.input_tokens == 7
    assert found.searches == (2.0 if name == "cohere_rerank" else 0.0)


@adapters
def test_a_host_that_ranks_more_than_was_asked_for_is_cut_to_it(name: str) -> None:
    found = decoded(name, answer(name, SCORES), REQUEST._replace(top_k=2))
    assert found.scored == BEST_FIRST[:2]
    assert decoded(name, answer(name, SCORES[:2]), REQUEST._replace(top_k=2)).scored == found.scored


def test_a_compatible_host_may_call_its_results_data_and_count_searches() -> None:
    body = answer("jina_rerank", SCORES)
    body["data"] = body.pop("results")
    body["usage"] = {"prompt_tokens": 5, "total_tokens": 7, "search_units": 1}
    found = decoded("jina_rerank", body)
    assert found.scored == BEST_FIRST
    assert (found.usage.input_tokens, found.searches) == (5, 1.0)
    del body["usage"]
    assert decoded("jina_rerank", body).usage.input_tokens == 0


@adapters
@pytest.mark.parametrize(
    ("index", "score", "message"),
    [
        (3, 0.1, "document 3 is ranked, but 3 were sent"),
        (-1, 0.1, "document -1 is ranked, but 3 were sent"),
        (0, 0.1, "document 0 is ranked twice"),
        (None, 0.1, "a result has no index"),
        (True, 0.1, "a result has no index"),
        ("2", 0.1, "a result has no index"),
        (2, None, "document 2 has no score"),
        (2, "0.1", "document 2 has no score"),
        (2, True, "document 2 has no score"),
        (2, float("nan"), "document 2 has no score"),
        (2, float("inf"), "document 2 has no score"),
        (2, 10**400, "document 2 has no score"),
    ],
)
def test_a_result_that_cannot_be_so_is_named(
    name: str, index: Any, score: Any, message: str
) -> None:
    error = failed(name, answer(name, [*SCORES[:2], (index, score)]))
    assert type(error) is DecodeError
    assert message in error.message


@adapters
def test_a_document_that_is_left_out_is_a_decode_error(name: str) -> None:
    assert (
        "2 documents are ranked, but 3 were sent" in failed(name, answer(name, SCORES[:2])).message
    )
    mine = REQUEST._replace(extra_body={"top_n": 2, "top_k": 2})
    assert decoded(name, answer(name, SCORES[:2]), mine).scored == BEST_FIRST[:2]


@adapters
def test_errors_are_what_their_status_and_words_say(name: str) -> None:
    for body in ({"error": {"message": "No."}}, {"message": "No."}, {"detail": "No."}, b"<p>"):
        assert type(failed(name, body, 400)) is BadRequestError
        assert type(failed(name, body, 429)) is ThrottledError
    said = "number of documents must be at most 1000"
    key = "detail" if name == "voyage_rerank" else "message"
    assert type(failed(name, {key: said}, 400)) is TooLongError


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 4) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["data", "results", "index", "relevance_score", "usage", "meta", "error"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@adapters
@settings(max_examples=150, deadline=None)
@given(status=st.sampled_from([200, 200, 200, 400, 429, 500]), body=JSON, choice=st.data())
def test_whatever_comes_is_a_ranking_or_one_of_our_errors(
    name: str, status: int, body: Any, choice: Any
) -> None:
    good = answer(name, SCORES)
    kind = choice.draw(st.sampled_from(["all", "field", "row"]))
    if kind == "field":
        body = {**good, choice.draw(st.sampled_from(sorted(good))): body}
    elif kind == "row":
        field = choice.draw(st.sampled_from(["index", "relevance_score"]))
        rows_of(good)[choice.draw(st.integers(0, 2))][field] = body
        body = good
    try:
        found = decoded(name, body, status=status)
    except CallError:
        return
    assert sorted(position for position, _ in found.scored) == [0, 1, 2]
    scores = [score for _, score in found.scored]
    assert scores == sorted(scores, reverse=True)


@adapters
@given(body=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_answer_are_one_of_our_errors(name: str, body: bytes) -> None:
    with pytest.raises(CallError):
        decoded(name, body)


# --- which adapter, and what the catalog knows -----------------------------------------------


def test_every_rerank_model_of_the_catalog_has_an_adapter_and_may_be_split() -> None:
    models = [model for model in CATALOG.models() if model.mode == "rerank"]
    assert len(models) >= 6
    for model in models:
        assert reranker_of(model) == model.provider.adapter
        assert model.independent_scores
        assert model.max_inputs or model.provider.name == "jina"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("custom/bge-reranker", "jina_rerank"),
        ("together/some/model", "jina_rerank"),
        ("fireworks/some/model", "jina_rerank"),
        ("jina/jina-reranker-v9", "jina_rerank"),
        ("cohere/rerank-v9", "cohere_rerank"),
        ("voyage/rerank-9", "voyage_rerank"),
    ],
)
def test_a_model_that_nobody_described_ranks_as_its_host_does(model: str, name: str) -> None:
    found = CATALOG.model(model)
    assert reranker_of(found) == name
    assert not found.independent_scores  # nobody knows


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "command-a-03-2025", "text-embedding-3-small"])
def test_a_model_that_is_for_something_else_is_named_with_some_that_rank(model: str) -> None:
    with pytest.raises(ConfigError, match=r"not for rerank: use one such as .*rerank"):
        reranker_of(CATALOG.model(model))


def test_a_host_whose_rankings_we_do_not_speak_is_named() -> None:
    with pytest.raises(ConfigError, match="has no form for rerank"):
        reranker_of(CATALOG.model("anthropic/claude-9"))


def test_no_adapter_is_for_two_things() -> None:
    assert not set(RERANKERS) & {*ADAPTERS, *EMBEDDERS}


# --- the vendors' own SDKs -------------------------------------------------------------------


def same_as_sdk(name: str, model: Model, request: RerankRequest, body: Any, ask: Any) -> None:
    """The SDK sends what we send, to the same path, and reads what we read."""
    with answering(body) as (url, heard):
        found = ask(url)
    base_url = url + urlsplit(model.provider.base_url).path
    provider = dataclasses.replace(model.provider, base_url=base_url)
    call = RERANKERS[name].encode(request, dataclasses.replace(model, provider=provider))
    assert heard.body == json.loads(call.body)
    assert heard.path == urlsplit(call.url).path
    ours = decoded(name, body, request).scored
    assert [Scored(one.index, one.relevance_score) for one in found] == list(ours)


def test_the_cohere_sdk_sends_and_reads_the_same() -> None:
    cohere = pytest.importorskip("cohere")

    def ask(url: str) -> Any:
        found = cohere.ClientV2(api_key="k", base_url=url).rerank(
            model="rerank-v5.0-pro",
            query="q",
            documents=list(DOCUMENTS),
            top_n=2,
            max_tokens_per_doc=9,
        )
        assert found.meta.billed_units.search_units == 2.0
        return found.results

    request = REQUEST._replace(top_k=2, max_document_tokens=9)
    model = model_of("cohere_rerank")
    same_as_sdk("cohere_rerank", model, request, answer("cohere_rerank", SCORES[:2]), ask)


def test_the_voyage_sdk_sends_and_reads_the_same() -> None:
    voyageai = pytest.importorskip("voyageai")

    def ask(url: str) -> Any:
        found = voyageai.Client(api_key="k", base_url=f"{url}/v1", max_retries=1).rerank(
            "q", list(DOCUMENTS), "rerank-3", top_k=2
        )
        assert found.total_tokens == 7
        return found.results

    request = REQUEST._replace(top_k=2, extra_body={"truncation": True})  # the SDK's own default
    model = model_of("voyage_rerank")
    same_as_sdk("voyage_rerank", model, request, answer("voyage_rerank", SCORES[:2]), ask)


def test_the_together_sdk_sends_and_reads_the_same() -> None:
    together = pytest.importorskip("together")

    def ask(url: str) -> Any:
        client = together.Together(api_key="k", base_url=url)
        return client.rerank.create(
            model="m", query="q", documents=list(DOCUMENTS), top_n=2, return_documents=False
        ).results

    model = CATALOG.model("together/m")
    body = {**answer("jina_rerank", SCORES[:2]), "object": "rerank", "id": "r"}
    same_as_sdk("jina_rerank", model, REQUEST._replace(top_k=2), body, ask)
