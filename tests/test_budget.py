"""A budget is a hard cap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
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


def reserved(budget: Budget, ceiling: float, **options: Any) -> Any:
    waiting = {"deadline": NEVER, "cancellation": Cancellation(), **options}
    return budget.reserved(ceiling, **waiting)


def spend(budget: Budget, ceiling: float, spent: float = 0.0, **options: Any) -> None:
    with reserved(budget, ceiling, **options) as purse:
        purse.spent = spent


def wait_until_waiting(budget: Budget) -> None:
    give_up = monotonic() + 20
    while not budget._alarms:
        assert monotonic() < give_up


def test_what_fits_is_set_aside_and_what_does_not_fails() -> None:
    budget = Budget(1.0)
    spend(budget, 1.0, 0.4)
    with pytest.raises(BudgetExceeded, match=r"up to \$0.700000.*\$0.600000 of max_cost=\$1 is"):
        spend(budget, 0.7)
    spend(budget, 0.6)
    assert budget.spent == 0.4


def test_what_may_still_come_back_is_waited_for() -> None:
    budget = Budget(1.0)
    with ThreadPoolExecutor(1) as pool:
        with reserved(budget, 0.8) as purse:
            waiting = pool.submit(spend, budget, 0.5)
            wait_until_waiting(budget)
            purse.spent = 0.1
        assert waiting.result(10) is None


def test_who_waits_fails_when_nobody_is_left_who_could_give_back() -> None:
    budget = Budget(1.0)
    with ThreadPoolExecutor(1) as pool:
        with reserved(budget, 0.8) as purse:
            waiting = pool.submit(spend, budget, 0.5)
            wait_until_waiting(budget)
            purse.spent = 0.8
        assert isinstance(waiting.exception(10), BudgetExceeded)


@pytest.mark.parametrize("ended", ["deadline", "cancelled"])
def test_waiting_ends_with_the_deadline_or_cancellation(ended: str) -> None:
    budget, cancellation = Budget(1.0), Cancellation()
    deadline = monotonic() + 0.05 if ended == "deadline" else NEVER
    with ThreadPoolExecutor(1) as pool, reserved(budget, 1.0):
        waiting = pool.submit(spend, budget, 0.5, deadline=deadline, cancellation=cancellation)
        wait_until_waiting(budget)
        if ended == "cancelled":
            cancellation.cancel()
        wanted = CallCancelledError if ended == "cancelled" else DeadlineExceededError
        assert isinstance(waiting.exception(10), wanted)


def test_a_parents_cap_holds_too_and_its_refusal_leaves_nothing_behind() -> None:
    parent = Budget(1.0)
    child = Budget(10.0, parent=parent)
    with pytest.raises(BudgetExceeded, match=r"max_cost=\$1 "):
        spend(child, 2.0)
    spend(child, 1.0, 1.0)
    assert (child.spent, parent.spent) == (1.0, 1.0)


def test_what_a_call_raises_settles_it_all_the_same() -> None:
    budget = Budget(1.0)
    with suppress(KeyboardInterrupt), reserved(budget, 1.0) as purse:
        purse.spent = 0.3
        raise KeyboardInterrupt
    assert budget.spent == 0.3
    spend(budget, 0.7)


def test_a_call_that_cost_more_than_it_could_has_more_set_aside_from_then_on() -> None:
    budget = Budget(10.0)
    spend(budget, 1.0, 2.0)
    with reserved(Budget(9.0, parent=budget), 1.0) as purse:
        assert purse.amount == 2.0


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 1), st.booleans()), max_size=60))
def test_the_cap_holds_whatever_is_reserved_and_settled(
    draws: list[tuple[float, float, bool]],
) -> None:
    """Some calls end at once, the others only when all have begun."""
    budget = Budget(1.0)
    with ExitStack() as later:
        for ceiling, share, at_once in draws:
            with ExitStack() as now:
                stack = now if at_once else later
                try:
                    # One that would have to wait is out of time: here nobody else goes on.
                    purse = stack.enter_context(reserved(budget, ceiling, deadline=0.0))
                except (BudgetExceeded, DeadlineExceededError):
                    continue
                purse.spent = ceiling * share
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
    sandbox.script([Fault("400"), Fault("503"), Fault("429"), None])
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


@pytest.mark.parametrize("status", ["408", "502", "504"])
def test_what_a_gateway_says_says_nothing_of_the_bill(sandbox: Sandbox, status: str) -> None:
    sandbox.script([Fault(status)])
    client = client_for(sandbox, max_cost=1.0, max_attempts=1)
    assert client.map(["hello"], max_new_tokens=100)[0].is_error
    assert client._here.budget is not None
    assert client._here.budget.spent > 100 * 1.6e-6


def test_a_server_that_counts_hidden_tokens_is_found_out() -> None:
    with Sandbox(tokens=(1_000, 100)) as sandbox:
        client = client_for(sandbox, max_cost=0.02, max_concurrent_requests=1)
        client.map(["hello"] * 100, max_new_tokens=100)
        assert client.usage().cost <= 0.02


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


def test_threads_that_wait_for_money_hold_no_slot() -> None:
    """With two slots, the second call waits for money and the third, of another client, goes on."""
    with Sandbox() as sandbox:
        sandbox.script([Fault("black_hole", match="first")])
        options = {"max_concurrent_requests": 2, "max_cost": 0.01}
        client = client_for(sandbox, **options)
        first = client.submit("first", max_new_tokens=4_000)
        sandbox.wait_for(1)
        second = client.submit("second", max_new_tokens=4_000)
        assert client._here.budget is not None
        wait_until_waiting(client._here.budget)
        own_limits = client._workers().routes.own_limits
        assert own_limits.in_flight == 1
        client.close()
        assert first.exception(10) is not None
        assert second.exception(10) is not None


@pytest.mark.parametrize(
    "extra_body",
    [
        {"service_tier": "priority"},
        {"serviceTier": "priority"},
        {"speed": "fast"},
        {"model": "gpt-5-pro"},
        {"max_tokens": "99999"},
        {"max_tokens": 1e6},
        {"max_completion_tokens": None},
        {"requests": [{"n": "5"}]},
    ],
    ids=str,
)
def test_what_extra_body_makes_unknown_is_refused(
    sandbox: Sandbox, extra_body: dict[str, Any]
) -> None:
    client = client_for(sandbox, max_cost=1.0, extra_body=extra_body)
    with pytest.raises(ConfigError, match=r"max_cost .* in extra_body"):
        client.complete("hello")
    assert sandbox.requests == 0
