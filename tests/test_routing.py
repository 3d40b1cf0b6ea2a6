"""Several models in one client: who is asked, who takes over, and what the response says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import (
    AuthError,
    BadRequestError,
    CallCancelledError,
    Client,
    ConfigError,
    Conversation,
    DeadlineExceededError,
    DelugeWarning,
    NotFoundError,
    PromptError,
    RefusalError,
    Response,
    TooLongError,
)
from deluge_sync import background as background_module
from deluge_sync.call import Call
from deluge_sync.engine.breaker import Breaker
from deluge_sync.failover import EFFECTS
from deluge_sync.testing import Fault, Question, Reply, Sandbox
from deluge_sync.values import errors
from deluge_sync.values.tool import ComputerTool

from .helpers import UNLIMITED
from .test_lane import FakeClock

WITH_TOOLS = {"a": {"supports": ["tools"]}, "b": {"supports": ["tools"]}}


def look() -> str:
    """A tool."""
    return "seen"


@pytest.fixture
def pair() -> Iterator[tuple[Sandbox, Sandbox]]:
    with Sandbox() as first, Sandbox() as second:
        yield first, second


def client_of(
    pair: tuple[Sandbox, Sandbox],
    models: Any = None,
    adapter: str = "openai_chat",
    **options: Any,
) -> Client:
    """A client of the models "a" and "b", each at a server of its own."""
    servers = dict(zip("ab", pair))
    options.setdefault("model_weights", "fallback")
    options.setdefault("max_requests_per_minute", UNLIMITED)
    options.setdefault("max_tokens_per_minute", UNLIMITED)
    config = {
        "providers": {
            name: {"adapter": adapter, "base_url": server.base_url, "key_env": []}
            for name, server in servers.items()
        },
        "models": {
            name: {"id": name, "provider": name, **(models or {}).get(name, {})} for name in servers
        },
    }
    return Client(["a", "b"], config=config, progress="none", max_concurrent_requests=8, **options)


def way(response: Response) -> list[tuple[str, str]]:
    return [(step.model[0], step.outcome) for step in response.route]


def give_clock(client: Client, name: str) -> FakeClock:
    """A clock of our own for that model's breaker."""
    clock = FakeClock()
    lane = client._workers().routes.to(client._workers().routes.preferred(name)).lanes[-1]  # type: ignore[arg-type]
    lane._breakers[name] = Breaker(clock=clock, uniform=lambda low, high: high)
    return clock


@pytest.mark.parametrize("fault", ["401", "403", "404", "quota", "429", "500", "503", "reset"])
def test_a_call_that_one_model_fails_is_answered_by_the_next(
    pair: tuple[Sandbox, Sandbox], fault: str
) -> None:
    client = client_of(pair)
    pair[0].script([fault])
    response = client.complete("hello")
    assert response.model == "b/b"
    assert [model for model, _ in way(response)] == ["a", "b"]
    assert way(response)[-1] == ("b", "answered")
    assert response.attempts == 2 == pair[0].requests + pair[1].requests
    assert sum(client.usage().retries.values()) == 1


@pytest.mark.parametrize("fault", ["400", "422"])
def test_what_no_model_would_mend_stays_where_it_is(
    pair: tuple[Sandbox, Sandbox], fault: str
) -> None:
    client = client_of(pair)
    pair[0].script([fault])
    with pytest.raises(BadRequestError) as caught:
        client.complete("hello")
    assert pair[1].requests == 0
    assert way(caught.value.response) == [("a", "bad_request")]
    assert client.complete("again").model == "a/a"


def test_a_prompt_that_is_bad_costs_the_others_nothing(pair: tuple[Sandbox, Sandbox]) -> None:
    pair[0].script([Fault("400", match="bad", times=20)])
    responses = client_of(pair).map(["bad"] * 20 + ["good"] * 20)
    assert [response.is_error for response in responses] == [True] * 20 + [False] * 20
    assert {response.model for response in responses} == {"a/a"}


def test_the_last_model_left_gets_all_its_attempts(pair: tuple[Sandbox, Sandbox]) -> None:
    pair[0].script(["401"])
    pair[1].script(["500", "500"])
    response = client_of(pair).complete("hello")
    assert way(response) == [("a", "auth"), ("b", "answered")]
    assert response.attempts == 4


def test_who_was_left_at_its_first_failure_is_asked_again_when_nobody_else_is_left(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    pair[0].script(["500"])
    pair[1].script(["401"])
    response = client_of(pair).complete("hello")
    assert way(response) == [("a", "transient"), ("b", "auth"), ("a", "answered")]


def test_where_all_fail_the_error_says_where_the_call_has_been(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    for server in pair:
        server.script(["401"])
    with pytest.raises(AuthError) as caught:
        client_of(pair).complete("hello")
    assert way(caught.value.response) == [("a", "auth"), ("b", "auth")]


def test_an_account_that_refused_is_passed_over_until_a_probe_finds_it_well(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    clock = give_clock(client, "a")
    pair[0].script(["401", "401"])
    for _ in range(5):
        assert client.complete("hello").model == "b/b"
    assert pair[0].requests == 1
    clock.now += 100
    assert way(client.complete("probe")) == [("a", "auth"), ("b", "answered")]
    assert client.complete("hello").model == "b/b"
    clock.now += 100
    assert client.complete("probe").model == "a/a"
    assert client.complete("hello").model == "a/a"


@pytest.mark.parametrize("fault", ["404", "401"])
def test_a_model_that_is_passed_over_leaves_those_that_share_its_limits_alone(
    pair: tuple[Sandbox, Sandbox], fault: str
) -> None:
    group = {"provider": "a", "limit_group": "all"}
    client = client_of(pair, {"a": group, "b": group})
    lanes = [client._workers().routes.to(model).lanes[-1] for model in client.models]
    assert lanes[0] is lanes[1]
    clock = give_clock(client, "a")
    pair[0].script([fault])
    assert [client.complete("hello").model for _ in range(3)] == ["a/b"] * 3
    assert pair[0].requests == 4
    clock.now += 100
    assert client.complete("probe").model == "a/a"


def test_while_all_are_shut_calls_are_tried_all_the_same(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair)
    for server in pair:
        server.script(["401"])
    with pytest.raises(AuthError):
        client.complete("hello")
    assert client.complete("hello").completion == "hello"


@pytest.mark.parametrize(("fault", "kind"), [("404", "not_found"), ("403", "auth")])
def test_what_one_prompt_names_and_does_not_exist_shuts_no_account(
    pair: tuple[Sandbox, Sandbox], fault: str, kind: str
) -> None:
    client = client_of(pair, {name: {"supports": ["pdf"]} for name in "ab"})
    lane = client._workers().routes.draw().lanes[-1]
    prompt = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    pair[0].script([fault])
    assert way(client.map([prompt])[0])[0] == ("a", kind)
    assert not lane.breaker("a").is_open
    assert client.complete("hello").model == "a/a"


def test_a_named_model_is_asked_first_and_the_others_still_take_over(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    assert client.complete("hello", prefer_model="b").model == "b/b"
    pair[1].script(["500"])
    assert client.complete("hello", prefer_model="b/b").model == "a/a"


def test_a_preferred_model_that_the_client_lacks_is_named_with_those_it_has(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    with pytest.raises(ConfigError, match=r"a, b, not 'c'"):
        client_of(pair).complete("hello", prefer_model="c")


def test_a_conversation_stays_with_the_model_that_answered_last(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    first = client.complete("hello", prefer_model="b")
    talk = Conversation().user("hello").with_response(first).user("go on")
    assert client.complete(talk, prefer_model="last").model == "b/b"
    assert client.complete("new", prefer_model="last").model == "a/a"


def test_a_stream_moves_on_while_nothing_was_given_out(pair: tuple[Sandbox, Sandbox]) -> None:
    pair[0].script(["500"])
    *texts, response = client_of(pair).stream_chat("one two three")
    assert "".join(texts) == "one two three"
    assert way(response) == [("a", "transient"), ("b", "answered")]


def test_a_stream_that_has_begun_does_not_move(pair: tuple[Sandbox, Sandbox]) -> None:
    pair[0].script([Fault("stream_reset", after=3)])
    pieces = client_of(pair).stream_chat("one two three four five")
    assert next(pieces)
    with pytest.raises(errors.CallError) as caught:
        list(pieces)
    assert pair[1].requests == 0
    assert way(caught.value.response) == [("a", "connection")]


def test_an_answer_is_kept_under_the_model_that_gave_it(
    pair: tuple[Sandbox, Sandbox], tmp_path: Any
) -> None:
    client = client_of(pair, cache=str(tmp_path))
    pair[0].script(["500"])
    assert client.complete("hello").model == "b/b"
    hit = client.complete("hello")
    assert (hit.model, hit.cached, way(hit)) == ("b/b", True, [("b", "answered")])
    assert (pair[0].requests, pair[1].requests) == (1, 1)
    assert [r.cached for r in client.map(["hello", "other"])] == [True, False]


def test_a_model_that_cannot_be_asked_this_is_left_out(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair, {"b": {"supports": ["vision"]}})
    picture = Conversation().user("what is it?").add(_picture())
    assert {client.complete(picture).model for _ in range(3)} == {"b/b"}
    assert client.complete("hello").model == "a/a"


def test_a_call_that_no_model_can_be_asked_says_what_each_lacks(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    with pytest.raises(PromptError) as caught:
        client.complete(Conversation().user("what is it?").add(_picture()))
    for words in ("a/a", "b/b", "vision is supported by none of them, but by openai/gpt-"):
        assert words in str(caught.value)


def test_a_computer_that_no_model_can_use_is_named_with_models_that_can(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair, WITH_TOOLS)
    with pytest.warns(DelugeWarning), pytest.raises(ConfigError) as caught:
        client.complete("hello", tools=[ComputerTool()])
    text = str(caught.value)
    assert "computer_use is supported by none of them, but by openai/gpt-" in text
    assert "tools is supported" not in text  # all have that: it is not what they lack
    assert "a/a: a/a" not in text


@pytest.mark.parametrize("weights", ["uniform", "dynamic"])
def test_a_loop_stays_with_the_model_that_asked_for_the_tools(weights: str) -> None:
    def answer(question: Question) -> Reply:
        return Reply("", tool_calls=[("look", {})]) if len(question.turns) < 21 else Reply("done")

    with Sandbox(answer=answer) as one, Sandbox(answer=answer) as other:
        client = client_of((one, other), WITH_TOOLS, model_weights=weights)
        rounds: list[str] = []
        client.run_agent_loop(
            "hello",
            tools=[look],
            max_rounds=11,
            on_round=lambda told: rounds.append(told.response.model),
        )
    assert len(rounds) == 11
    assert len(set(rounds)) == 1


def test_a_loop_goes_on_at_another_model_where_its_own_fails(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair, WITH_TOOLS)
    pair[0].script([None, "401"])
    prompt = "[[sandbox:call look {}]]"
    rounds: list[str] = []
    client.run_agent_loop(
        prompt, tools=[look], max_rounds=3, on_round=lambda told: rounds.append(told.response.model)
    )
    assert rounds == ["a/a", "b/b", "b/b"]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1])
def test_a_weight_is_a_finite_number_of_at_least_nothing(
    pair: tuple[Sandbox, Sandbox], weight: float
) -> None:
    with pytest.raises(ConfigError, match="model_weights"):
        client_of(pair, model_weights=[1, weight])


def test_by_weights_each_model_gets_its_share(pair: tuple[Sandbox, Sandbox]) -> None:
    responses = client_of(pair, model_weights=[3, 1]).map(["hello"] * 400)
    share = Counter(response.model for response in responses)
    assert 240 < share["a/a"] < 360


def test_a_model_of_weight_nothing_is_asked_only_in_need(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair, model_weights=[1, 0])
    assert {r.model for r in client.map(["hello"] * 50)} == {"a/a"}
    pair[0].script(["401"])
    assert client.complete("hello").model == "b/b"


def test_the_errors_that_move_a_call_are_kinds_that_there_are() -> None:
    kinds = {getattr(error, "kind", "") for error in vars(errors).values()}
    assert set(EFFECTS) <= kinds
    assert not EFFECTS["bad_request"].moves
    assert not EFFECTS[RefusalError.kind].moves


def test_one_model_has_no_route_to_tell(sandbox: Sandbox) -> None:
    client = Client("gpt-4.1-mini", base_url=sandbox.base_url, api_key="k", progress="none")
    assert client.complete("hello").route == ()


# Limits, money and time


LIMITED = """
providers:
  small: {{adapter: openai_chat, base_url: "{0}", key_env: [], requests_per_minute: 600}}
  large: {{adapter: openai_chat, base_url: "{1}", key_env: [], requests_per_minute: 1200}}
models:
  small: {{id: small, provider: small}}
  large: {{id: large, provider: large}}
client:
  model_names: [small, large]
  model_weights: dynamic
  max_tokens_per_minute: 1000000000
  progress: none
"""


def test_dynamic_takes_from_two_providers_as_much_as_the_limits_in_their_yaml_give(
    tmp_path: Path,
) -> None:
    with Sandbox(requests_per_minute=600) as small, Sandbox(requests_per_minute=1_200) as large:
        (tmp_path / "config.yaml").write_text(LIMITED.format(small.base_url, large.base_url))
        client = Client.from_yaml(tmp_path / "config.yaml")
        prompts = [f"prompt {number}" for number in range(75)]
        responses = client.map(prompts, max_new_tokens=16)
        assert [response.completion for response in responses] == prompts
        assert 15 <= small.requests <= 35
        assert small.requests + large.requests == 75  # nobody was refused


TOO_LONG = Fault("400", code="context_length_exceeded")


def test_a_prompt_that_is_too_long_goes_to_a_model_with_a_larger_window(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    windows = {"a": {"context_window": 8_000}, "b": {"context_window": 32_000}}
    client = client_of(pair, windows)
    pair[0].script([TOO_LONG])
    assert way(client.complete("long")) == [("a", "too_long"), ("b", "answered")]
    assert client.complete("short").model == "a/a"


@pytest.mark.parametrize("window", [4_000, 8_000])
def test_a_prompt_that_is_too_long_does_not_go_to_a_window_no_larger(
    pair: tuple[Sandbox, Sandbox], window: int
) -> None:
    client = client_of(pair, {"a": {"context_window": 8_000}, "b": {"context_window": window}})
    pair[0].script([TOO_LONG])
    with pytest.raises(TooLongError):
        client.complete("long")
    assert pair[1].requests == 0


PRICED = {name: {"prices": {"input": 1.0, "output": 2.0}} for name in "ab"}


def test_money_set_aside_for_a_model_that_fails_is_there_for_the_next(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair, PRICED, max_cost=0.003)  # one such call may cost 0.002
    pair[0].script(["500"])
    response = client.complete("hello", max_new_tokens=1_000)
    assert way(response) == [("a", "transient"), ("b", "answered")]
    assert response.cost == pytest.approx(client.models[1].prices.cost(response.usage))
    assert client._here.budget.spent == pytest.approx(response.cost)


def test_a_runs_cost_is_that_of_the_answers_whoever_gave_them() -> None:
    with Sandbox(tokens=(10, 20)) as first, Sandbox(tokens=(10, 20)) as second:
        first.script([None] * 5 + [Fault("500", times=1_000)])
        client = client_of((first, second), PRICED)
        responses = client.map(["hello"] * 100, max_cost=0.01, max_new_tokens=20)
        answered = [
            record for one in (first, second) for record in one.journal if record.status == 200
        ]
        assert sum(response.attempts for response in responses) == first.requests + second.requests
    assert len(answered) == sum(not response.is_error for response in responses) == 100
    spent = 100 * client.models[0].prices.cost(responses[0].usage)
    assert client.usage().cost == pytest.approx(spent) == pytest.approx(0.005)


def test_a_cap_holds_over_all_models_together() -> None:
    with Sandbox(tokens=(10, 20)) as first, Sandbox(tokens=(10, 20)) as second:
        client = client_of((first, second), PRICED, model_weights="uniform")
        responses = client.map(["hello"] * 100, max_cost=0.0025, max_new_tokens=20)
        assert first.requests + second.requests < 60
    assert {response.error.kind for response in responses if response.error} == {"budget"}
    assert 0.001 < client.usage().cost <= 0.0025


def test_an_answer_that_was_paid_for_counts_though_another_model_mends_it() -> None:
    with (
        Sandbox(answer="no JSON", tokens=(10, 5)) as first,
        Sandbox(answer='{"a": 1}', tokens=(20, 7)) as second,
    ):
        first.script([None, "401"])
        client = client_of((first, second), PRICED)
        response = client.complete("Answer in JSON", json_mode=True, repair=1)
    assert response.parsed == {"a": 1}
    assert way(response) == [("a", "auth"), ("b", "answered")]
    assert response.usage[:2] == (30, 12)
    assert response.cost == pytest.approx((30 * 1.0 + 12 * 2.0) / 1e6)
    assert client.usage().cost == pytest.approx(response.cost)


def test_a_pause_longer_than_the_call_has_leaves_its_time_to_the_next_model(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    pair[0].script([Fault("429", retry_after=600)])
    response = client.complete("hello", timeout=60)
    assert way(response) == [("a", "throttled"), ("b", "answered")]


def test_the_next_model_has_what_is_left_of_the_calls_time(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair)
    pair[0].script(["500"])
    pair[1].script(["black_hole"])
    with pytest.raises(DeadlineExceededError) as caught:
        client.complete("hello", timeout=0.5)
    assert way(caught.value.response) == [("a", "transient"), ("b", "deadline")]
    assert caught.value.response.attempts == 2 == pair[0].requests + pair[1].requests


# Many calls


PROMPTS = [f"prompt {number}" for number in range(200)]


@pytest.mark.parametrize("weights", ["fallback", "dynamic", "uniform", [1, 5]])
@pytest.mark.parametrize("fault", ["401", "429", "500", "reset"])
def test_with_one_model_failing_no_prompt_of_a_map_is_lost_and_their_order_is_kept(
    pair: tuple[Sandbox, Sandbox], weights: Any, fault: str
) -> None:
    client = client_of(pair, model_weights=weights)
    pair[0].script([Fault(fault, times=10_000)])
    responses = client.map(PROMPTS)
    assert [response.completion for response in responses] == PROMPTS
    assert {response.model for response in responses} == {"b/b"}
    assert sum(response.attempts for response in responses) == 200 + pair[0].requests
    assert pair[0].requests < 40


@pytest.mark.parametrize("ordered", [True, False])
def test_a_model_that_fails_in_the_middle_of_a_run_costs_no_prompt(
    pair: tuple[Sandbox, Sandbox], ordered: bool
) -> None:
    client = client_of(pair)
    pair[0].script([None] * 100 + [Fault("401", times=10_000)])
    responses = list(client.imap(PROMPTS, ordered=ordered))
    responses.sort(key=lambda response: response.index or 0)
    assert [response.completion for response in responses] == PROMPTS
    assert Counter(response.model for response in responses) == {"a/a": 100, "b/b": 100}


def test_who_goes_first_for_others_moves_on_like_any_call() -> None:
    with Sandbox() as first, Sandbox(answer="fine") as second:
        first.script([Fault("401", times=10_000)])
        client = client_of((first, second))
        prompts = [Conversation().system("Be kind.").user(str(n)) for n in range(40)]
        responses = client.map(prompts, warm_first=True)
        assert [response.completion for response in responses] == ["fine"] * 40
        assert first.requests == 1  # all others were held until the breaker knew
        assert second.requests == 40
    assert len(responses[0].route) + 39 == sum(len(response.route) for response in responses)


def test_a_beginning_is_warmed_at_each_model_that_is_asked(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair, model_weights="uniform")
    prompts = [Conversation().system("Be kind.").user(str(n)) for n in range(60)]
    responses = client.map(prompts, warm_first=True)
    assert [response.completion for response in responses] == [str(n) for n in range(60)]
    assert min(pair[0].requests, pair[1].requests) > 5


def test_of_many_that_ask_the_same_one_asks_the_model_that_takes_over(
    pair: tuple[Sandbox, Sandbox], tmp_path: Path
) -> None:
    client = client_of(pair, cache=str(tmp_path))
    pair[0].script([Fault("401", times=10_000)])
    responses = client.map(["hello"] * 32)
    assert {(response.completion, response.model) for response in responses} == {("hello", "b/b")}
    assert pair[1].requests == 1
    assert sum(response.attempts for response in responses) == pair[0].requests + 1
    pair[0].clear()
    hit = client.complete("hello")
    assert (hit.model, hit.cached, hit.cost, pair[0].requests) == ("b/b", True, 0.0, 0)


def test_an_answer_of_the_first_model_is_a_hit_while_it_is_down(
    pair: tuple[Sandbox, Sandbox], tmp_path: Path
) -> None:
    client = client_of(pair, cache=str(tmp_path))
    assert client.complete("hello").model == "a/a"
    pair[0].script([Fault("401", times=10_000)])
    assert client.complete("other").model == "b/b"
    assert client.complete("hello").cached
    assert client.complete("hello", use_cache=False).model == "b/b"


def test_a_probe_that_was_cancelled_lets_another_one_go(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair)
    clock = give_clock(client, "a")
    lane = client._workers().routes.draw().lanes[-1]
    pair[0].script(["401", "black_hole"])
    assert client.complete("hello").model == "b/b"
    clock.now += 100
    future = client.submit("probe")
    pair[0].wait_for(2)
    assert client.complete("hello").model == "b/b"  # one probe is enough
    client.close()
    with pytest.raises(CallCancelledError):
        future.result(10)
    assert client.complete("probe").model == "a/a"
    assert not lane.breaker("a").is_open


# Answers in the background


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_module, "FIRST_POLL", 0.01)
    monkeypatch.setattr(background_module, "SLOWEST_POLL", 0.02)


@pytest.mark.usefixtures("quick_looks")
def test_an_answer_in_the_background_is_begun_where_a_model_is_up(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    pair[0].script(["500"])
    response = client_of(pair).complete("hello", background=True)
    assert (response.completion, response.model) == ("hello", "b/b")
    assert way(response) == [("a", "transient"), ("b", "answered")]


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("fault", ["401", "404"])
def test_an_answer_in_the_background_does_not_move_once_begun(
    pair: tuple[Sandbox, Sandbox], fault: str
) -> None:
    client = client_of(pair)
    pair[0].script([None, fault])
    with pytest.raises(errors.CallError):
        client.complete("hello", background=True)
    assert pair[1].requests == 0
    assert pair[0].journal[-1].path.endswith("/cancel")


@pytest.mark.usefixtures("quick_looks")
def test_a_look_that_fails_for_a_while_does_not_move_the_answer(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    pair[0].script([None, "500", "reset"])
    response = client_of(pair).complete("hello", background=True)
    assert way(response) == [("a", "answered")]
    assert pair[1].requests == 0


@pytest.mark.usefixtures("quick_looks")
def test_an_answer_in_the_background_that_is_gone_says_nothing_of_its_model(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair)
    pair[0].script([None, "404"])
    with pytest.raises(NotFoundError):
        client.complete("hello", background=True)
    assert client.complete("hello").model == "a/a"


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("began", ["a", "b"])
def test_an_answer_begun_by_any_of_the_models_is_found_again(
    pair: tuple[Sandbox, Sandbox], began: str
) -> None:
    client = client_of(pair)
    started = client.start_background("hello", prefer_model=began)
    response = client.resume_background(started.response_id)
    assert (response.completion, response.model) == ("hello", f"{began}/{began}")
    with pytest.raises(NotFoundError):
        client.resume_background("resp_of_nobody")
    assert client.complete("hello").model == "a/a"


# Conversations, loops and journals


def test_a_conversation_follows_the_model_that_took_it_over(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair)
    first = client.complete("hello", prefer_model="last")
    talk = Conversation().user("hello").with_response(first)
    pair[0].script(["500"])
    second = client.complete(talk.user("go on"), prefer_model="last")
    assert (first.model, second.model) == ("a/a", "b/b")
    talk = talk.user("go on").with_response(second).user("and on")
    *_, third = client.stream_chat(talk, prefer_model="last")
    assert third.model == "b/b"
    assert [r.model for r in client.map([talk, "new"], prefer_model="last")] == ["b/b", "a/a"]


ADAPTERS = ("openai_chat", "openai_responses", "anthropic", "gemini")


def base_url(server: Sandbox, adapter: str) -> str:
    return {"anthropic": server.anthropic_url, "gemini": server.gemini_url}.get(
        adapter, server.base_url
    )


def two_vendors(pair: tuple[Sandbox, Sandbox], adapters: tuple[str, str]) -> Client:
    """A client of "a" and "b", each over its wire format."""
    config = {
        "providers": {
            name: {"adapter": adapter, "base_url": base_url(server, adapter), "key_env": []}
            for name, server, adapter in zip("ab", pair, adapters)
        },
        "models": {
            name: {
                "id": "gemini-3.5-flash" if adapter == "gemini" else f"model-{name}",
                "provider": name,
                "supports": ["tools", "reasoning"],
                **({"thinking": "level"} if adapter == "gemini" else {}),
            }
            for name, adapter in zip("ab", adapters)
        },
    }
    return Client(["a", "b"], config=config, model_weights="fallback", progress="none")


@pytest.mark.parametrize("second", ADAPTERS)
@pytest.mark.parametrize("first", ADAPTERS)
@pytest.mark.parametrize("fault", ["401", "500"])
def test_a_loop_goes_on_at_another_vendor_when_a_model_dies_between_rounds(
    first: str, second: str, fault: str
) -> None:
    asked = [("add", {"left": 1, "right": 2}), ("add", {"left": 3, "right": 4})]
    both = Reply("I add.", thinking="Two sums.", tool_calls=asked)
    one = Reply("Once more.", thinking="One sum.", tool_calls=[("add", {"left": 3, "right": 7})])
    with Sandbox(answer=both) as dying, Sandbox(answer=[one, "ten"]) as living:
        client = two_vendors((dying, living), (first, second))

        def add(left: int, right: int) -> int:
            """The sum."""
            if dying.requests == 1 and not dying.pending_faults:
                dying.script([Fault(fault, times=10_000)])
            return left + right

        rounds: list[Any] = []
        talk, response = client.run_agent_loop("Add", tools=[add], on_round=rounds.append)
        assert living.requests == 2
        assert {record.status for record in living.journal} == {200}
    assert [one.response.model[0] for one in rounds] == ["a", "b", "b"]
    assert response.completion == "ten"
    given = [part.content for m in talk.messages if m.role == "tool" for part in m.parts]
    assert given == ["3", "7", "10"]


def test_loops_of_a_client_survive_a_model_that_dies_among_them() -> None:
    def answer(question: Question) -> Any:
        last = question.body["messages"][-1]
        if last["role"] == "tool":
            return f"{question.body['messages'][0]['content']}: {last['content']}"
        return Reply(tool_calls=[("double", {"number": int(last["content"])})])

    with Sandbox(answer=answer) as first, Sandbox(answer=answer) as second:
        client = client_of((first, second), {name: {"supports": ["tools"]} for name in "ab"})
        first.script([None] * 30 + [Fault("401", times=10_000)])

        def double(number: int) -> int:
            """Twice that."""
            return 2 * number

        results = client.map_agent_loops(map(str, range(40)), tools=[double])
    assert [one.completion for _, one in results] == [f"{n}: {2 * n}" for n in range(40)]
    assert {one.model for _, one in results} >= {"b/b"}


def test_a_journal_keeps_the_route(pair: tuple[Sandbox, Sandbox], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    client = client_of(pair, model_weights="fallback")
    pair[0].script([Fault("500", match="one")])
    first = client.map(["one", "two"], journal=path)
    again = client.map(["one", "two"], journal=path)
    assert pair[0].requests + pair[1].requests == 3
    assert way(again[0]) == [("a", "transient"), ("b", "answered")]
    assert [one.route for one in again] == [one.route for one in first]
    assert [one.model for one in again] == ["b/b", "a/a"]
    rows = sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row["index"])
    assert rows[1]["route"] == [{"model": "a/a", "outcome": "answered"}]


def _picture() -> Any:
    from deluge_sync import Image, Message

    return Message("user", (Image(media_type="image/png", data=b"\x89PNG\r\n\x1a\n"),))


def test_an_answer_in_the_background_is_found_at_the_model_that_began_it(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair, {name: {"id": "gpt-4.1-mini"} for name in "ab"}, "openai_responses")
    begun = client.start_background("hello", prefer_model="b")
    response = client.resume_background(begun.response_id or "", prefer_model="a")
    assert way(response) == [("a", "not_found"), ("b", "answered")]
    assert client.complete("hello", prefer_model="a").model == begun.model.replace("b/", "a/")


def test_ctrl_c_on_the_way_to_another_model_leaves_nothing_announced(
    pair: tuple[Sandbox, Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(pair)
    clock = give_clock(client, "b")
    lane = client._workers().routes.to(client.models[1]).lanes[-1]
    breaker = lane.breaker("b")
    breaker.failed(breaker.pass_anyway(), at_once=True)
    clock.now += 60

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "go_on_from", interrupted)
    pair[0].script(["401"])
    with pytest.raises(KeyboardInterrupt):
        client.complete("hello")
    assert lane._announced == 0
    assert breaker.seconds_shut() == 0  # the probe was given back
