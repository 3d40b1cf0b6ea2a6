"""What the sandbox takes and gives for embeddings and rankings, seen as plain JSON."""

from __future__ import annotations

import base64
import math
import subprocess
import sys
from array import array

import pytest

from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.checks import VendorError
from deluge_sync.testing.likeness import embedding, quantised, relevances
from deluge_sync.testing.openai_embeddings import embeddings_answer

from .test_sandbox_wire import call

OPENAI = "/v1/embeddings"
AZURE = "/openai/deployments/text-embedding-3-small/embeddings"
GEMINI = "/v1beta/models/gemini-embedding-001"
COHERE = "/v2/embed"
VOYAGE = "/voyage/v1/embeddings"
CATS = "The cat sleeps on the warm sofa."
KITTENS = "A kitten and a cat sleep on a sofa."
TAXES = "Quarterly taxes are due in April."


def near(first, second) -> float:
    """Their cosine, of vectors of any length."""
    dot = sum(one * other for one, other in zip(first, second))
    return dot / math.sqrt(sum(one * one for one in first) * sum(one * one for one in second))


def openai(given="Hi", **fields):
    return {"model": "text-embedding-3-small", "input": given, **fields}


def cohere(*texts: str, **fields):
    return {"model": "embed-v4.0", "input_type": "search_query", "texts": list(texts), **fields}


def part(text: str, **fields):
    return {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": text}]},
        **fields,
    }


def vectors(sandbox: Sandbox, body, path: str = OPENAI):
    status, _, answer = call(sandbox, path, body)
    assert status == 200, answer
    return [item["embedding"] for item in answer["data"]]


def refusal(sandbox: Sandbox, path: str, body) -> str:
    """What a 400 says, in whichever shape."""
    status, _, answer = call(sandbox, path, body)
    assert status == 400, answer
    return answer.get("message") or answer.get("detail") or answer["error"]["message"]


class TestLikeness:
    """The mathematics."""

    @pytest.mark.parametrize("size", [1, 8, 256, 1536])
    @pytest.mark.parametrize("text", [CATS, "x", " ", "!?", "\ud800", "日本語", "y" * 40_000])
    def test_every_text_has_a_vector_of_length_one(self, text, size):
        vector = embedding(text, size)
        assert len(vector) == size
        assert math.isclose(math.sqrt(sum(v * v for v in vector)), 1, abs_tol=1e-5)

    @pytest.mark.parametrize("size", [64, 256, 1536, 3072])
    def test_like_texts_are_nearer_than_others(self, size):
        cats, kittens, taxes = (embedding(text, size) for text in (CATS, KITTENS, TAXES))
        assert near(cats, kittens) > 0.35
        assert near(cats, kittens) > near(cats, taxes) + 0.2
        assert near(embedding("colour", size), embedding("colours", size)) > 0.4
        assert near(cats, embedding(CATS.upper(), size)) > 0.999

    def test_another_process_makes_the_same_vector(self):
        code = (
            "from deluge_sync.testing.likeness import embedding as e; print(e('cat', 16).tolist())"
        )
        told = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
        )
        assert told.stdout.strip() == str(embedding("cat", 16).tolist())

    @pytest.mark.parametrize("kind", ["int8", "uint8"])
    def test_whole_numbers_keep_what_is_near(self, kind):
        zero = 128 if kind == "uint8" else 0
        made = [[n - zero for n in quantised(embedding(t, 512), kind)] for t in (CATS, KITTENS)]
        assert all(-127 <= number <= 127 for number in made[0])
        exact = near(embedding(CATS, 512), embedding(KITTENS, 512))
        assert math.isclose(near(*made), exact, abs_tol=0.02)

    def test_bits_are_packed_with_the_first_one_highest(self):
        vector = array("f", [1, -1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
        assert quantised(vector, "ubinary").tolist() == [0b10010001, 0b10000000]
        assert quantised(vector, "binary").tolist() == [0b10010001 - 128, 0]

    def test_scores_are_from_0_to_1_and_each_documents_own(self):
        query = "warm sofa"
        together = relevances(query, [query, CATS, KITTENS, TAXES, ""])
        assert together == [
            relevances(query, [text])[0] for text in (query, CATS, KITTENS, TAXES, "")
        ]
        assert together == sorted(together, reverse=True)
        assert together[0] == 1
        assert together[-1] == 0


class TestOpenAI:
    """`/v1/embeddings`."""

    def test_base64_and_floats_are_the_same_numbers(self, sandbox):
        floats = vectors(sandbox, openai([CATS, TAXES]))
        packed = vectors(sandbox, openai([CATS, TAXES], encoding_format="base64"))
        assert [array("f", base64.b64decode(text)).tolist() for text in packed] == floats
        assert [len(vector) for vector in floats] == [1536, 1536]

    def test_a_text_alone_or_among_others_has_the_same_vector(self, sandbox):
        assert vectors(sandbox, openai(CATS))[0] == vectors(sandbox, openai([TAXES, CATS]))[1]

    def test_tokens_may_stand_for_texts(self, sandbox):
        one = call(sandbox, OPENAI, openai([1, 2, 3]))[2]
        two = call(sandbox, OPENAI, openai([[1, 2, 3], [4]]))[2]
        assert one["data"][0] == two["data"][0]
        assert (one["usage"]["total_tokens"], two["usage"]["prompt_tokens"]) == (3, 4)

    @pytest.mark.parametrize(
        ("model", "size"),
        [("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536), ("my-own", 256)],
    )
    def test_the_model_says_how_long_vectors_are(self, sandbox, model, size):
        assert len(vectors(sandbox, openai(model=model))[0]) == size

    def test_dimensions_shorten_them(self, sandbox):
        vector = vectors(sandbox, openai(dimensions=100))[0]
        assert len(vector) == 100
        assert math.isclose(sum(value * value for value in vector), 1, abs_tol=1e-5)

    def test_azure_has_the_model_in_the_path(self, sandbox):
        status, _, answer = call(sandbox, AZURE, {"input": CATS})
        assert (status, answer["model"]) == (200, "text-embedding-3-small")
        assert vectors(sandbox, openai(CATS), "/openai/v1/embeddings") == vectors(
            sandbox, openai(CATS)
        )

    @pytest.mark.parametrize(
        "given", ["", [""], ["a", ""], [], [[]], ["a", 1], [[1], "a"], [-1], [True], ["a"] * 2049]
    )
    def test_an_input_that_is_none_is_refused(self, sandbox, given):
        status, _, answer = call(sandbox, OPENAI, openai(given))
        assert status == 400
        assert answer["error"] == {
            "message": "'$.input' is invalid. Please check the API reference: "
            "https://platform.openai.com/docs/api-reference.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }

    def test_2048_inputs_are_not_too_many(self, sandbox):
        assert len(vectors(sandbox, openai(["a"] * 2048, dimensions=2))) == 2048

    def test_a_text_of_more_than_8192_tokens_is_too_long(self, sandbox):
        assert vectors(sandbox, openai("x" * 4 * 8192, dimensions=2))
        for given in ("x" * (4 * 8192 + 1), [list(range(8193))]):
            message = refusal(sandbox, OPENAI, openai(given))
            assert message.startswith("This model's maximum context length is 8192 tokens")
            assert "you requested 8193 tokens" in message

    def test_all_texts_together_have_300_000_tokens_at_most(self, sandbox):
        texts = ["x" * 4 * 7500] * 40
        assert vectors(sandbox, openai(texts, dimensions=2))
        status, _, answer = call(sandbox, OPENAI, openai([*texts, "y"]))
        assert status == 400
        assert answer["error"] == {
            "message": "Requested 300001 tokens, max 300000 tokens per request",
            "type": "max_tokens_per_request",
            "param": None,
            "code": "max_tokens_per_request",
        }

    @pytest.mark.parametrize(
        "fields",
        [
            {"input_type": "query"},
            {"output_dimension": 5},
            {"dimensions": 0},
            {"dimensions": 1537},
            {"encoding_format": "hex"},
            {"model": "text-embedding-ada-002", "dimensions": 5},
            {"model": None},
            {"input": None},
            {"input": {"text": "a"}},
        ],
    )
    def test_a_bad_field_is_refused(self, sandbox, fields):
        assert refusal(sandbox, OPENAI, openai(**fields))

    def test_hosts_of_their_own_may_have_fields_of_their_own_when_not_strict(self):
        with Sandbox(strict=False) as sandbox:
            assert vectors(sandbox, openai(input_type="query"))

    def test_mistral_has_its_own_fields(self, sandbox):
        body = {"model": "mistral-embed", "input": [CATS], "output_dtype": "int8"}
        _, _, answer = call(sandbox, OPENAI, {**body, "output_dimension": 64})
        numbers = answer["data"][0]["embedding"]
        assert len(numbers) == 64
        assert all(isinstance(number, int) for number in numbers)
        assert answer["id"]
        assert "dimensions" in refusal(sandbox, OPENAI, {**body, "dimensions": 64})

    def test_a_line_of_a_batch_is_answered_alike(self, sandbox):
        assert embeddings_answer(openai(CATS)) == call(sandbox, OPENAI, openai(CATS))[2]
        with pytest.raises(VendorError, match="is invalid"):
            embeddings_answer(openai(""))


class TestOrderOfSteps:
    """Key, shape, limits, faults, delay, journal: as for every other request."""

    def test_keys_and_models_are_looked_at(self):
        with Sandbox(api_key="right", models=["known"]) as sandbox:
            key = {"authorization": "Bearer right"}
            for path, status in ((OPENAI, 404), (VOYAGE, 400)):
                assert call(sandbox, path, openai())[0] == 401
                assert call(sandbox, path, openai(), key)[0] == status
                assert call(sandbox, path, openai(model="known"), key)[0] == 200

    def test_limits_count_the_tokens_of_all_inputs(self):
        with Sandbox(tokens_per_minute=30, clock=lambda: 0.0) as sandbox:
            assert call(sandbox, OPENAI, openai(["x" * 40, "y" * 40]))[0] == 200
            status, headers, answer = call(sandbox, OPENAI, openai(["x" * 40, "y"]))
        assert (status, headers["retry-after"]) == (429, "60")
        assert "Requested 11, Used 20" in answer["error"]["message"]

    def test_a_fault_finds_the_request_by_any_of_its_texts(self, sandbox):
        sandbox.script([Fault("503", match="due in April")])
        assert call(sandbox, OPENAI, openai([CATS, KITTENS]))[0] == 200
        assert call(sandbox, OPENAI, openai([CATS, TAXES]))[0] == 503
        assert sandbox.pending_faults == 0

    def test_the_journal_has_model_texts_and_wire(self, sandbox):
        call(sandbox, OPENAI, openai([CATS, TAXES]))
        call(sandbox, VOYAGE, {"model": "voyage-4", "input": [CATS]})
        first, second = sandbox.journal
        assert (first.model, first.wire) == ("text-embedding-3-small", "openai")
        assert (first.prompt, first.status) == (f"{CATS}\n{TAXES}", 200)
        assert (second.model, second.wire, second.prompt) == ("voyage-4", "voyage", CATS)

    def test_answers_that_were_scripted_are_left_for_those_who_ask(self):
        with Sandbox(answer=["one"]) as sandbox:
            assert vectors(sandbox, openai())
            chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
            assert call(sandbox, "/v1/chat/completions", chat)[0] == 200

    def test_the_delay_may_depend_on_the_texts(self):
        asked = []
        with Sandbox(delay=lambda question: asked.append(question.turns) or 0.0) as sandbox:
            vectors(sandbox, openai(["a", "b"]))
        assert asked == [(("input", "a"), ("input", "b"))]

    @pytest.mark.parametrize("path", [OPENAI, VOYAGE, "/v1/rerank", "/voyage/v1/rerank"])
    def test_other_methods_are_refused(self, sandbox, path):
        assert call(sandbox, path, method="GET")[0] == 405


class TestGemini:
    """`:embedContent` and `:batchEmbedContents`."""

    @pytest.mark.parametrize("version", ["v1", "v1beta"])
    def test_one_and_many_give_the_same_vectors(self, sandbox, version):
        path = f"/{version}/models/gemini-embedding-001"
        _, _, one = call(sandbox, f"{path}:embedContent", part(CATS))
        _, _, many = call(
            sandbox, f"{path}:batchEmbedContents", {"requests": [part(TAXES), part(CATS)]}
        )
        assert one["embedding"] == many["embeddings"][1]
        assert len(one["embedding"]["values"]) == 3072
        assert sandbox.journal[0].model == "gemini-embedding-001"

    def test_each_request_of_a_batch_has_its_own_size(self, sandbox):
        requests = [part(CATS, outputDimensionality=size) for size in (5, 7)]
        _, _, answer = call(sandbox, f"{GEMINI}:batchEmbedContents", {"requests": requests})
        assert [len(vector["values"]) for vector in answer["embeddings"]] == [5, 7]

    @pytest.mark.parametrize(
        ("requests", "words"),
        [
            ([part("a")] * 101, "at most 100 requests can be in one batch"),
            ([part("a", model="models/other")], "model must match"),
            ([part("")], "content is empty"),
            ([part("a"), part("x" * 4 * 2049)], "token count (2049) exceeds"),
            ([part("a", taskType="SONG")], "taskType"),
            ([part("a", outputDimensionality=3073)], "between 1 and 3072"),
            ([{"model": "models/gemini-embedding-001"}], "content"),
            ([], "requests"),
        ],
    )
    def test_a_bad_batch_is_refused(self, sandbox, requests, words):
        body = {"requests": requests}
        assert words in refusal(sandbox, f"{GEMINI}:batchEmbedContents", body)


class TestCohere:
    """`/v2/embed` and `/v2/rerank`."""

    def test_each_type_that_is_asked_for_comes(self, sandbox):
        kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
        _, _, answer = call(sandbox, COHERE, cohere(CATS, embedding_types=kinds))
        made = answer["embeddings"]
        assert sorted(made) == sorted(kinds)
        assert [len(made[kind][0]) for kind in kinds[:5]] == [1536, 1536, 1536, 192, 192]
        assert array("f", base64.b64decode(made["base64"][0])).tolist() == made["float"][0]
        assert answer["meta"]["billed_units"] == {"input_tokens": 8}
        assert answer["texts"] == [CATS]

    def test_inputs_are_texts_in_another_form(self, sandbox):
        inputs = [{"content": [{"type": "text", "text": CATS}]}]
        body = {"model": "embed-v4.0", "input_type": "search_query", "inputs": inputs}
        made = [call(sandbox, COHERE, one)[2]["embeddings"] for one in (body, cohere(CATS))]
        assert made[0] == made[1]

    @pytest.mark.parametrize(("truncate", "rest"), [("START", "b"), ("END", "a"), (None, "a")])
    def test_a_long_text_is_cut_at_the_end_that_is_named(self, sandbox, truncate, rest):
        body = cohere("aaaa " * 4 + "bbbb " * 4, max_tokens=5, truncate=truncate)
        whole = call(sandbox, COHERE, body)[2]["embeddings"]
        assert whole == call(sandbox, COHERE, cohere((rest * 4 + " ") * 4))[2]["embeddings"]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (cohere(*["a"] * 97), "total number of texts must be at most 96 - received 97"),
            (cohere("a", "b" * 9, max_tokens=2, truncate="NONE"), "text at index 1 is too long"),
            (cohere("a", ""), "empty"),
            (cohere(), "one of texts, images or inputs"),
            (cohere("a", input_type="document"), "input_type"),
            (cohere("a", input_type=None), "input_type is required"),
            (cohere("a", embedding_types=["float16"]), "embedding_types"),
            (cohere("a", output_dimension=1537), "output_dimension"),
            (cohere("a", model="embed-english-v3.0", output_dimension=256), "output_dimension"),
        ],
    )
    def test_a_bad_field_is_refused(self, sandbox, body, words):
        assert words in refusal(sandbox, COHERE, body)

    def test_searches_are_billed_before_version_5_and_tokens_from_then_on(self, sandbox):
        body = {"query": "abcd", "documents": ["x" * 4 * 501, *["y"] * 99], "top_n": 1}
        for model, billed in (
            ("rerank-v3.5", {"search_units": 2}),
            ("rerank-v5.0-pro", {"input_tokens": 100 + 501 + 99}),
        ):
            _, _, answer = call(sandbox, "/v2/rerank", {**body, "model": model})
            assert answer["meta"]["billed_units"] == billed


RERANKS = [
    ("/v1/rerank", "top_n", "results"),
    ("/v2/rerank", "top_n", "results"),
    ("/voyage/v1/rerank", "top_k", "data"),
]


@pytest.mark.parametrize(("path", "most", "results"), RERANKS)
class TestRerank:
    """What the three forms have in common."""

    def test_the_best_come_first(self, sandbox, path, most, results):
        documents = [TAXES, KITTENS, CATS]
        body = {"model": "m", "query": "warm sofa", "documents": documents}
        _, _, answer = call(sandbox, path, body)
        pairs = [(item["index"], item["relevance_score"]) for item in answer[results]]
        assert [index for index, _ in pairs] == [2, 1, 0]
        assert 1 >= pairs[0][1] > pairs[1][1] > pairs[2][1] >= 0
        _, _, answer = call(sandbox, path, {**body, most: 2})
        assert [(item["index"], item["relevance_score"]) for item in answer[results]] == pairs[:2]

    @pytest.mark.parametrize("fields", [{"query": ""}, {"documents": []}, {"most": 0}])
    def test_a_bad_field_is_refused(self, sandbox, path, most, results, fields):
        fields = {most if name == "most" else name: value for name, value in fields.items()}
        assert refusal(sandbox, path, {"model": "m", "query": "q", "documents": ["d"], **fields})


def test_documents_come_back_where_they_are_asked_for(sandbox):
    documents = [{"text": TAXES}, CATS]
    body = {"model": "m", "query": "sofa", "documents": documents, "return_documents": True}
    _, _, answer = call(sandbox, "/v1/rerank", body)
    assert [item["document"]["text"] for item in answer["results"]] == [CATS, TAXES]


class TestVoyage:
    """`/voyage/v1/embeddings`."""

    @pytest.mark.parametrize(("dtype", "code"), [("float", "f"), ("int8", "b"), ("ubinary", "B")])
    def test_base64_and_numbers_are_the_same(self, sandbox, dtype, code):
        body = {"model": "voyage-4", "input": CATS, "output_dtype": dtype, "output_dimension": 256}
        plain = vectors(sandbox, body, VOYAGE)
        packed = vectors(sandbox, {**body, "encoding_format": "base64"}, VOYAGE)
        assert array(code, base64.b64decode(packed[0])).tolist() == plain[0]

    def test_a_long_text_is_cut_unless_that_is_switched_off(self, sandbox):
        body = {"model": "voyage-4", "input": ["x" * 4 * 32_001]}
        assert call(sandbox, VOYAGE, body)[2]["usage"] == {"total_tokens": 32_000}
        assert "32001 tokens" in refusal(sandbox, VOYAGE, {**body, "truncation": False})

    @pytest.mark.parametrize(
        ("model", "most"),
        [("voyage-4", 320_000), ("voyage-4-large", 120_000)],
    )
    def test_tokens_of_a_request_are_limited_by_model(self, sandbox, model, most):
        texts = ["x" * 4 * 20_000] * (most // 20_000)
        body = {"model": model, "input": texts, "output_dimension": 2}
        assert vectors(sandbox, body, VOYAGE)
        message = refusal(sandbox, VOYAGE, {**body, "input": [*texts, "y"]})
        assert f"The max allowed tokens per submitted batch is {most}." in message

    def test_errors_are_a_detail(self, sandbox):
        body = {"model": "voyage-4", "input": ["a"] * 1001}
        detail = "The batch size limit is 1000. Your batch size is 1001."
        assert call(sandbox, VOYAGE, body)[::2] == (400, {"detail": detail})
        sandbox.script([Fault("429", retry_after=3)])
        status, headers, answer = call(sandbox, VOYAGE, {"model": "voyage-4", "input": "a"})
        assert (status, headers["retry-after"], list(answer)) == (429, "3", ["detail"])
