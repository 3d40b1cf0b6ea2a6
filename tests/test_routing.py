"""Several models in one client: who is asked, who takes over, and what the response says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from deluge_sync import (
    AuthError,
    BadRequestError,
    Client,
    ConfigError,
    Conversation,
    DelugeWarning,
    PromptError,
    RefusalError,
    Response,
)
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


def client_of(pair: tuple[Sandbox, Sandbox], models: Any = None, **options: Any) -> Client:
    """A client of the models "a" and "b", each at a server of its own."""
    servers = dict(zip("ab", pair))
    options.setdefault("model_weights", "fallback")
    options.setdefault("max_requests_per_minute", UNLIMITED)
    options.setdefault("max_tokens_per_minute", UNLIMITED)
    config = {
        "providers": {
            name: {"adapter": "openai_chat", "base_url": server.base_url, "key_env": []}
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
    """A clock of our own for the breaker of that model's account."""
    clock = FakeClock()
    lane = client._workers().routes.to(client._workers().routes.preferred(name)).lanes[-1]  # type: ignore[arg-type]
    lane.breaker = Breaker(clock=clock, uniform=lambda low, high: high)
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


def test_while_all_are_shut_calls_are_tried_all_the_same(pair: tuple[Sandbox, Sandbox]) -> None:
    client = client_of(pair)
    for server in pair:
        server.script(["401"])
    with pytest.raises(AuthError):
        client.complete("hello")
    assert client.complete("hello").completion == "hello"


def test_what_one_prompt_names_and_does_not_exist_shuts_no_account(
    pair: tuple[Sandbox, Sandbox],
) -> None:
    client = client_of(pair, {name: {"supports": ["pdf"]} for name in "ab"})
    lane = client._workers().routes.draw().lanes[-1]
    prompt = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    pair[0].script(["404"])
    assert way(client.map([prompt])[0])[0] == ("a", "not_found")
    assert not lane.breaker.is_open
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


def _picture() -> Any:
    from deluge_sync import Image, Message

    return Message("user", (Image(media_type="image/png", data=b"\x89PNG\r\n\x1a\n"),))
