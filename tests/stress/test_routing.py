"""Several models under load, one of which goes up and down all the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from deluge_sync import CallCancelledError, Client
from deluge_sync.engine.breaker import Breaker
from deluge_sync.engine.lane import Lane
from deluge_sync.testing import Fault, Sandbox

from ..helpers import UNLIMITED
from ..test_lane import FakeClock

THREADS, CALLS = 64, 25
FLAPPING = ["401", None, "500", "500", "500", "500", "500", "500", None, None, None] * 400


@pytest.fixture
def servers() -> Iterator[dict[str, Sandbox]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Sandbox(keep_bodies=False)) for name in "abc"}


def client_of(servers: dict[str, Sandbox], weights: Any) -> Client:
    config = {
        "providers": {
            name: {"adapter": "openai_chat", "base_url": server.base_url, "key_env": []}
            for name, server in servers.items()
        },
        "models": {name: {"id": name, "provider": name} for name in servers},
    }
    return Client(
        list(servers),
        config=config,
        model_weights=weights,
        progress="none",
        max_requests_per_minute=UNLIMITED,
        max_tokens_per_minute=UNLIMITED,
        max_concurrent_requests=THREADS,
    )


def lanes_of(client: Client) -> list[Lane]:
    """Those of the client's accounts."""
    routes = client._workers().routes
    return [routes.to(model).lanes[-1] for model in client.models]


def breakers_of(client: Client) -> list[Breaker]:
    """Those of the client's models."""
    return [lane.breaker(model.id) for lane, model in zip(lanes_of(client), client.models)]


def assert_nothing_is_held(client: Client) -> None:
    for lane in (client._workers().routes.own_limits, *lanes_of(client)):
        assert (lane.name, lane.in_flight, lane.waiting) == (lane.name, 0, 0)
        assert lane._announced == 0


def in_threads(work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("weights", ["uniform", "fallback", "dynamic"])
def test_nobody_sees_an_error_while_one_of_three_models_flaps(
    servers: dict[str, Sandbox], weights: str
) -> None:
    client = client_of(servers, weights)
    clock = FakeClock()
    for name, lane in zip(servers, lanes_of(client)):
        lane._breakers[name] = Breaker(clock=clock)
    servers["a"].script(FLAPPING)
    answers: dict[str, Any] = {}

    def work(number: int) -> None:
        for turn in range(CALLS):
            prompt = f"{number} {turn}"
            if turn % 5 == 4:
                with closing(client.stream_chat(prompt)) as pieces:
                    *_, answers[prompt] = pieces
            elif turn % 5 == 3:
                answers[prompt] = client.submit(prompt).result(60)
            elif turn % 5 == 2:
                (answers[prompt],) = client.map([prompt])
            else:
                answers[prompt] = client.complete(prompt)
            clock.now += 0.05  # so that there are many probes: one in a hundred calls

    in_threads(work)
    assert len(answers) == THREADS * CALLS
    assert {answer.error for answer in answers.values()} == {None}
    assert all(answer.completion == prompt for prompt, answer in answers.items())
    attempts = sum(answer.attempts for answer in answers.values())
    assert attempts == sum(server.requests for server in servers.values())
    assert attempts == client.usage().attempts >= sum(len(one.route) for one in answers.values())
    refused = [record.status for record in servers["a"].journal if record.status != 200]
    assert {401, 500} <= set(refused)
    assert_nothing_is_held(client)

    servers["a"].clear_faults()
    clock.now += 1_000
    for name in servers:
        assert client.complete("well?", prefer_model=name).model == f"{name}/{name}"
    assert not any(breaker.is_open for breaker in breakers_of(client))


def test_when_a_client_is_closed_in_the_middle_nothing_stays_held(
    servers: dict[str, Sandbox],
) -> None:
    client = client_of(servers, "uniform")
    clock = FakeClock()
    lanes = lanes_of(client)
    for name, lane in zip(servers, lanes):
        lane._breakers[name] = Breaker(clock=clock)
    servers["a"].script(["401"])
    client.complete("shut", prefer_model="a")
    clock.now += 1_000
    for server in servers.values():
        server.script([Fault("black_hole", times=10_000)])
    begun = {name: server.requests for name, server in servers.items()}
    futures = [client.submit(f"prompt {number}") for number in range(4 * THREADS)]
    for name in "bc":
        servers[name].wait_for(begun[name] + 10)
    client.close()
    for future in futures:
        with pytest.raises(CallCancelledError):
            future.result(10)
    assert [(lane.in_flight, lane.waiting, lane._announced) for lane in lanes] == [(0, 0, 0)] * 3
    for server in servers.values():
        server.clear_faults()
    for name in servers:  # the probe that was cancelled has made room for another one
        assert client.complete("well?", prefer_model=name).model == f"{name}/{name}"
    assert_nothing_is_held(client)
    assert not any(breaker.is_open for breaker in breakers_of(client))
