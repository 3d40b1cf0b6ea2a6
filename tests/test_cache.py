"""The cache: what its keys tell apart, what a hit costs, and one call for many who ask."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
import requests

from deluge_sync import (
    Client,
    ConfigError,
    Conversation,
    DeadlineExceededError,
    DelugeWarning,
    Message,
    RefusalError,
    Response,
    ToolCall,
    TransientError,
    Usage,
    notices,
)
from deluge_sync.cache import _answer, _record
from deluge_sync.stores.base import Store
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.values.response import Answer

from .helpers import client_for

MODELS = ["gpt-4.1-mini", "claude-haiku-4-5", "gemini-3.5-flash"]


class DictStore(Store):
    """A store of somebody's own, with no more than it must have."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.tags: dict[str, tuple[str, ...]] = {}
        self.gets: list[list[str]] = []

    def get(self, key: str) -> bytes | None:
        return self.rows.get(key)

    def get_many(self, keys: Any) -> Mapping[str, bytes]:
        self.gets.append(list(keys))
        return super().get_many(self.gets[-1])

    def put(
        self,
        key: str,
        value: bytes,
        *,
        tags: tuple[str, ...] = (),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self.rows[key] = value
        self.tags[key] = tags
        then()


class BrokenStore(Store):
    """A store that fails at everything."""

    def get(self, key: str) -> bytes | None:
        raise OSError("the disk is gone")

    def put(self, key: str, value: bytes, **_: Any) -> None:
        raise OSError("the disk is gone")

    def claim(self, key: str) -> bool:
        raise OSError("the disk is gone")


@pytest.fixture
def store() -> DictStore:
    return DictStore()


@pytest.fixture(autouse=True)
def tell_again() -> Iterator[None]:
    yield
    notices._told.clear()


# Hits


@pytest.mark.parametrize("model", MODELS)
def test_the_second_answer_is_the_first_one_for_nothing(
    sandbox: Sandbox, store: DictStore, model: str
) -> None:
    client = client_for(sandbox, model, cache=store)
    first, second = client.complete("hello"), client.complete("hello")
    assert sandbox.requests == 1
    assert not first.cached
    assert second.cached
    assert (second.cost, second.saved_cost) == (0.0, first.cost)
    assert (second.attempts, second.latency) == (0, None)
    for fact in ("completion", "content", "usage", "finish_reason", "model"):
        assert getattr(second, fact) == getattr(first, fact)


def test_every_entry_point_finds_what_another_kept(sandbox: Sandbox, store: DictStore) -> None:
    client = client_for(sandbox, cache=store)
    client.complete("hello")
    replies = [
        client.submit("hello").result(),
        *client.map(["hello"]),
        *client.imap(iter(["hello"])),
        *client.imap(["hello"], ordered=False),
    ]
    assert sandbox.requests == 1
    assert all(reply.cached and reply.completion == "hello" for reply in replies)


def test_hits_need_no_limit_and_no_thread(sandbox: Sandbox, store: DictStore) -> None:
    prompts = [f"prompt {number}" for number in range(180)]
    client_for(sandbox, cache=store).map(prompts)
    late = client_for(sandbox, cache=store, max_requests_per_minute=2)
    sandbox.close()
    threads = threading.active_count()
    replies = late.map(prompts)
    assert [reply.completion for reply in replies] == prompts
    assert threading.active_count() <= threads
    report = late.usage()
    assert (report.cached, report.attempts, report.cost, report.input_tokens) == (180, 0, 0, 0)
    assert report.saved_cost > 0


def test_a_map_over_a_list_looks_many_up_at_once(sandbox: Sandbox, store: DictStore) -> None:
    prompts = [f"prompt {number}" for number in range(300)]
    client = client_for(sandbox, cache=store, max_concurrent_requests=100)
    client.map(prompts)
    store.gets.clear()
    client.map(prompts)
    assert len(store.gets) < 10


def test_a_slow_source_is_not_waited_for_by_what_was_read(
    sandbox: Sandbox, store: DictStore
) -> None:
    gate = threading.Event()

    def source() -> Iterator[str]:
        yield "first"
        assert gate.wait(10)  # opened by the first answer: it must not wait for the second prompt
        yield "second"

    def opening(reply: Any) -> Any:
        gate.set()
        return reply

    client = client_for(sandbox, cache=store, postprocess=opening)
    assert client.map(source(), return_completions_only=True) == ["first", "second"]


def test_hits_and_misses_come_back_in_order(sandbox: Sandbox, store: DictStore) -> None:
    prompts = [f"prompt {number}" for number in range(200)]
    client = client_for(sandbox, cache=store)
    client.map(prompts[::3])
    replies = client.map(prompts)
    assert [reply.completion for reply in replies] == prompts
    assert [reply.cached for reply in replies] == [number % 3 == 0 for number in range(200)]
    assert sandbox.requests == 200


def test_postprocess_sees_a_hit_once_and_its_outcome_is_not_kept(
    sandbox: Sandbox, store: DictStore
) -> None:
    seen = []

    def shout(reply: Any) -> Any:
        seen.append(reply.cached)
        return reply.replace(content=None)

    client = client_for(sandbox, cache=store, postprocess=shout)
    client.complete("hello")
    assert client.complete("hello").completion is None
    assert seen == [False, True]
    assert client_for(sandbox, cache=store).complete("hello").completion == "hello"


def test_tags_name_the_model_and_the_run(sandbox: Sandbox, store: DictStore) -> None:
    client_for(sandbox, cache=store, name="nightly").complete("hello")
    assert list(store.tags.values()) == [("run:nightly", "model:openai/gpt-4.1-mini")]


# What is not kept


def test_without_use_cache_nothing_is_found_or_kept(sandbox: Sandbox, store: DictStore) -> None:
    client = client_for(sandbox, cache=store)
    assert not client.complete("hello", use_cache=False).cached
    assert not store.rows
    client.complete("hello")
    assert not client.map(["hello"], use_cache=False)[0].cached
    assert not client.submit("hello", use_cache=False).result().cached
    assert sandbox.requests == 4


def test_a_salt_asks_for_another_sample_and_keeps_it(sandbox: Sandbox, store: DictStore) -> None:
    client = client_for(sandbox, cache=store)
    for salt in ("", "1", "2", "1", "2"):
        client.complete("hello", cache_salt=salt)
    assert sandbox.requests == 3


@pytest.mark.parametrize(
    "reply",
    [Reply("cut of", finish="length"), Reply("I would rather not.", finish="refusal")],
    ids=["cut short", "refused"],
)
def test_only_complete_answers_are_kept_unless_asked(store: DictStore, reply: Reply) -> None:
    with Sandbox(answer=reply) as sandbox:
        for incomplete, requests in ((False, 2), (True, 3)):
            client = client_for(sandbox, cache=store, cache_incomplete=incomplete)
            first, second = (client.map(["hello"])[0] for _ in range(2))
            assert sandbox.requests == requests
            assert second.cached is incomplete
            assert first.finish_reason == second.finish_reason
            assert type(first.error) is type(second.error)


def test_a_refusal_out_of_the_cache_is_a_refusal_with_its_own_response(store: DictStore) -> None:
    with Sandbox(answer=Reply("I would rather not.", finish="refusal")) as sandbox:
        client = client_for(sandbox, cache=store, cache_incomplete=True)
        replies = [client.map(["hello"])[0] for _ in range(2)]
    for reply in replies:
        assert isinstance(reply.error, RefusalError)
        assert reply.error.response is reply
        assert "rather not" in str(reply.error)


def test_a_failed_call_is_not_kept(sandbox: Sandbox, store: DictStore) -> None:
    sandbox.script([Fault("503")])
    client = client_for(sandbox, cache=store, max_attempts=1)
    with pytest.raises(TransientError):
        client.complete("hello")
    assert client.complete("hello").completion == "hello"


# Trouble with the store


def test_a_broken_store_costs_a_warning_and_no_call(sandbox: Sandbox) -> None:
    client = client_for(sandbox, cache=BrokenStore())
    with pytest.warns(DelugeWarning, match="without the cache: the disk is gone") as told:
        replies = client.map([f"prompt {number}" for number in range(20)])
    assert not any(reply.is_error for reply in replies)
    assert len(told) == 1


def test_warnings_made_errors_do_not_fail_a_call(sandbox: Sandbox) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client_for(sandbox, cache=BrokenStore()).complete("hello").completion == "hello"


@pytest.mark.parametrize(
    "record",
    [b"", b"{", b"[]", b"null", b'{"version":0}', b'{"version":1}', b'{"version":1,"answer":[]}',
     b'{"version":1,"answer":{"content":{"role":"assistant","parts":[3]},"usage":[],'
     b'"finish_reason":"stop","response_id":null}}', b"\xff\xfe", b"[" * 100_000],
    ids=range(10),
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_a_miss_with_a_warning(
    sandbox: Sandbox, store: DictStore, record: bytes
) -> None:
    client = client_for(sandbox, cache=store)
    client.complete("hello")
    store.rows = dict.fromkeys(store.rows, record)
    with pytest.warns(DelugeWarning, match="cannot be read"):
        reply = client.complete("hello")
    assert reply.completion == "hello"
    assert not reply.cached
    assert client.complete("hello").cached


@pytest.mark.parametrize("cache", [3, 0.5, b"folder", [], ["folder"], "", "  ", object()])
def test_a_cache_that_is_none_is_a_clear_error(cache: Any) -> None:
    with pytest.raises(ConfigError, match="cache must be"):
        Client("gpt-4.1-mini", cache=cache)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache_owner": 3}, "cache_owner must be a string"),
        ({"cache_incomplete": "yes"}, "cache_incomplete must be True or False"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Client("gpt-4.1-mini", **options)


def test_a_salt_that_is_no_string_is_named(sandbox: Sandbox, store: DictStore) -> None:
    with pytest.raises(ConfigError, match="cache_salt must be a string"):
        client_for(sandbox, cache=store).complete("hello", cache_salt=3)  # type: ignore[arg-type]


def test_records_are_plain_json_without_the_prompt_or_the_key(store: DictStore) -> None:
    with Sandbox(answer="a plain answer") as sandbox:
        client_for(sandbox, cache=store).complete("a very private question")
    (record,) = store.rows.values()
    assert "a plain answer" in json.dumps(json.loads(record))
    assert b"private" not in record
    assert b"sk-secret" not in record


def test_an_answer_with_half_a_surrogate_pair_is_kept() -> None:
    message = Message("assistant", (ToolCall("id", "tool", {"half": "\ud83d"}),))
    answer = Answer(message, Usage(1, 1), "tool_calls")
    assert _answer(_record(answer)) == answer


def test_who_asked_for_complete_answers_only_gets_no_others(store: DictStore) -> None:
    with Sandbox(answer=Reply("cut of", finish="length")) as sandbox:
        client_for(sandbox, cache=store, cache_incomplete=True).complete("hello")
        assert not client_for(sandbox, cache=store).complete("hello").cached


def test_a_session_of_ones_own_needs_an_owner(store: DictStore) -> None:
    with pytest.raises(ConfigError, match="needs cache_owner"):
        Client("gpt-4.1-mini", session=requests.Session(), cache=store)
    Client("gpt-4.1-mini", session=requests.Session(), cache=store, cache_owner="me")


def test_rows_keep_their_place_whatever_postprocess_gives(
    sandbox: Sandbox, store: DictStore
) -> None:
    client = client_for(sandbox, postprocess=lambda reply: Response("m", content=reply.content))
    assert [reply.completion for reply in client.map(list("abc"))] == list("abc")


def test_rows_that_wait_for_the_same_request_time_out_with_it(store: DictStore) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("black_hole", times=9)])
        replies = client_for(sandbox, cache=store).map(["same"] * 6, timeout=0.5)
        assert all(isinstance(reply.error, DeadlineExceededError) for reply in replies)
        assert sandbox.requests == 1


def test_what_the_server_refuses_once_is_not_queued_for(store: DictStore) -> None:
    with Sandbox(delay=0.05) as sandbox:
        sandbox.script([Fault("400", times=20)])
        replies = client_for(sandbox, cache=store).map(["same"] * 20)
        assert sandbox.requests == 20
    assert all(reply.is_error for reply in replies)


# Single flight


def test_identical_prompts_of_one_map_make_one_call(store: DictStore) -> None:
    with Sandbox(delay=0.05) as sandbox:
        replies = client_for(sandbox, cache=store).map(["same"] * 100)
        assert sandbox.requests == 1
    assert all(reply.completion == "same" for reply in replies)
    assert sum(not reply.cached for reply in replies) == 1
    assert sum(reply.cost or 0 for reply in replies) == pytest.approx(
        max(reply.saved_cost or 0 for reply in replies)
    )


def test_identical_prompts_of_many_threads_and_clients_make_one_call(store: DictStore) -> None:
    with Sandbox(delay=0.1) as sandbox:
        clients = [client_for(sandbox, cache=store) for _ in range(5)]
        barrier = threading.Barrier(50)

        def ask(number: int) -> str | None:
            barrier.wait()
            return clients[number % 5].complete("same").completion

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(ask, range(50))) == {"same"}
        assert sandbox.requests == 1


def test_without_a_cache_every_prompt_is_a_call(sandbox: Sandbox) -> None:
    client_for(sandbox).map(["same"] * 20)
    assert sandbox.requests == 20


def test_when_the_one_that_calls_fails_the_next_takes_over(store: DictStore) -> None:
    with Sandbox(delay=0.05) as sandbox:
        sandbox.script([Fault("503", times=2)])
        replies = client_for(sandbox, cache=store, max_attempts=1).map(["same"] * 20)
        assert sandbox.requests == 3
    assert sum(reply.is_error for reply in replies) == 2
    assert sum(reply.completion == "same" for reply in replies) == 18


def test_who_waits_for_another_call_keeps_to_the_own_deadline(store: DictStore) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("black_hole")])
        client = client_for(sandbox, cache=store)
        first = client.submit("same", timeout=3)
        sandbox.wait_for(1)
        with pytest.raises(DeadlineExceededError):
            client.complete("same", timeout=0.2)
        assert not first.done()
        client.close()


def test_who_waits_for_another_call_can_be_cancelled(store: DictStore) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("black_hole")])
        first, second = (client_for(sandbox, cache=store) for _ in range(2))
        leading = first.submit("same")
        sandbox.wait_for(1)
        waiting = second.submit("same")
        second.close()
        assert waiting.exception(timeout=5) is not None
        assert not leading.done()
        first.close()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 7.0},
        {"request_timeout": 7.0},
        {"max_attempts": 2},
        {"name": "another"},
        {"max_concurrent_requests": 3},
        {"max_requests_per_minute": 7_000},
        {"max_cost": 5.0},
        {"postprocess": lambda reply: reply},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_does_not_change_the_answer_does_not_change_the_key(
    sandbox: Sandbox, store: DictStore, options: dict[str, Any]
) -> None:
    client_for(sandbox, cache=store).complete("same", max_new_tokens=50)
    reply = client_for(sandbox, cache=store, **options).complete("same", max_new_tokens=50)
    assert reply.cached


def test_different_owners_never_share(sandbox: Sandbox, store: DictStore) -> None:
    for key in ("sk-one", "sk-two"):
        Client("gpt-4.1-mini", api_key=key, base_url=sandbox.base_url, cache=store).complete("same")
    assert sandbox.requests == 2


def test_a_named_owner_outlives_the_key(sandbox: Sandbox, store: DictStore) -> None:
    for key in ("sk-one", "sk-two"):
        Client(
            "gpt-4.1-mini",
            api_key=key,
            base_url=sandbox.base_url,
            cache=store,
            cache_owner="team a",
        ).complete("same")
    assert sandbox.requests == 1


def test_a_conversation_and_its_list_of_dicts_are_the_same_request(
    sandbox: Sandbox, store: DictStore
) -> None:
    client = client_for(sandbox, cache=store)
    client.complete(Conversation().system("Be brief.").user("hello"))
    reply = client.complete(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    )
    assert reply.cached
