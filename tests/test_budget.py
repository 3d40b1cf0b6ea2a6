"""A budget is a hard cap."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync import (
    BudgetExceeded,
    CallCancelledError,
    Client,
    ConfigError,
    DeadlineExceededError,
)
from deluge_sync.engine.budget import Budget
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.clock import monotonic
from deluge_sync.testing import Fault, Sandbox

from .helpers import client_for
from .test_cache import DictStore

NEVER = float("inf")


def reserve(budget: Budget, amount: float, **options: Any) -> None:
    budget.reserve(amount, **{"deadline": NEVER, "cancellation": Cancellation(), **options})


def test_what_fits_is_set_aside_and_what_does_not_fails() -> None:
    budget = Budget(1.0)
    reserve(budget, 1.0)
    budget.settle(1.0, 0.4)
    with pytest.raises(BudgetExceeded, match=r"up to \$0.700000.*\$0.600000 of max_cost=\$1 is"):
        reserve(budget, 0.7)
    reserve(budget, 0.6)
    assert budget.spent == 0.4


def test_what_may_still_come_back_is_waited_for() -> None:
    budget = Budget(1.0)
    reserve(budget, 0.8)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, budget, 0.5)
        while not budget._alarms:
            pass
        budget.settle(0.8, 0.1)
        assert waiting.result(10) is None


def test_who_waits_fails_when_nobody_is_left_who_could_give_back() -> None:
    budget = Budget(1.0)
    reserve(budget, 0.8)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, budget, 0.5)
        while not budget._alarms:
            pass
        budget.settle(0.8, 0.8)
        assert isinstance(waiting.exception(10), BudgetExceeded)


@pytest.mark.parametrize("ended", ["deadline", "cancelled"])
def test_waiting_ends_with_the_deadline_or_cancellation(ended: str) -> None:
    budget, cancellation = Budget(1.0), Cancellation()
    reserve(budget, 1.0)
    deadline = monotonic() + 0.05 if ended == "deadline" else NEVER
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reserve, budget, 0.5, deadline=deadline, cancellation=cancellation)
        while not budget._alarms:
            pass
        if ended == "cancelled":
            cancellation.cancel()
        wanted = CallCancelledError if ended == "cancelled" else DeadlineExceededError
        assert isinstance(waiting.exception(10), wanted)


def test_a_parents_cap_holds_too_and_its_refusal_leaves_nothing_behind() -> None:
    parent = Budget(1.0)
    child = Budget(10.0, parent=parent)
    with pytest.raises(BudgetExceeded, match=r"max_cost=\$1 "):
        reserve(child, 2.0)
    reserve(child, 1.0)
    child.settle(1.0, 1.0)
    assert (child.spent, parent.spent) == (1.0, 1.0)


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 1)), max_size=60))
def test_the_cap_holds_whatever_is_reserved_and_settled(draws: list[tuple[float, float]]) -> None:
    budget = Budget(1.0)
    for amount, share in draws:
        try:
            reserve(budget, amount)
        except BudgetExceeded:
            continue
        budget.settle(amount, amount * share)
        assert budget.spent <= 1.0 + 1e-12


# With a client


def test_what_does_not_fit_is_not_sent_and_the_rest_is_returned() -> None:
    with Sandbox() as sandbox:
        client = client_for(sandbox, max_cost=0.0012, max_concurrent_requests=4)
        replies = client.map([f"prompt {number}" for number in range(200)], max_new_tokens=100)
        answered = [reply for reply in replies if not reply.is_error]
        assert 0 < len(answered) < 200
        assert all(isinstance(r.error, BudgetExceeded) for r in replies if r.is_error)
        assert sandbox.requests == len(answered)
        assert client.usage().cost == sum(reply.cost or 0 for reply in answered) <= 0.0012


def test_a_runs_cap_is_its_own_and_the_clients_holds_beside_it(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_cost=0.002)
    prompts = [f"prompt {number}" for number in range(100)]
    for _ in range(2):
        client.map(prompts, max_cost=0.0008, max_new_tokens=100)
        assert client.last_run is not None
        assert 0 < client.last_run.cost <= 0.0008
    client.map(prompts, max_new_tokens=100)
    assert client.usage().cost <= 0.002
    with pytest.raises(BudgetExceeded):
        client.complete("x" * 5_000, max_new_tokens=5_000)


def test_a_budget_of_nothing_sends_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(BudgetExceeded):
        client_for(sandbox, max_cost=0).complete("hello")
    assert sandbox.requests == 0


def test_hits_of_the_cache_cost_no_budget(sandbox: Sandbox) -> None:
    store = DictStore()
    client_for(sandbox, cache=store).complete("hello")
    assert client_for(sandbox, cache=store, max_cost=0).complete("hello").cached


def test_a_refused_request_gives_everything_back(sandbox: Sandbox) -> None:
    sandbox.script([Fault("400"), Fault("500"), Fault("429"), None])
    client = client_for(sandbox, max_cost=1.0)
    client.map(["bad"])
    client.complete("good")
    assert client._here.budget is not None
    assert client._here.budget.spent == pytest.approx(client.usage().cost)


def test_a_request_nobody_heard_of_again_counts_as_the_most_it_can_cost(sandbox: Sandbox) -> None:
    sandbox.script([Fault("reset")])
    client = client_for(sandbox, max_cost=1.0)
    reply = client.complete("hello", max_new_tokens=100)
    assert client._here.budget is not None
    assert client._here.budget.spent > (reply.cost or 0) + 100 * 1.6e-6


def test_a_server_that_is_not_there_costs_nothing() -> None:
    client = Client(
        "gpt-4.1-mini", base_url="http://127.0.0.1:9/v1", api_key="k", max_attempts=1, max_cost=1.0
    )
    assert client.map(["hello"])[0].is_error
    assert client._here.budget is not None
    assert client._here.budget.spent == 0


@pytest.mark.parametrize("cost", [-1, "1", float("nan"), float("inf"), True, [1]])
def test_a_budget_that_is_none_is_a_clear_error(sandbox: Sandbox, cost: Any) -> None:
    with pytest.raises(ConfigError, match="max_cost must be an amount of US dollars"):
        client_for(sandbox, max_cost=cost)
    with pytest.raises(ConfigError, match="max_cost must be an amount of US dollars"):
        client_for(sandbox).map(["hello"], max_cost=cost)
    assert sandbox.requests == 0


def test_a_model_without_prices_is_refused_naming_the_field_to_fill(sandbox: Sandbox) -> None:
    unpriced = {"models": {"mine": {"provider": "openai", "id": "mine"}}}
    options = {"base_url": sandbox.base_url, "api_key": "k", "config": unpriced}
    with pytest.raises(ConfigError, match=r"prices: \{input: .*`models:`"):
        Client("mine", max_cost=1.0, **options)
    with pytest.raises(ConfigError, match=r"prices: \{input: "):
        Client("mine", **options).map(["hello"], max_cost=1.0)
    assert sandbox.requests == 0


@pytest.mark.parametrize(
    "extra_body",
    [
        {"n": 100},
        {"max_completion_tokens": 10_000},
        {"generationConfig": {"maxOutputTokens": 9_999}},
    ],
    ids=["choices", "length", "nested"],
)
def test_what_extra_body_makes_dearer_is_set_aside_for(
    sandbox: Sandbox, extra_body: dict[str, Any]
) -> None:
    client = client_for(sandbox, max_cost=0.0005, extra_body=extra_body)
    with pytest.raises(BudgetExceeded):
        client.complete("hello", max_new_tokens=100)
    assert sandbox.requests == 0


def test_threads_that_wait_for_money_hold_no_slot(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_cost=0.01, max_concurrent_requests=2)
    done = threading.Event()

    def run() -> None:
        client.map([f"prompt {number}" for number in range(50)], max_new_tokens=2_000)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert done.is_set()


def test_a_service_tier_without_a_known_price_is_refused(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_cost=1.0, extra_body={"service_tier": "priority"})
    with pytest.raises(ConfigError, match="does not know the prices of service_tier='priority'"):
        client.complete("hello")
    assert sandbox.requests == 0
