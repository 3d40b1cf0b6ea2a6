"""What a run would send, cost and take, without sending anything."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable
from typing import Any, Callable

import pytest

from deluge_sync import Client
from deluge_sync.estimate import FIRST_TOKEN, LOOKUPS, MOST_REASONS, TOKENS_A_SECOND
from deluge_sync.stores.base import Store
from deluge_sync.testing import Sandbox
from deluge_sync.tokens import count_tokens
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.prompt import Conversation

from .helpers import client_for

PROMPT = "Say hello to the people of the town."
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


class Kept(Store):
    """A store that keeps everything, and the numbers of keys it was asked for at once."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.asked: list[int] = []

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        keys = list(keys)
        self.asked.append(len(keys))
        return {key: self.records[key] for key in keys if key in self.records}

    def put(
        self, key: str, value: bytes, *, then: Callable[[], None] = lambda: None, **_: Any
    ) -> None:
        self.records[key] = value
        then()


def test_nothing_is_sent_and_no_key_is_needed(sandbox: Sandbox) -> None:
    estimate = Client("gpt-4.1-mini", base_url=sandbox.base_url).estimate([PROMPT] * 10)
    assert (estimate.prompts, estimate.bad, estimate.cached) == (10, 0, 0)
    assert sandbox.requests == 0


def test_no_server_is_started_for_a_model_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def launched(*_: Any) -> Any:
        raise AssertionError("a server was started")

    monkeypatch.setattr("deluge_sync.routes.launched_url", launched)
    assert Client("sandbox/echo").estimate([PROMPT]).cost[0] is not None


def test_tokens_and_cost_are_those_of_the_prompts_and_of_the_shortest_and_longest_answer() -> None:
    client = Client("gpt-4.1-mini")  # 0.4 and 1.6 dollars per million
    estimate = client.estimate([PROMPT] * 1_000, max_new_tokens=100)
    one = count_tokens(Conversation().user(PROMPT), client.models[0])
    assert estimate.input_tokens == 1_000 * one.tokens
    assert estimate.output_tokens == (1_000, 100_000)
    assert estimate.error == pytest.approx(one.error)
    low, high = estimate.cost
    assert low is not None
    assert high is not None
    assert low <= (1_000 * one.tokens * 0.4 + 1_000 * 1.6) / 1e6
    assert high >= (1_000 * one.tokens * 0.4 + 100_000 * 1.6) / 1e6
    assert estimate.dearest == pytest.approx(high)


def test_an_answer_without_a_bound_may_be_as_long_as_the_model_allows() -> None:
    client = Client("gpt-4.1-mini")
    longest = client.models[0].max_output_tokens
    assert client.estimate([PROMPT]).output_tokens == (1, longest)
    several = Client("gpt-4.1-mini", extra_body={"n": 3}).estimate([PROMPT], max_new_tokens=10)
    assert several.output_tokens == (1, 30)


def test_each_prompt_is_priced_by_its_own_length() -> None:
    """A thousand short prompts are no long one: the long tier begins at 272,000 tokens each."""
    client = Client("gpt-6.1-sol")
    short = client.estimate([PROMPT] * 100, max_new_tokens=1).cost[1]
    assert short is not None
    assert short < 100 * count_tokens(PROMPT, client.models[0]).tokens * 4 * 2.5 / 1e6


def test_bad_prompts_are_counted_and_the_first_few_explained() -> None:
    estimate = Client("gpt-4.1-mini").estimate(["", PROMPT, 5, *[""] * 20])
    assert (estimate.prompts, estimate.bad) == (23, 22)
    assert estimate.reasons[0] == "prompt 0: the prompt is empty"
    assert len(estimate.reasons) == MOST_REASONS
    assert "22 cannot be sent" in estimate.summary()


def test_what_is_in_the_cache_is_neither_sent_nor_paid(sandbox: Sandbox) -> None:
    client = client_for(sandbox, cache=Kept())
    prompts = [f"{PROMPT} {number}" for number in range(20)]
    client.map(prompts[:12], max_new_tokens=50)
    estimate = client.estimate(prompts, max_new_tokens=50)
    assert (estimate.prompts, estimate.cached) == (20, 12)
    assert estimate.output_tokens == (8, 400)
    assert client.estimate(prompts, max_new_tokens=50, use_cache=False).cached == 0
    assert client.estimate(prompts, max_new_tokens=50, cache_salt="2").cached == 0
    assert client.estimate(prompts, max_new_tokens=51).cached == 0
    assert sandbox.requests == 12


def test_what_is_in_the_cache_is_found_without_starting_the_sandbox() -> None:
    store = Kept()
    with Client("sandbox/echo", cache=store, progress="none") as client:
        client.map([PROMPT, PROMPT + "!"])
    assert Client("sandbox/echo", cache=store).estimate([PROMPT, "another"]).cached == 1


def test_the_cache_is_asked_for_many_prompts_at_once(sandbox: Sandbox) -> None:
    store = Kept()
    client_for(sandbox, cache=store).estimate(f"{PROMPT} {n}" for n in range(2 * LOOKUPS + 1))
    assert store.asked == [LOOKUPS, LOOKUPS, 1]


def test_without_a_key_the_cache_is_not_asked_unless_its_owner_is_named(sandbox: Sandbox) -> None:
    store = Kept()
    Client("gpt-4.1-mini", base_url=sandbox.base_url, cache=store).estimate([PROMPT])
    assert store.asked == []
    named = {"base_url": sandbox.base_url, "cache": store, "cache_owner": "us"}
    Client("gpt-4.1-mini", **named).estimate([PROMPT])
    assert store.asked == [1]


def test_a_model_without_a_price_has_no_cost() -> None:
    estimate = Client("openrouter/some/model").estimate([PROMPT], max_new_tokens=5)
    assert (estimate.cost, estimate.dearest) == ((None, None), None)
    assert "unknown" in estimate.summary()


def test_a_model_that_may_answer_at_any_length_has_no_high_end() -> None:
    config = {"models": {"openai/mine": {"prices": {"input": 1, "output": 2}}}}
    estimate = Client("openai/mine", config=config).estimate([PROMPT])
    assert (estimate.output_tokens[1], estimate.cost[1], estimate.seconds[1]) == (None,) * 3
    assert estimate.cost[0] is not None
    assert "at least" in estimate.summary()


def test_several_models_are_weighed_and_the_dearest_is_named() -> None:
    names = ["gpt-4.1-mini", "gpt-4.1"]
    both = Client(names, model_weights=[3, 1]).estimate([PROMPT] * 8, max_new_tokens=9)
    cheap, dear = (Client(name).estimate([PROMPT] * 8, max_new_tokens=9) for name in names)
    for end in (0, 1):
        expected = 0.75 * (cheap.cost[end] or 0) + 0.25 * (dear.cost[end] or 0)
        assert both.cost[end] == pytest.approx(expected)
    assert both.dearest == dear.cost[1]
    assert "if the dearest model answered all" in both.summary()


def test_a_model_that_is_never_drawn_costs_nothing() -> None:
    names = ["gpt-4.1-mini", "openrouter/some/model"]
    estimate = Client(names, model_weights=[1, 0]).estimate([PROMPT], max_new_tokens=9)
    assert estimate.cost == Client("gpt-4.1-mini").estimate([PROMPT], max_new_tokens=9).cost


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"max_requests_per_minute": 60}, 600.0),
        ({"max_requests_per_minute": 6_000, "max_concurrent_requests": 1_000}, 6.0),
        (
            {"max_requests_per_minute": None, "max_concurrent_requests": 10},
            60 * (FIRST_TOKEN + 1 / TOKENS_A_SECOND),
        ),
    ],
)
def test_it_takes_as_long_as_the_narrowest_limit_says(
    limits: dict[str, Any], seconds: float
) -> None:
    client = Client("gpt-4.1-mini", max_tokens_per_minute=None, **limits)
    estimate = client.estimate([PROMPT] * 600, max_new_tokens=1)
    assert estimate.seconds == pytest.approx((seconds, seconds))


def test_the_limit_of_tokens_counts_what_is_read_and_written() -> None:
    client = Client("gpt-4.1-mini", max_requests_per_minute=None, max_tokens_per_minute=1_000)
    estimate = client.estimate([PROMPT] * 600, max_new_tokens=100)
    low, high = ((estimate.input_tokens + 600 * each) / 1_000 * 60 for each in (1, 100))
    assert estimate.seconds == pytest.approx((low, high))


def test_a_provider_with_limits_of_its_own_is_waited_for() -> None:
    config = {"providers": {"openai": {"requests_per_minute": 30}}}
    client = Client("gpt-4.1-mini", config=config, max_tokens_per_minute=None)
    assert client.estimate([PROMPT] * 60, max_new_tokens=1).seconds[0] == pytest.approx(120)


def test_the_summary_says_all_of_it_in_a_few_lines() -> None:
    text = Client("gpt-4.1-mini").estimate([PROMPT] * 2_000, max_new_tokens=50).summary()
    assert len(text.splitlines()) == 5
    for words in ("2,000 to send", "tokens", "$", "duration", "within"):
        assert words in text


def test_no_prompts_cost_nothing() -> None:
    estimate = Client("gpt-4.1-mini").estimate([])
    assert (estimate.cost, estimate.seconds, estimate.input_tokens) == ((0, 0), (0, 0), 0)
    assert estimate.summary()


def test_memory_stays_flat_however_many_prompts_there_are() -> None:
    client = Client("gpt-4.1-mini")
    client.estimate([PROMPT])
    tracemalloc.start()
    try:
        client.estimate("x" * 2_000 for _ in range(2_000))
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        client.estimate("x" * 2_000 for _ in range(8_000))
        assert tracemalloc.get_traced_memory()[1] < 2 * first
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prompts", ["one", b"one", {"role": "user"}, Conversation().user("x"), 5])
def test_one_prompt_is_refused(prompts: Any) -> None:
    with pytest.raises(PromptError, match="estimate takes many prompts"):
        Client("gpt-4.1-mini").estimate(prompts)


def test_an_unknown_sampling_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="temprature"):
        Client("gpt-4.1-mini").estimate([PROMPT], temprature=0)


def test_an_error_of_the_source_is_raised() -> None:
    def broken() -> Any:
        yield PROMPT
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Client("gpt-4.1-mini").estimate(itertools.chain(broken()))
