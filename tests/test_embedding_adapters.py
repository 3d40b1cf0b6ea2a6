"""Texts to embed as vendors want them, and vectors as they give them."""

from __future__ import annotations

import base64
import json
import struct
from array import array
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS, EMBEDDERS, vectors
from deluge_sync.catalog import Catalog
from deluge_sync.options import embedder_of
from deluge_sync.values.embedding import INPUT_TYPES, Embedded, EmbedRequest
from deluge_sync.values.errors import (
    AuthError,
    BadRequestError,
    CallError,
    ConfigError,
    DecodeError,
    NotFoundError,
    PromptError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.wire import HttpResponse, LimitHint

from .vendor_server import answering

CATALOG = Catalog.builtin()
MODELS = {
    "openai_embeddings": "text-embedding-3-small",
    "gemini_embeddings": "gemini-embedding-001",
    "cohere_embeddings": "embed-v5.0-pro",
    "voyage_embeddings": "voyage-4",
}
TEXTS = ("a", "b", "ü 😀")
REQUEST = EmbedRequest(TEXTS)
VECTORS = [[0.5, -0.25], [1.0, 0.0], [0.125, 2.0]]
adapters = pytest.mark.parametrize("name", sorted(EMBEDDERS))
shaped_as_openais = pytest.mark.parametrize("name", ["openai_embeddings", "voyage_embeddings"])


def model_of(name: str) -> Model:
    return CATALOG.model(MODELS[name])


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def answer(name: str, values: list[Any]) -> dict[str, Any]:
    """What the vendor gives for these vectors, which may be lists or base64."""
    if name == "gemini_embeddings":
        items = [{"values": value} for value in values]
        return {"embeddings": items, "usageMetadata": {"promptTokenCount": 7}}
    if name == "cohere_embeddings":
        form = "base64" if values and isinstance(values[0], str) else "float"
        billed = {"billed_units": {"input_tokens": 7.0}}
        return {"id": "e", "embeddings": {form: values}, "texts": list(TEXTS), "meta": billed}
    items = [
        {"object": "embedding", "index": index, "embedding": value}
        for index, value in enumerate(values)
    ]
    usage = {"total_tokens": 7} if name == "voyage_embeddings" else {"prompt_tokens": 7}
    return {"object": "list", "data": items, "model": "m", "usage": {"total_tokens": 7, **usage}}


def decoded(name: str, body: Any, request: EmbedRequest = REQUEST, status: int = 200) -> Embedded:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EMBEDDERS[name].decode(HttpResponse(status, {}, raw), request, model_of(name))


def sent(request: EmbedRequest, model: Model, name: str | None = None) -> dict[str, Any]:
    return json.loads(EMBEDDERS[name or embedder_of(model)].encode(request, model).body)


def failed(name: str, status: int, body: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        decoded(name, body, status=status)
    return caught.value


# --- what is sent ----------------------------------------------------------------------------


def test_each_vendor_gets_its_own_words_for_the_same_wish() -> None:
    request = EmbedRequest(("a",), 256, "query")
    assert sent(request._replace(input_type=None), model_of("openai_embeddings")) == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 256,
    }
    assert sent(request, model_of("voyage_embeddings")) == {
        "model": "voyage-4",
        "input": ["a"],
        "truncation": False,
        "input_type": "query",
        "encoding_format": "base64",
        "output_dimension": 256,
    }
    assert sent(request, model_of("cohere_embeddings")) == {
        "model": "embed-v5.0-pro",
        "input_type": "search_query",
        "texts": ["a"],
        "embedding_types": ["float"],
        "truncate": "NONE",
        "output_dimension": 256,
    }
    assert sent(request, model_of("gemini_embeddings")) == {
        "requests": [
            {
                "content": {"role": "user", "parts": [{"text": "a"}]},
                "model": "models/gemini-embedding-001",
                "taskType": "RETRIEVAL_QUERY",
                "outputDimensionality": 256,
            }
        ]
    }


def test_a_model_that_is_told_its_task_in_the_text_is_told_so() -> None:
    model = CATALOG.model("gemini-embedding-2")
    texts = {
        word: sent(EmbedRequest(("a",), input_type=word), model)["requests"][0]
        for word in (*INPUT_TYPES, None)
    }
    assert texts["query"]["content"]["parts"] == [{"text": "task: search result | query: a"}]
    assert texts["document"]["content"]["parts"] == [{"text": "title: none | text: a"}]
    assert texts[None]["content"]["parts"] == [{"text": "a"}]
    assert not [one for one in texts.values() if "taskType" in one]
    assert len({json.dumps(one) for one in texts.values()}) == len(texts)


def test_cohere_is_told_that_texts_are_documents_where_nothing_is_said() -> None:
    assert sent(EmbedRequest(("a",)), model_of("cohere_embeddings"))["input_type"] == (
        "search_document"
    )


def test_mistral_calls_dimensions_by_a_name_of_its_own() -> None:
    model = CATALOG.model("mistral/codestral-embed")
    assert sent(EmbedRequest(("a",), 256), model)["output_dimension"] == 256


@pytest.mark.parametrize("model", ["text-embedding-3-small", "mistral-embed", "custom/x"])
@pytest.mark.parametrize("word", INPUT_TYPES)
def test_openais_wire_format_has_no_form_for_input_types(model: str, word: str) -> None:
    with pytest.raises(ConfigError, match="input_type"):
        sent(EmbedRequest(("a",), input_type=word), CATALOG.model(model))


@adapters
def test_an_input_type_that_a_vendor_has_no_word_for_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="'passage'"):
        sent(EmbedRequest(("a",), input_type="passage"), model_of(name))


def test_dimensions_are_refused_where_the_model_has_one_length_only() -> None:
    with pytest.raises(ConfigError, match="lacks dimensions"):
        sent(EmbedRequest(("a",), 256), CATALOG.model("mistral-embed"))


@adapters
@pytest.mark.parametrize("wanted", [0, -1, True, 2.0, "8"])
def test_dimensions_that_are_no_number_are_named(name: str, wanted: Any) -> None:
    with pytest.raises(ConfigError, match="dimensions must be"):
        sent(EmbedRequest(("a",), wanted), model_of(name))


@adapters
def test_what_cannot_be_written_is_a_prompt_error(name: str) -> None:
    with pytest.raises(PromptError):
        sent(EmbedRequest(("\ud800",)), model_of(name))


@adapters
def test_the_callers_own_fields_and_headers_are_laid_over_what_is_sent(name: str) -> None:
    request = EmbedRequest(("a",), extra_body={"title": "T"}, extra_headers={"X-A": "1"})
    call = EMBEDDERS[name].encode(request, model_of(name))
    body = json.loads(call.body)
    place = body["requests"][0] if name == "gemini_embeddings" else body
    assert place["title"] == "T"
    assert ("X-A", "1") in call.headers
    assert call == EMBEDDERS[name].encode(request, model_of(name))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("openai_embeddings", "output_dtype", "int8"),
        ("voyage_embeddings", "output_dtype", "binary"),
        ("cohere_embeddings", "embedding_types", ["int8"]),
    ],
)
def test_other_numbers_than_floats_are_refused_as_they_could_only_be_misread(
    name: str, field: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=field):
        sent(EmbedRequest(("a",), extra_body={field: value}), model_of(name))


def test_each_vendor_is_asked_at_its_own_address() -> None:
    urls = {
        name: EMBEDDERS[name].encode(EmbedRequest(("a",)), model_of(name)).url for name in MODELS
    }
    assert urls == {
        "openai_embeddings": "https://api.openai.com/v1/embeddings",
        "gemini_embeddings": "https://generativelanguage.googleapis.com/v1/models/"
        "gemini-embedding-001:batchEmbedContents",
        "cohere_embeddings": "https://api.cohere.com/v2/embed",
        "voyage_embeddings": "https://api.voyageai.com/v1/embeddings",
    }


# --- what comes back -------------------------------------------------------------------------


@adapters
@pytest.mark.parametrize(
    "values", [VECTORS, [packed(v) for v in VECTORS]], ids=["floats", "base64"]
)
def test_vectors_are_read_in_either_form_whatever_was_asked_for(
    name: str, values: list[Any]
) -> None:
    found = decoded(name, answer(name, values))
    assert [list(vector) for vector in found.vectors] == VECTORS
    assert all(isinstance(v, array) and v.typecode == "f" for v in found.vectors)
    assert found.usage.input_tokens == 7
    assert found.usage.output_tokens == 0


@shaped_as_openais
@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(3)))
def test_vectors_come_in_the_order_of_the_texts_whatever_that_of_the_answer(
    name: str, order: list[int]
) -> None:
    body = answer(name, VECTORS)
    body["data"] = [body["data"][position] for position in order]
    assert [list(vector) for vector in decoded(name, body).vectors] == VECTORS


def test_vectors_without_an_index_are_taken_as_they_come() -> None:
    body = answer("openai_embeddings", VECTORS)
    for item in body["data"]:
        del item["index"]
    assert [list(v) for v in decoded("openai_embeddings", body).vectors] == VECTORS


def test_no_usage_is_no_tokens() -> None:
    body = answer("gemini_embeddings", VECTORS)
    del body["usageMetadata"]
    assert decoded("gemini_embeddings", body).usage.input_tokens == 0


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_base64_gives_every_float_as_it_was_packed(numbers: list[float]) -> None:
    request = EmbedRequest(("a",))
    body = answer("openai_embeddings", [packed(numbers)])
    assert list(decoded("openai_embeddings", body, request).vectors[0]) == numbers


def test_a_machine_of_the_other_byte_order_swaps_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BIG", True)
    monkeypatch.setattr(vectors, "_TOP", 3)  # the numbers are still this machine's
    big = base64.b64encode(struct.pack(">2f", 0.5, -0.25)).decode()
    body = answer("openai_embeddings", [big])
    assert list(decoded("openai_embeddings", body, EmbedRequest(("a",))).vectors[0]) == [0.5, -0.25]


BAD_VALUES = {
    "NaN": (float("nan"), "embedding 1 holds NaN"),
    "infinity": (float("inf"), "embedding 1 holds NaN or infinity"),
    "too large for a float32": (1e39, "embedding 1 holds NaN or infinity"),
    "a number without end": (10**400, "embedding 1 holds what is no number"),
    "a text": ("x", "embedding 1 holds what is no number"),
    "null": (None, "embedding 1 holds what is no number"),
    "a list": ([1.0], "embedding 1 holds what is no number"),
}
BAD_VECTORS = {
    "NaN in base64": (packed([float("nan"), 1.0]), "embedding 1 holds NaN"),
    "minus infinity in base64": (packed([1.0, float("-inf")]), "embedding 1 holds NaN"),
    "a piece of a float": (base64.b64encode(b"12345").decode(), "embedding 1 is not the base64"),
    "no base64": ("a", "embedding 1 is not base64"),
    "base64 with more in it": ("!!!!" + packed([1.0, 2.0]), "embedding 1 is not the base64"),
    "letters beyond ASCII": ("ü" * 8, "embedding 1 is not base64"),
    "an object": ({"a": 1}, "embedding 1 is of type dict"),
    "another length": ([1.0, 2.0, 3.0], "embedding 1 has 3 dimensions, embedding 0 has 2"),
    "nothing": ([], "embedding 1 is empty"),
    "nothing in base64": ("", "embedding 1 is empty"),
}


@adapters
@pytest.mark.parametrize("case", sorted(BAD_VALUES))
def test_a_vector_with_what_is_no_finite_number_is_named(name: str, case: str) -> None:
    value, message = BAD_VALUES[case]
    error = failed(name, 200, answer(name, [VECTORS[0], [0.0, value], VECTORS[2]]))
    assert type(error) is DecodeError
    assert message in error.message


@adapters
@pytest.mark.parametrize("case", sorted(BAD_VECTORS))
def test_a_vector_that_cannot_be_read_is_named(name: str, case: str) -> None:
    value, message = BAD_VECTORS[case]
    error = failed(name, 200, answer(name, [VECTORS[0], value, VECTORS[2]]))
    assert type(error) is DecodeError
    assert message in error.message


@pytest.mark.parametrize("value", [2**127, -(2.0**127), 1.5 * 2.0**127])
def test_large_numbers_that_are_finite_pass(value: float) -> None:
    body = answer("openai_embeddings", [[1.0, value]])
    assert decoded("openai_embeddings", body, EmbedRequest(("a",))).vectors[0][1] == value


@adapters
@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_vector_too_few_or_too_many_is_a_decode_error(name: str, count: int) -> None:
    error = failed(name, 200, answer(name, [[1.0, 2.0]] * count))
    assert type(error) is DecodeError
    if count:
        assert f"there are {count} embeddings for 3 texts" in error.message


@shaped_as_openais
@pytest.mark.parametrize(
    ("index", "message"),
    [
        (0, "embedding 0 is there twice"),
        (3, "there is no text 3"),
        (-1, "there is no text -1"),
        ("1", "there is no text '1'"),
        (1.0, "there is no text 1.0"),
        (True, "there is no text True"),
    ],
)
def test_an_index_that_is_no_texts_own_is_named(name: str, index: Any, message: str) -> None:
    body = answer(name, VECTORS)
    body["data"][1]["index"] = index
    error = failed(name, 200, body)
    assert type(error) is DecodeError
    assert message in error.message


@shaped_as_openais
def test_a_missing_vector_is_named(name: str) -> None:
    body = answer(name, VECTORS)
    del body["data"][1]["embedding"]
    assert "embedding 1 is missing" in failed(name, 200, body).message


@adapters
def test_vectors_of_another_length_than_asked_for_are_an_error_that_is_not_tried_again(
    name: str,
) -> None:
    with pytest.raises(DecodeError, match="8 dimensions were asked for, the vectors have 2") as got:
        decoded(name, answer(name, VECTORS), EmbedRequest(TEXTS, 8))
    assert not got.value.retryable
    assert decoded(name, answer(name, VECTORS), EmbedRequest(TEXTS, 2)).vectors


# --- errors ----------------------------------------------------------------------------------


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


TOO_LONG = [
    ("openai_embeddings", 400, openai("This model's maximum context length is 8192 tokens, how")),
    ("openai_embeddings", 400, openai("Invalid 'input[0]': maximum input length is 8192 tokens.")),
    ("openai_embeddings", 400, openai("Requested 416735 tokens, max 300000 tokens per request")),
    ("openai_embeddings", 400, openai("x", "max_tokens_per_request", "max_tokens_per_request")),
    ("openai_embeddings", 400, openai("Invalid 'input': array too long. Expected an array with")),
    (
        "openai_embeddings",
        400,
        {"object": "error", "message": "Too many tokens in batch. Max is 1"},
    ),
    (
        "openai_embeddings",
        400,
        {"message": "Too many inputs in request, split into more batches.", "code": "3210"},
    ),
    (
        "openai_embeddings",
        400,
        {"message": "Too many tokens overall, split into more batches.", "code": "3210"},
    ),
    ("openai_embeddings", 413, {"error": "batch size 33 > maximum allowed batch size 32"}),
    ("openai_embeddings", 422, {"error": "`inputs` must have less than 512 tokens. Given: 534"}),
    ("openai_embeddings", 500, openai("input (600 tokens) is too large to process", None, "x")),
    (
        "voyage_embeddings",
        400,
        {
            "detail": "Request to model 'voyage-3' failed. The max allowed tokens per submitted "
            "batch is 120000. Your batch has 124302 tokens after truncation."
        },
    ),
    ("voyage_embeddings", 400, {"detail": "does not fit into the model's context window of 32000"}),
    ("cohere_embeddings", 400, {"message": "total number of texts must be at most 96"}),
    ("cohere_embeddings", 400, {"message": "too many tokens: 200000"}),
    (
        "gemini_embeddings",
        400,
        {
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "* BatchEmbedContentsRequest.requests: at most 100 requests can be in "
                "one batch\n",
            }
        },
    ),
    (
        "gemini_embeddings",
        400,
        {"error": {"code": 400, "message": "Request payload size exceeds the limit: 36000 bytes."}},
    ),
]


@pytest.mark.parametrize(("name", "status", "body"), TOO_LONG)
def test_too_much_in_one_request_is_told_from_what_would_never_pass(
    name: str, status: int, body: Any
) -> None:
    error = failed(name, status, body)
    assert type(error) is TooLongError
    assert not error.retryable


@adapters
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthError),
        (404, NotFoundError),
        (429, ThrottledError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_other_errors_are_what_their_status_says(
    name: str, status: int, kind: type[CallError]
) -> None:
    for body in ({"error": {"message": "No."}}, {"message": "No."}, {"detail": "No."}, b"", b"<p>"):
        assert type(failed(name, status, body)) is kind


def test_too_many_tokens_in_a_minute_is_no_request_that_is_too_long() -> None:
    assert type(failed("openai_embeddings", 429, {"error": "too many tokens"})) is ThrottledError


FIELDS = (
    *("data", "index", "embedding", "embeddings", "values", "float", "base64", "usage"),
    *("error", "message", "detail", "code", "meta", "billed_units", "input_tokens"),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([packed([1.0, 2.0]), "AAAA", "AAAAAA=="]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=20,
)


@adapters
@settings(max_examples=150, deadline=None)
@given(status=st.sampled_from([200, 200, 200, 400, 429, 500]), body=JSON, lengths=st.data())
def test_whatever_comes_is_vectors_for_all_texts_or_one_of_our_errors(
    name: str, status: int, body: Any, lengths: Any
) -> None:
    if lengths.draw(st.booleans()):
        good = answer(name, VECTORS)
        field = lengths.draw(st.sampled_from(sorted(good)))
        body = {**good, field: body}
    try:
        found = decoded(name, body, status=status)
    except CallError:
        return
    assert len(found.vectors) == len(TEXTS)
    assert len({len(vector) for vector in found.vectors}) == 1
    assert found.usage.input_tokens >= 0


@adapters
@given(body=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_answer_are_one_of_our_errors(name: str, body: bytes) -> None:
    with pytest.raises(CallError):
        decoded(name, body)


def test_the_headers_about_limits_are_read() -> None:
    headers = {"x-ratelimit-limit-tokens": "1000000", "x-ratelimit-remaining-tokens": "9"}
    found = EMBEDDERS["openai_embeddings"].limits(HttpResponse(200, headers, b""))
    assert found == (LimitHint("tokens", 1000000, 9, None),)
    trace = HttpResponse(200, {"x-debug-trace-id": "t"}, b"")
    assert EMBEDDERS["cohere_embeddings"].request_id(trace) == "t"


# --- which adapter, and what the catalog knows -----------------------------------------------


def test_every_embedding_model_of_the_catalog_has_an_adapter_and_says_how_much_it_takes() -> None:
    models = [model for model in CATALOG.models() if model.mode == "embedding"]
    assert len(models) >= 10
    for model in models:
        assert embedder_of(model) == model.provider.adapter
        assert model.max_inputs
        assert model.context_window
        assert model.embedding_size
        assert model.prices.ceiling(1, 0) is not None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("custom/all-minilm-l6-v2", "openai_embeddings"),
        ("together/some/model", "openai_embeddings"),
        ("sandbox/anything", "openai_embeddings"),
        ("azure/my-deployment", "openai_embeddings"),
        ("openai/text-embedding-9", "openai_embeddings"),
        ("cohere/embed-v9", "cohere_embeddings"),
        ("voyage/voyage-9", "voyage_embeddings"),
    ],
)
def test_a_model_that_nobody_described_embeds_as_its_host_does(model: str, name: str) -> None:
    assert embedder_of(CATALOG.model(model)) == name


def test_any_server_embeds_with_any_model_dimensions_and_base64_included() -> None:
    model = CATALOG.model("all-minilm-l6-v2", base_url="http://127.0.0.1:1/v1")
    assert sent(EmbedRequest(("a",), 8), model) == {
        "model": "all-minilm-l6-v2",
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 8,
    }


def test_a_model_of_ones_own_needs_no_adapter_in_its_entry() -> None:
    mine = CATALOG.with_overrides({"models": {"custom/mine": {"mode": "embedding"}}})
    assert embedder_of(mine.model("custom/mine")) == "openai_embeddings"
    assert "encoding_format" not in sent(EmbedRequest(("a",)), mine.model("custom/mine"))


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "claude-opus-5-5", "sandbox/echo", "rerank-3"])
def test_a_model_that_is_for_something_else_is_named_with_some_that_embed(model: str) -> None:
    with pytest.raises(ConfigError, match=r"not for embedding: use one such as .*embed"):
        embedder_of(CATALOG.model(model))


@pytest.mark.parametrize("model", ["anthropic/claude-9", "vertex/gemini-embedding-001"])
def test_a_host_whose_embeddings_we_do_not_speak_is_named(model: str) -> None:
    with pytest.raises(ConfigError, match="has no form for embedding"):
        embedder_of(CATALOG.model(model))


def test_no_adapter_is_for_two_things() -> None:
    assert not set(EMBEDDERS) & set(ADAPTERS)


# --- the vendors' own SDKs -------------------------------------------------------------------


def at(model: Model, url: str) -> Model:
    """`model` at a server of ours, whose paths begin as the vendor's do."""
    base = url + urlsplit(model.provider.base_url).path
    provider = Provider("v", model.provider.adapter, base_url=base)
    return Model(
        **{**{f: getattr(model, f) for f in model.__dataclass_fields__}, "provider": provider}
    )


def same_as_sdk(name: str, model: Model, request: EmbedRequest, ask: Any, values: Any) -> None:
    """The SDK sends what we send, to the same path, and reads what we read."""
    body = answer(name, values)
    with answering(body) as (url, heard):
        found = ask(url)
    call = EMBEDDERS[name].encode(request, at(model, url))
    assert heard.body == json.loads(call.body)
    assert heard.path == urlsplit(call.url).path
    ours = decoded(name, body, request)
    assert (
        [list(vector) for vector in found] == [list(vector) for vector in ours.vectors] == VECTORS
    )


@pytest.mark.parametrize(
    "values", [VECTORS, [packed(v) for v in VECTORS]], ids=["floats", "base64"]
)
def test_the_openai_sdk_sends_and_reads_the_same(values: Any) -> None:
    openai_sdk = pytest.importorskip("openai", minversion="3")
    request = EmbedRequest(TEXTS, 2)

    def ask(url: str) -> Any:
        client = openai_sdk.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
        found = client.embeddings.create(
            model="text-embedding-3-small", input=list(TEXTS), dimensions=2
        )
        return [item.embedding for item in found.data]

    same_as_sdk("openai_embeddings", model_of("openai_embeddings"), request, ask, values)


def test_the_mistral_sdk_sends_and_reads_the_same() -> None:
    mistral = pytest.importorskip("mistralai.client")
    request = EmbedRequest(TEXTS, 2, extra_body={"encoding_format": "float"})
    entry = {"models": {"mistral/c": {"family": "mistral-embedding", "supports": ["dimensions"]}}}
    model = CATALOG.with_overrides(entry).model("mistral/c")

    def ask(url: str) -> Any:
        client = mistral.Mistral(api_key="k", server_url=url)
        found = client.embeddings.create(
            model="c", inputs=list(TEXTS), output_dimension=2, encoding_format="float"
        )
        return [item.embedding for item in found.data]

    body = answer("openai_embeddings", VECTORS)
    with answering({**body, "id": "e"}) as (url, heard):
        found = ask(url)
    call = EMBEDDERS["openai_embeddings"].encode(request, at(model, url))
    assert heard.body == json.loads(call.body)
    assert heard.path == urlsplit(call.url).path
    assert found == VECTORS


def test_the_google_sdk_sends_and_reads_the_same() -> None:
    genai = pytest.importorskip("google.genai", minversion="3")
    request = EmbedRequest(TEXTS, 2, "document")

    def ask(url: str) -> Any:
        client = genai.Client(api_key="k", http_options={"base_url": url, "api_version": "v1"})
        found = client.models.embed_content(
            model="gemini-embedding-001",
            contents=list(TEXTS),
            config={"task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 2},
        )
        assert found.usage_metadata.prompt_token_count == 7
        return [item.values for item in found.embeddings]

    same_as_sdk("gemini_embeddings", model_of("gemini_embeddings"), request, ask, VECTORS)


def test_the_cohere_sdk_sends_and_reads_the_same() -> None:
    cohere = pytest.importorskip("cohere")
    request = EmbedRequest(TEXTS, 2, "classification")

    def ask(url: str) -> Any:
        found = cohere.ClientV2(api_key="k", base_url=url).embed(
            model="embed-v5.0-pro",
            input_type="classification",
            texts=list(TEXTS),
            embedding_types=["float"],
            truncate="NONE",
            output_dimension=2,
        )
        return found.embeddings.float_

    same_as_sdk("cohere_embeddings", model_of("cohere_embeddings"), request, ask, VECTORS)


@pytest.mark.parametrize(
    "values", [VECTORS, [packed(v) for v in VECTORS]], ids=["floats", "base64"]
)
def test_the_voyage_sdk_sends_and_reads_the_same(values: Any) -> None:
    voyageai = pytest.importorskip("voyageai")
    request = EmbedRequest(TEXTS, 2, "query")

    def ask(url: str) -> Any:
        found = voyageai.Client(api_key="k", base_url=f"{url}/v1", max_retries=1).embed(
            list(TEXTS), "voyage-4", input_type="query", truncation=False, output_dimension=2
        )
        assert found.total_tokens == 7
        return found.embeddings

    same_as_sdk("voyage_embeddings", model_of("voyage_embeddings"), request, ask, values)


LONG_VECTOR = [index / 1000 for index in range(400)]


def long_answer(**more: Any) -> bytes:
    """Two vectors long enough to be read the quick way, and one that is not."""
    values = [packed(LONG_VECTOR), packed(LONG_VECTOR[::-1])]
    data = [{"index": index, "embedding": value} for index, value in enumerate(values)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 3}, **more}).encode()


def read_long(body: bytes) -> Embedded:
    name = "openai_embeddings"
    response = HttpResponse(200, {}, body)
    return EMBEDDERS[name].decode(response, EmbedRequest(("a", "b")), model_of(name))


@pytest.mark.parametrize(
    "more",
    [{}, {"note": 'a "quoted" word \\'}, {"id": "x" * 300}, {"error": None}, {"note": "ü😀"}],
)
def test_long_vectors_are_read_alike_whatever_stands_beside_them(more: dict[str, Any]) -> None:
    found = read_long(long_answer(**more))
    exact = array("f", LONG_VECTOR)
    assert found.vectors == (exact, exact[::-1])
    assert found.response_id == more.get("id")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"}]', b"}]", "not JSON"),  # a string that does not end
        (b'"index": 1', b'"index": 0', "twice"),
        (b"AAAAA", b"A\nAAA", "base64"),
        (b"AAAAA", b"A\xffAAA", "base64"),
        (b'{"data"', b'{"error": {"message": "busy"}, "data"', "busy"),
    ],
)
def test_a_long_answer_that_is_broken_is_one_of_our_errors(
    old: bytes, new: bytes, words: str
) -> None:
    body = long_answer()
    assert old in body
    with pytest.raises(CallError, match=words):
        read_long(body.replace(old, new, 1))
