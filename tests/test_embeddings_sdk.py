"""The vendors' own SDKs embed and rank at the sandbox.

Skipped where an SDK is absent.
"""

from __future__ import annotations

import math

import pytest

from deluge_sync.testing import Sandbox

from .test_adapter_sdks import sdk
from .test_responses_sdk import is_known
from .test_sandbox_embeddings import CATS, KITTENS, TAXES, near
from .test_sandbox_sdks import gemini_client, openai_client

TEXTS = [CATS, KITTENS, TAXES]
QUERY = "a cat on a warm sofa"


def check_vectors(vectors, size: int) -> None:
    """One for each of `TEXTS`, and those of the cats are near each other."""
    assert [len(vector) for vector in vectors] == [size] * 3
    cats, kittens, taxes = vectors
    assert near(cats, kittens) > near(cats, taxes) + 0.2
    assert near(cats, kittens) > near(kittens, taxes) + 0.2


def check_ranking(pairs, count: int = 3) -> None:
    """(index, score) pairs, the cats first."""
    assert [index for index, _ in pairs] == [0, 1, 2][:count]
    scores = [score for _, score in pairs]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def mistral_client(sandbox: Sandbox, key: str = "key"):
    """A client of mistralai 2 or later."""
    client = pytest.importorskip("mistralai.client")
    return client.Mistral(api_key=key, server_url=sandbox.url)


def cohere_client(sandbox: Sandbox):
    cohere = pytest.importorskip("cohere")
    return cohere.ClientV2(api_key="key", base_url=sandbox.url, max_retries=0)


def voyage_client(sandbox: Sandbox, **options):
    """One try: `max_retries` are tries here, and 0 of them is one too."""
    voyageai = pytest.importorskip("voyageai")
    return voyageai.Client(api_key="key", base_url=sandbox.voyage_url, **options)


class TestOpenAI:
    """openai 3.x."""

    def test_base64_which_it_asks_for_itself_gives_the_floats(self, sandbox):
        create = openai_client(sandbox).embeddings.create
        packed = create(model="text-embedding-3-small", input=TEXTS)
        floats = create(model="text-embedding-3-small", input=TEXTS, encoding_format="float")
        assert [r.body["encoding_format"] for r in sandbox.journal] == ["base64", "float"]
        check_vectors([item.embedding for item in packed.data], 1536)
        for one, other in zip(packed.data, floats.data):
            assert one.embedding == pytest.approx(other.embedding, abs=1e-9)
        assert packed.usage.prompt_tokens == packed.usage.total_tokens == 26
        assert is_known(floats)

    def test_a_string_tokens_and_dimensions_are_taken(self, sandbox):
        create = openai_client(sandbox).embeddings.create
        for given, count in (("Hi", 1), ([1, 2], 1), ([[1], [2, 3]], 2)):
            answer = create(model="text-embedding-3-large", input=given, dimensions=256, user="me")
            assert [len(item.embedding) for item in answer.data] == [256] * count

    def test_refusals_raise_its_errors(self, sandbox):
        openai = sdk("openai")
        create = openai_client(sandbox).embeddings.create
        with pytest.raises(openai.BadRequestError, match="is invalid"):
            create(model="text-embedding-3-small", input="")
        with pytest.raises(openai.BadRequestError) as caught:
            create(model="text-embedding-3-small", input=["x" * 4 * 8000] * 38)
        assert caught.value.code == "max_tokens_per_request"

    def test_azure_finds_its_deployment(self, sandbox):
        azure = sdk("openai").AzureOpenAI(
            api_key="key", api_version="2026-10-01", azure_endpoint=sandbox.url, max_retries=0
        )
        answer = azure.embeddings.create(model="text-embedding-3-small", input=TEXTS)
        check_vectors([item.embedding for item in answer.data], 1536)
        assert sandbox.journal[0].path == "/openai/deployments/text-embedding-3-small/embeddings"


class TestGemini:
    """google-genai 3.x."""

    @pytest.mark.parametrize("version", ["v1", "v1beta"])
    def test_texts_are_embedded_as_one_batch(self, sandbox, version):
        client = gemini_client(sandbox, api_version=version)
        answer = client.models.embed_content(
            model="gemini-embedding-001",
            contents=TEXTS,
            config={"task_type": "RETRIEVAL_DOCUMENT", "title": "T", "output_dimensionality": 768},
        )
        check_vectors([embedding.values for embedding in answer.embeddings], 768)
        assert answer.usage_metadata.prompt_token_count == 26
        assert sandbox.journal[0].path.endswith(":batchEmbedContents")

    def test_too_many_raise_its_error(self, sandbox):
        errors = pytest.importorskip("google.genai.errors")
        client = gemini_client(sandbox)
        with pytest.raises(errors.ClientError, match="at most 100"):
            client.models.embed_content(model="gemini-embedding-001", contents=["a"] * 101)


class TestCohere:
    """cohere 7.x."""

    @pytest.mark.parametrize(("model", "size"), [("embed-v4.0", 1536), ("embed-v5.0-pro", 2048)])
    def test_texts_are_embedded_in_each_type(self, sandbox, model, size):
        answer = cohere_client(sandbox).embed(
            model=model,
            texts=TEXTS,
            input_type="search_document",
            embedding_types=["float", "int8", "ubinary", "base64"],
            truncate="NONE",
        )
        check_vectors(answer.embeddings.float_, size)
        check_vectors(answer.embeddings.int8, size)
        assert [len(packed) for packed in answer.embeddings.ubinary] == [size // 8] * 3
        assert answer.meta.billed_units.input_tokens == 26

    def test_documents_are_ranked(self, sandbox):
        client = cohere_client(sandbox)
        answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)
        check_ranking([(item.index, item.relevance_score) for item in answer.results])
        assert answer.meta.billed_units.search_units == 1
        answer = client.rerank(model="rerank-v5.0-pro", query=QUERY, documents=TEXTS, top_n=2)
        check_ranking([(item.index, item.relevance_score) for item in answer.results], 2)
        assert answer.meta.billed_units.input_tokens == 3 * 5 + 26

    def test_refusals_raise_its_errors(self, sandbox):
        cohere = pytest.importorskip("cohere")
        client = cohere_client(sandbox)
        with pytest.raises(cohere.BadRequestError) as caught:
            client.embed(model="embed-v4.0", texts=["a"] * 97, input_type="search_query")
        assert "at most 96 - received 97" in caught.value.body["message"]


class TestMistral:
    """mistralai 3.x."""

    def test_texts_are_embedded(self, sandbox):
        answer = mistral_client(sandbox).embeddings.create(model="mistral-embed", inputs=TEXTS)
        check_vectors([item.embedding for item in answer.data], 1024)
        assert answer.usage.total_tokens == 26

    def test_its_own_fields_are_taken(self, sandbox):
        answer = mistral_client(sandbox).embeddings.create(
            model="codestral-embed",
            inputs=TEXTS,
            output_dimension=512,
            output_dtype="int8",
            encoding_format="float",
            metadata={"of": "me"},
        )
        check_vectors([item.embedding for item in answer.data], 512)


class TestVoyage:
    """voyageai 0.5."""

    @pytest.mark.parametrize("dtype", [None, "float", "int8"])
    def test_texts_are_embedded(self, sandbox, dtype):
        answer = voyage_client(sandbox).embed(
            TEXTS, model="voyage-4", input_type="document", output_dtype=dtype, output_dimension=512
        )
        check_vectors(answer.embeddings, 512)
        assert answer.total_tokens == 26
        if dtype != "int8":
            assert math.isclose(sum(n * n for n in answer.embeddings[0]), 1, abs_tol=1e-5)

    def test_documents_are_ranked(self, sandbox):
        answer = voyage_client(sandbox).rerank(QUERY, TEXTS, model="rerank-3", top_k=2)
        check_ranking([(item.index, item.relevance_score) for item in answer.results], 2)
        assert answer.results[0].document == CATS
        assert answer.total_tokens == 3 * 5 + 26

    def test_refusals_raise_its_errors(self, sandbox):
        errors = pytest.importorskip("voyageai.error")
        with pytest.raises(errors.InvalidRequestError, match="batch size limit is 1000"):
            voyage_client(sandbox).embed(["a"] * 1001, model="voyage-4")
        sandbox.script(["429"])
        with pytest.raises(errors.RateLimitError):
            voyage_client(sandbox).embed(["a"], model="voyage-4")
