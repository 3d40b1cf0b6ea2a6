"""`embed`, `iter_embed` and `embed_parallel` over real HTTP."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from deluge_sync import (
    BudgetExceeded,
    CallCancelledError,
    Client,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    EmbedError,
    MemoryStore,
    PromptError,
    QuotaExhaustedError,
    TooLongError,
)
from deluge_sync.embed import embed_parallel, stack_results
from deluge_sync.embeddings.packs import Known, Pack, PackLimits, Reader, Texts
from deluge_sync.embeddings.places import Lists, Matrix
from deluge_sync.embeddings.records import MARK, packed, unpacked
from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.likeness import embedding

from .helpers import ROOT, client_for, start

SMALL = "text-embedding-3-small"
TEXTS = [f"text number {number}" for number in range(10)]


def embedder(sandbox: Sandbox, model: str = SMALL, **options: Any) -> Client:
    """A client of `sandbox` that speaks the format of that model's vendor."""
    urls = {
        "voyage": sandbox.voyage_url,
        "cohere": sandbox.anthropic_url,  # Cohere's SDK too adds the version itself
        "google": sandbox.gemini_url,
    }
    options.setdefault("max_requests_per_minute", 1e9)
    options.setdefault("max_tokens_per_minute", 1e9)
    options.setdefault("max_concurrent_requests", 8)
    base_url = urls.get(model.split("/")[0], sandbox.base_url)
    return Client(model, base_url=base_url, api_key="sk-secret-key", progress="none", **options)


def expected(text: str, size: int = 1536) -> list[float]:
    return embedding(text, size).tolist()


def sent(sandbox: Sandbox) -> list[list[str]]:
    """The texts of each request, as they were sent to OpenAI's endpoint."""
    return [record.body["input"] for record in sandbox.journal]


class TestVectors:
    """What comes back."""

    def test_vectors_come_in_the_order_of_the_texts_whatever_the_order_of_answers(self):
        delays = itertools.chain([0.2], itertools.repeat(0.0))
        with Sandbox(delay=lambda question: next(delays)) as sandbox:
            vectors = embedder(sandbox).embed(TEXTS, batch_size=3)
        assert vectors == [expected(text) for text in TEXTS]

    @pytest.mark.parametrize(
        ("model", "size"),
        [
            ("text-embedding-3-large", 3072),
            ("mistral/mistral-embed", 1024),
            ("google/gemini-embedding-001", 3072),
            ("cohere/embed-v4.0", 1536),
            ("voyage/voyage-4", 1024),
            ("an-unlisted-model", 256),
        ],
    )
    def test_each_vendors_format_gives_the_vectors(self, sandbox, model, size):
        vectors = embedder(sandbox, model).embed(TEXTS, batch_size=4)
        assert vectors == [expected(text, size) for text in TEXTS]
        assert len(sandbox.journal) == 3

    def test_dimensions_and_input_type_are_sent(self, sandbox):
        client = embedder(sandbox, "voyage/voyage-4")
        assert len(client.embed(["a"], dimensions=256, input_type="query")[0]) == 256
        body = sandbox.journal[0].body
        assert (body["output_dimension"], body["input_type"]) == (256, "query")

    def test_numpy_gives_one_float32_matrix(self, sandbox):
        numpy = pytest.importorskip("numpy")
        client = embedder(sandbox)
        matrix = client.embed([*TEXTS, TEXTS[0]], numpy=True, batch_size=3)
        assert (matrix.shape, matrix.dtype, matrix.flags.owndata) == ((11, 1536), "float32", True)
        assert (matrix == numpy.array(client.embed([*TEXTS, TEXTS[0]]), dtype="float32")).all()

    def test_a_matrix_grows_with_an_iterable_that_has_no_length(self, sandbox):
        pytest.importorskip("numpy")
        matrix = embedder(sandbox).embed(iter(TEXTS), numpy=True, batch_size=1)
        assert matrix.tolist() == [expected(text) for text in TEXTS]

    @pytest.mark.parametrize("numpy", [False, True])
    def test_no_texts_have_no_vectors_and_no_request(self, sandbox, numpy):
        if numpy:
            pytest.importorskip("numpy")
        assert len(embedder(sandbox).embed([], numpy=numpy)) == 0
        assert not sandbox.journal

    def test_without_numpy_the_error_names_the_extra(self, sandbox, monkeypatch):
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(ConfigError, match=r"deluge-sync\[numpy\]"):
            embedder(sandbox).embed(["a"], numpy=True)
        assert embedder(sandbox).embed(["a"]) == [expected("a")]

    def test_the_same_text_is_sent_once(self, sandbox):
        client = embedder(sandbox)
        vectors = client.embed(["a", "b", "a", "a", "b"])
        assert sent(sandbox) == [["a", "b"]]
        assert vectors == [expected(text) for text in "abaab"]
        vectors[0][0] = 7.0
        assert vectors[2] == expected("a")  # each its own list
        report = client.usage()
        assert (report.prompts, report.cached, report.attempts) == (5, 3, 1)

    def test_a_client_of_a_chat_model_embeds_with_another(self, sandbox):
        client = client_for(sandbox)
        with pytest.raises(ConfigError, match=r"embed\(texts, model=\.\.\.\)"):
            client.embed(["a"])
        assert client.embed(["a"], model=SMALL) == [expected("a")]

    def test_an_api_key_does_not_go_to_another_vendor(self):
        client = Client("gpt-4.1-mini", api_key="sk-secret")
        with pytest.raises(ConfigError, match="this one's api_key is for openai"):
            client.embed(["a"], model="voyage/voyage-4")


class TestClients:
    """Which client may, and what is refused."""

    def test_all_that_chats_refuses_a_model_of_embeddings(self, sandbox):
        client = embedder(sandbox)
        for call in (
            lambda: client.complete("Hi"),
            lambda: client.submit("Hi"),
            lambda: client.stream("Hi"),
            lambda: list(client.stream_chat("Hi")),
            lambda: client.map(["Hi"]),
            lambda: list(client.imap(["Hi"])),
            lambda: client.estimate(["Hi"]),
            lambda: client.run_agent_loop("Hi", tools=[]),
            lambda: client.map_agent_loops(["Hi"], tools=[]),
        ):
            with pytest.raises(ConfigError, match=r"cannot be called for chat.* use embed\(\)"):
                call()
        assert not sandbox.journal

    def test_models_of_different_kinds_make_no_client(self):
        with pytest.raises(ConfigError, match="must be of one kind"):
            Client(["gpt-4.1-mini", SMALL])

    def test_with_several_models_one_must_be_named(self, sandbox):
        client = Client([SMALL, "text-embedding-3-large"], base_url=sandbox.base_url, api_key="k")
        with pytest.raises(ConfigError, match="several models"):
            client.embed(["a"])
        assert client.embed(["a"], model=SMALL) == [expected("a")]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"dimensions": 0}, "dimensions must be"),
            ({"dimensions": True}, "dimensions must be"),
            ({"input_type": "song"}, "input_type must be one of document, query"),
            ({"input_type": "query"}, "has no input_type 'query'"),
            ({"batch_size": 0}, "batch_size must be"),
            ({"batch_size": 2049}, "takes 2048 texts at most"),
            ({"timeout": -1}, "timeout must be"),
            ({"max_cost": -1}, "max_cost must be"),
            ({"progress": "loud"}, "progress must be"),
            (
                {"model": "gpt-4.1"},
                "is a model for chat, not for embedding: use one such as openai/",
            ),
        ],
    )
    def test_a_bad_option_is_refused_before_anything_is_sent(self, sandbox, options, words):
        with pytest.raises(ConfigError, match=words):
            embedder(sandbox).embed(["a"], **options)
        assert not sandbox.journal

    @pytest.mark.parametrize("texts", ["one text", b"bytes", 5, None, {"a": 1}])
    def test_what_is_no_list_of_texts_is_refused(self, sandbox, texts):
        with pytest.raises(PromptError, match=r"use embed\(\[text\]\)\[0\]"):
            embedder(sandbox).embed(texts)

    def test_importing_the_modules_starts_no_thread(self):
        script = (
            "import threading, sys, deluge_sync.embed, deluge_sync.rerank\n"
            "assert threading.active_count() == 1\n"
            "assert not {'numpy', 'urllib3', 'requests'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


class TestPacking:
    """What goes into one request."""

    def test_packs_are_bounded_by_count_and_by_bytes(self):
        texts = ["aaaa", "bbbb", "cc", "d" * 30, "ee", "ff", "gg"]
        reader = Reader(texts, PackLimits(texts=3, size=24))
        assert [item.texts for item in reader.items()] == [
            ["aaaa", "bbbb", "cc"],
            ["d" * 30],  # alone, though too large: only the server can tell
            ["ee", "ff", "gg"],
        ]

    def test_bytes_count_and_not_characters(self):
        reader = Reader(["漢字漢字", "漢漢字字"], PackLimits(texts=9, size=20))
        assert [item.texts for item in reader.items()] == [["漢字漢字"], ["漢漢字字"]]

    def test_a_request_never_holds_more_than_the_model_takes(self, sandbox):
        client = embedder(sandbox, "mistral/mistral-embed")
        texts = [f"{number:04}" + "x" * 1000 for number in range(40)]
        client.embed(texts)
        sizes = [sum(map(len, one)) for one in sent(sandbox)]
        assert max(sizes) <= 16_384
        assert sorted(sizes)[1] > 16_384 - 1_100  # all but the last, which may come first
        assert [record.status for record in sandbox.journal] == [200] * len(sizes)

    def test_a_request_never_holds_more_than_the_limits_let_go_in_a_minute(self, sandbox):
        client = embedder(sandbox, max_tokens_per_minute=2_000)
        outcomes = client.iter_embed([f"{number}" + "x" * 900 for number in range(4)])
        with contextlib.closing(outcomes):
            next(outcomes)
        assert len(sent(sandbox)[0]) == 2

    def test_an_endless_source_of_the_same_text_is_read_in_bounds(self):
        reader = Reader(itertools.repeat("a"), PackLimits(texts=10, size=1e9), lazy=True)
        items = reader.items()
        assert isinstance(next(items), Known)
        assert next(items).texts == ["a"]
        assert reader.read < 20_000

    def test_long_texts_are_not_kept_to_find_their_repetitions(self):
        class Text(str):
            """Unlike a string, it can be referred to weakly."""

        alive: weakref.WeakSet[Text] = weakref.WeakSet()

        def texts() -> Iterator[str]:
            for number in itertools.chain(range(50), range(50)):
                alive.add(text := Text(f"{number} " + "long " * 100))
                yield text

        reader = Reader(texts(), PackLimits(5, 1e6))
        sizes = [len(item.texts) for item in reader.items() if isinstance(item, Pack)]
        assert sum(sizes) == 50
        assert reader.repeats == {number: [50 + number] for number in range(50)}
        gc.collect()
        assert len(alive) <= 5

    def test_a_pack_that_is_too_long_is_halved_until_the_text_is_found(self, sandbox, caplog):
        caplog.set_level("INFO", "deluge_sync")
        texts = [*TEXTS[:5], "x" * 4 * 8_193, *TEXTS[5:]]
        client = embedder(sandbox)
        with pytest.raises(EmbedError, match="text 5 is too long for openai/") as failure:
            client.embed(texts)
        assert failure.value.positions == (5,)
        assert isinstance(failure.value.__cause__, TooLongError)
        assert "halved" in caplog.text
        rows = stack_results(failure.value.responses, missing="none")
        assert rows == [None if text[0] == "x" else expected(text) for text in texts]

    def test_each_request_is_counted_though_it_was_refused(self, sandbox):
        client = embedder(sandbox)
        embed_parallel(["a", "x" * 4 * 8_193], SMALL, client=client)
        assert client.usage().attempts == len(sandbox.journal) == 3


class TestFailures:
    """What fails costs the rest nothing."""

    def test_a_failed_pack_costs_the_others_nothing(self, sandbox):
        sandbox.script([Fault("400", match="number 4", message="cannot")])
        with pytest.raises(EmbedError, match=r"1 of 10 texts have no vector.*cannot") as failure:
            embedder(sandbox).embed(TEXTS, batch_size=1)
        error = failure.value
        assert error.positions == (4,)
        good = [one for one in error.responses if not one.is_error]
        assert len(good) == 9
        assert all(one.cost for one in good)

    def test_one_text_that_a_server_refuses_costs_its_pack_nothing(self, sandbox):
        sandbox.script([Fault("400", match="poison", message="we do not like this", times=20)])
        texts = [*(f"text {number}" for number in range(250)), "poison", *TEXTS]
        with pytest.raises(EmbedError, match=r"1 of 261 .* text 250: .* not like this") as failure:
            embedder(sandbox).embed(texts)
        assert failure.value.positions == (250,)
        assert len(sandbox.journal) <= 2 + 2 * 8

    def test_what_is_wrong_with_all_requests_is_not_asked_for_each_text(self, sandbox):
        with pytest.raises(EmbedError, match=r"1000 of 1000 .*'dimensions'"):
            embedder(sandbox).embed([f"text {number}" for number in range(1000)], dimensions=4000)
        assert len(sandbox.journal) <= 4 + 2 * 8

    @pytest.mark.parametrize("kind", ["429", "503", "reset", "malformed", "truncated"])
    def test_what_may_pass_is_tried_again(self, sandbox, kind):
        sandbox.script([Fault(kind, retry_after=0.01 if kind == "429" else None)])
        client = embedder(sandbox)
        assert client.embed(["a"]) == [expected("a")]
        assert client.usage().attempts == 2
        assert sum(client.usage().retries.values()) == 1

    def test_an_error_that_stays_is_on_each_response(self, sandbox):
        sandbox.script([Fault("quota", times=2)])
        responses = embed_parallel(TEXTS, SMALL, client=embedder(sandbox), batch_size=5)
        assert [type(one.error) for one in responses] == [QuotaExhaustedError] * 2
        assert [one.indices for one in responses] == [
            tuple((position,) for position in range(begin, begin + 5)) for begin in (0, 5)
        ]
        with pytest.raises(EmbedError, match="10 of 10"):
            stack_results(responses)

    @pytest.mark.parametrize("bad", ["", 5, None, b"bytes", "\ud800"])
    @pytest.mark.parametrize("numpy", [False, True])
    def test_a_text_that_cannot_be_sent_costs_the_others_nothing(self, sandbox, bad, numpy):
        if numpy:
            pytest.importorskip("numpy")
        with pytest.raises(EmbedError, match="text 1 ") as failure:
            embedder(sandbox).embed(["a", bad, "b"], numpy=numpy)
        assert isinstance(failure.value.__cause__, PromptError)
        rows = stack_results(failure.value.responses, missing="none")
        assert rows == [expected("a"), None, expected("b")]

    def test_rows_that_are_missing_are_nan_in_a_matrix(self, sandbox):
        numpy = pytest.importorskip("numpy")
        responses = embed_parallel(["a", "", "b", ""], SMALL, client=embedder(sandbox))
        matrix = stack_results(responses, numpy=True, missing="none")
        assert numpy.isnan(matrix).all(axis=1).tolist() == [False, True, False, True]
        assert matrix[2].tolist() == expected("b")

    def test_vectors_of_differing_lengths_are_an_error_that_names_the_text(self, sandbox):
        store = MemoryStore()
        client = embedder(sandbox, cache=store)
        client.embed(["a"])
        (key,) = store_keys(sandbox, ["a"])
        store.put(key, packed(array("f", [1.0, 2.0])))
        with pytest.raises(EmbedError, match=r"the vector of text \d has \d+ numbers") as failure:
            client.embed(["a", "b"])
        assert isinstance(failure.value.__cause__, DecodeError)
        assert len(failure.value.positions) == 1

    def test_the_deadline_is_one_for_all(self):
        with Sandbox(delay=5.0) as sandbox:
            client = embedder(sandbox)
            with pytest.raises(EmbedError) as failure:
                client.embed(TEXTS, batch_size=1, timeout=0.2)
        assert isinstance(failure.value.__cause__, DeadlineExceededError)
        assert len(failure.value.positions) == 10

    def test_at_the_deadline_an_endless_source_is_read_no_further(self, sandbox):
        now = [0.0]

        def texts() -> Iterator[str]:
            for number in itertools.count():
                now[0] = float(number)
                yield f"text {number}"

        source = Texts(texts(), 3.0, clock=lambda: now[0])
        assert list(source) == ["text 0", "text 1", "text 2"]
        assert source.late
        client = embedder(sandbox)
        with pytest.raises(EmbedError, match="the time was up before it was read") as failure:
            client.embed(itertools.repeat("the same text"), timeout=0.1)
        assert isinstance(failure.value.__cause__, DeadlineExceededError)
        (last,) = embed_parallel(itertools.repeat("a"), client=client, timeout=0.1)[1:]
        assert isinstance(last.error, DeadlineExceededError)

    def test_texts_that_were_not_read_any_more_are_named_where_they_can_be_counted(self):
        arrived = threading.Event()
        with Sandbox(delay=30.0, on_request=lambda *_: arrived.set()) as sandbox:
            client = embedder(sandbox, max_concurrent_requests=1)
            closing = threading.Thread(target=lambda: (arrived.wait(10), client.close()))
            closing.start()
            with pytest.raises(EmbedError, match="100 of 100 texts") as failure:
                client.embed([f"text {number}" for number in range(100)], batch_size=1)
            closing.join()
        assert failure.value.positions == tuple(range(100))
        assert stack_results(failure.value.responses, missing="none") == [None] * 100

    def test_close_from_another_thread_cancels_and_keeps_what_came(self):
        arrived = threading.Event()

        def delay(question: Any) -> float:
            if "number 0" in question.prompt:
                return 0.0
            arrived.set()
            return 30.0

        with Sandbox(delay=delay) as sandbox:
            client = embedder(sandbox)
            closing = threading.Thread(target=lambda: (arrived.wait(10), client.close()))
            closing.start()
            with pytest.raises(EmbedError) as failure:
                client.embed(TEXTS, batch_size=1)
            closing.join()
        assert isinstance(failure.value.__cause__, CallCancelledError)

    def test_ctrl_c_ends_it_at_once(self):
        arrived = threading.Event()
        script = (
            "import sys\n"
            "from deluge_sync import Client\n"
            f"client = Client('{SMALL}', base_url=sys.argv[1], api_key='k')\n"
            "client.embed([str(number) for number in range(100)], batch_size=1)\n"
        )
        with Sandbox(delay=60.0, on_request=lambda *_: arrived.set()) as sandbox:
            process = start(sandbox, script)
            assert arrived.wait(30)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert errors.rstrip().endswith("KeyboardInterrupt")


class TestLimitsAndMoney:
    """Rates and budgets."""

    def test_tokens_are_counted_and_priced(self, sandbox):
        client = embedder(sandbox)
        responses = embed_parallel(TEXTS, SMALL, client=client, batch_size=5)
        tokens = sum(one.usage.input_tokens for one in responses)
        assert tokens == client.usage().input_tokens > 0
        assert client.usage().cost == pytest.approx(tokens * 0.02 / 1e6)
        assert client.usage().cost == pytest.approx(sum(one.cost for one in responses))

    def test_what_could_cost_too_much_is_not_sent(self, sandbox):
        client = embedder(sandbox)
        with pytest.raises(EmbedError) as failure:
            client.embed(["x" * 4000], max_cost=1e-6)
        assert isinstance(failure.value.__cause__, BudgetExceeded)
        assert not sandbox.journal

    def test_the_clients_max_cost_holds_for_all_calls_together(self, sandbox):
        client = embedder(sandbox, max_cost=190 * 0.02 / 1e6)
        client.embed(["x" * 100])  # 25 tokens, and at worst some 180
        with pytest.raises(EmbedError):
            client.embed(["y" * 100])
        assert len(sandbox.journal) == 1

    def test_a_budget_needs_a_price(self, sandbox):
        with pytest.raises(ConfigError, match="max_cost needs the price"):
            client_for(sandbox, max_cost=1.0).embed(["a"], model="custom/unknown")

    def test_limits_of_requests_hold(self):
        with Sandbox(requests_per_minute=600) as sandbox:
            client = embedder(sandbox, max_requests_per_minute=600)
            client.embed(TEXTS * 2, batch_size=1)
            assert not [record for record in sandbox.journal if record.status == 429]


def store_keys(sandbox: Sandbox, texts: list[str]) -> list[str]:
    """The keys that a client of `sandbox` looks these texts up with."""
    asked: list[str] = []

    class Spy(MemoryStore):
        def get_many(self, keys: Any) -> Any:
            asked.extend(keys)
            return {}

    embedder(sandbox, cache=Spy()).embed(texts)
    return asked


class TestCache:
    """One record for each text."""

    def test_each_text_is_kept_for_itself(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        client.embed(["a", "b"])
        vectors = client.embed(["b", "c", "a"])
        assert vectors == [expected(text) for text in "bca"]
        assert sent(sandbox) == [["a", "b"], ["c"]]
        assert (client.usage().prompts, client.usage().cached) == (5, 2)

    def test_what_the_cache_gave_is_one_response_of_its_own(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        client.embed(TEXTS)
        cached, fresh = embed_parallel([*TEXTS, "new"], SMALL, client=client)
        assert (cached.cached, cached.cost, cached.attempts) == (True, 0.0, 0)
        assert len(cached.vectors) == 10
        assert (fresh.cached, fresh.indices) == (False, ((10,),))
        assert stack_results([cached, fresh])[3] == expected(TEXTS[3])

    def test_misses_are_packed_together(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        client.embed(TEXTS)
        client.embed([text for pair in zip(TEXTS, "abcdefghij") for text in pair], batch_size=10)
        assert sent(sandbox)[1] == list("abcdefghij")

    def test_other_options_are_other_vectors(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        assert [len(client.embed(["a"], dimensions=size)[0]) for size in (8, 9)] == [8, 9]

    def test_without_use_cache_it_is_asked_anew(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        for use_cache in (True, False):
            client.embed(["a"], use_cache=use_cache)
        assert len(sandbox.journal) == 2

    def test_a_cache_on_disk_serves_another_client(self, sandbox, tmp_path):
        with embedder(sandbox, cache=tmp_path) as client:
            client.embed(TEXTS)
        with embedder(sandbox, cache=tmp_path) as client:
            assert client.embed(TEXTS) == [expected(text) for text in TEXTS]
        assert len(sandbox.journal) == 1

    @pytest.mark.parametrize(
        "record",
        [
            b"",
            MARK,
            MARK + b"\0\0\0",
            b"deluge-sync vector 2\0" + bytes(8),
            MARK + bytes.fromhex("0000c07f"),
            b'{"version": 1}',
        ],
    )
    def test_a_record_that_cannot_be_read_is_no_hit(self, sandbox, record, recwarn):
        (key,) = store_keys(sandbox, ["a"])
        store = MemoryStore()
        store.put(key, record)
        assert unpacked(record) is None
        assert embedder(sandbox, cache=store).embed(["a"]) == [expected("a")]
        assert unpacked(store.get(key)).tolist() == expected("a")

    def test_a_store_that_fails_costs_only_the_hit(self, sandbox, recwarn):
        class Broken(MemoryStore):
            def get_many(self, keys: Any) -> Any:
                raise OSError("no disk")

            def put(self, *given: Any, **options: Any) -> None:
                raise OSError("no disk")

        assert embedder(sandbox, cache=Broken()).embed(["a"]) == [expected("a")]

    def test_records_are_little_endian_floats_behind_a_mark(self):
        record = packed(array("f", [1.0, -2.0]))
        assert record == MARK + bytes.fromhex("0000803f000000c0")
        assert unpacked(record) == array("f", [1.0, -2.0])


class TestIterEmbed:
    """One by one."""

    def test_outcomes_come_in_order_with_their_errors(self, sandbox):
        sandbox.script([Fault("400", match="number 3")])
        given = [*TEXTS[:5], "", TEXTS[0]]
        got = list(embedder(sandbox).iter_embed(given, batch_size=1))
        assert [one.index for one in got] == list(range(7))
        assert [one.error is None for one in got] == [True, True, True, False, True, False, True]
        assert got[3].error.status == 400
        assert isinstance(got[5].error, PromptError)
        assert got[6].vector == embedding(TEXTS[0], 1536)

    def test_an_endless_source_is_read_no_further_than_the_window(self, sandbox):
        read = 0

        def numbers() -> Iterator[str]:
            nonlocal read
            for read in itertools.count(1):
                yield f"text {read}"

        client = embedder(sandbox, max_concurrent_requests=2)
        with_vectors = client.iter_embed(numbers(), batch_size=5, dimensions=4)
        for index, one in enumerate(itertools.islice(with_vectors, 200)):
            assert one.index == index
            assert read - index <= 2 * 2 * 5 + 5 + 5
        with_vectors.close()

    def test_repeated_texts_of_an_endless_source_are_forgotten(self, sandbox):
        client = embedder(sandbox, max_concurrent_requests=1)
        outcomes = client.iter_embed(itertools.cycle(TEXTS), batch_size=5, dimensions=4)
        for one in itertools.islice(outcomes, 20_000):
            assert one.vector is not None
        outcomes.close()
        assert one.vector == embedding(TEXTS[19_999 % 10], 4)

    def test_closing_it_cancels_what_is_under_way(self):
        with Sandbox(delay=lambda question: 0.0 if "0" in question.prompt else 60.0) as sandbox:
            outcomes = embedder(sandbox).iter_embed(TEXTS, batch_size=1)
            assert next(outcomes).index == 0
            outcomes.close()

    def test_what_the_source_raises_comes_out(self, sandbox):
        def source() -> Iterator[str]:
            yield "a"
            raise LookupError("the database is gone")

        with pytest.raises(LookupError):
            list(embedder(sandbox).iter_embed(source()))

    def test_hits_of_the_cache_come_too(self, sandbox):
        client = embedder(sandbox, cache=MemoryStore())
        client.embed(TEXTS[::2])
        got = list(client.iter_embed([*TEXTS, *TEXTS], batch_size=3))
        assert [one.vector.tolist() for one in got] == [expected(text) for text in TEXTS * 2]


class TestParallel:
    """Response by response."""

    def test_a_text_given_several_times_has_all_its_positions(self, sandbox):
        (response,) = embed_parallel(["a", "b", "a"], SMALL, client=embedder(sandbox))
        assert response.indices == ((0, 2), (1,))
        assert response.embeddings == [expected("a"), expected("b")]
        assert (response.model, response.attempts) == (f"openai/{SMALL}", 1)
        assert stack_results([response]) == [expected(text) for text in "aba"]
        assert len(repr(response)) < 500

    def test_it_makes_its_own_client_of_options(self, sandbox):
        responses = embed_parallel(["a"], base_url=sandbox.base_url, api_key="k", progress="none")
        assert stack_results(responses) == [expected("a")]
        with pytest.raises(ConfigError, match="a client or its options"):
            embed_parallel(["a"], client=embedder(sandbox), api_key="k")

    def test_the_model_is_that_of_the_client_where_none_is_named(self, sandbox):
        (response,) = embed_parallel(["a"], client=embedder(sandbox, "voyage/voyage-4"))
        assert (response.model, response.error) == ("voyage/voyage-4", None)
        with pytest.raises(ConfigError, match="is a model for chat"):
            embed_parallel(["a"], client=client_for(sandbox))

    @pytest.mark.parametrize("numpy", [False, True])
    def test_results_of_nothing_are_nothing(self, numpy):
        if numpy:
            pytest.importorskip("numpy")
        assert len(stack_results([], numpy=numpy)) == 0

    @pytest.mark.parametrize("numpy", [False, True])
    def test_a_response_that_was_left_out_leaves_a_gap_that_is_named(self, sandbox, numpy):
        if numpy:
            pytest.importorskip("numpy")
        first, _, *rest = embed_parallel(TEXTS, SMALL, client=embedder(sandbox), batch_size=2)
        with pytest.raises(EmbedError, match=r"2 of 10 texts .* text 2 is in no resp") as failure:
            stack_results([first, *rest], numpy=numpy)
        assert failure.value.positions == (2, 3)
        rows = stack_results([first, *rest], numpy=numpy, missing="none")
        assert [row is None or row[0] != row[0] for row in rows] == [
            position in (2, 3) for position in range(10)
        ]

    def test_responses_of_two_calls_are_not_taken_for_one(self, sandbox):
        client = embedder(sandbox)
        first, second = (embed_parallel([text], SMALL, client=client) for text in "ab")
        with pytest.raises(ConfigError, match="text 0 has two vectors"):
            stack_results(first + second)

    def test_errors_that_are_alike_are_told_of_once(self, sandbox):
        sandbox.script([Fault("quota", times=2)])
        with pytest.raises(EmbedError) as failure:
            embedder(sandbox).embed([*TEXTS, ""], batch_size=5)
        assert str(failure.value).count("429") == 1
        assert "text 10 is empty" in str(failure.value)

    def test_contextvars_reach_the_workers(self, sandbox):
        seen: list[str] = []
        name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

        class Spy(MemoryStore):
            def put(self, *given: Any, **options: Any) -> None:
                seen.append(name.get())

        name.set("mine")
        embedder(sandbox, cache=Spy()).embed(["a"])
        assert seen == ["mine"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_embeds_with_threads_of_its_own(self, sandbox):
        script = (
            "import os, sys\n"
            "from deluge_sync import Client\n"
            f"client = Client('{SMALL}', base_url=sys.argv[1], api_key='k')\n"
            "first = client.embed(['a'])\n"
            "pid = os.fork()\n"
            "if not pid:\n"
            "    os._exit(0 if client.embed(['a']) == first else 1)\n"
            "assert os.waitpid(pid, 0)[1] == 0\n"
            "assert client.embed(['a']) == first\n"
        )
        subprocess.run([sys.executable, "-c", script, sandbox.base_url], check=True, cwd=ROOT)


@pytest.mark.parametrize("places", [Lists, Matrix])
def test_places_take_vectors_in_any_order(places):
    if places is Matrix:
        pytest.importorskip("numpy")
    made = places()
    made.put([3], [array("f", [3, 3])])
    made.put([0, 1], [array("f", [0, 0]), array("f", [1, 1])])
    made.put([5, 9], [array("f", [5, 5]), array("f", [9, 9])])
    made.put([2, 4], [array("f", [2, 2]), array("f", [4, 4])])
    assert made.vector(9) == array("f", [9, 9])
    whole = made.whole(10, {0: [6, 8], 1: [7]}, 2)
    assert [list(row) for row in whole] == [[n, n] for n in (0, 1, 2, 3, 4, 5, 0, 1, 0, 9)]
