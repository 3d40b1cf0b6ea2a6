"""A hard cap on money, with many threads and failures of every kind."""

from __future__ import annotations

import random

import pytest

from deluge_sync import BudgetExceeded, Client
from deluge_sync.testing import Fault, Reply, Sandbox

from ..helpers import UNLIMITED

READ, WRITTEN = 50, 20
PRICES = {"input": 100.0, "output": 400.0}
BILLED = (None, "reset", "malformed")
"""What a provider may bill: it did the work, whatever became of the answer."""


@pytest.mark.parametrize("seed", range(200))
def test_the_providers_bill_never_exceeds_the_cap(seed: int) -> None:
    dice = random.Random(seed)
    faults = {
        Fault("500"): 0.08,
        Fault("429", retry_after=0.01, retry_after_form="ms"): 0.04,
        Fault("reset"): 0.04,
        Fault("malformed"): 0.04,
    }
    reply = Reply("x" * 4 * WRITTEN, usage=(READ, WRITTEN))
    delay = dice.choice([0.0, 0.002, 0.01])
    with Sandbox(answer=reply, faults=faults, seed=seed, delay=delay, keep_bodies=False) as sandbox:
        client = Client(
            "mine",
            config={"models": {"mine": {"provider": "openai", "id": "mine", "prices": PRICES}}},
            base_url=sandbox.base_url,
            api_key="k",
            max_cost=1.00,
            max_requests_per_minute=UNLIMITED,
            max_tokens_per_minute=UNLIMITED,
            max_concurrent_requests=64,
            progress="none",
        )
        prompts = ["word " * dice.randint(1, 60) for _ in range(200)]
        replies = client.map(prompts, max_new_tokens=dice.choice([WRITTEN, 4 * WRITTEN]))
        price = (READ * PRICES["input"] + WRITTEN * PRICES["output"]) / 1e6
        bill = price * sum(record.fault in BILLED for record in sandbox.journal)
    answered = [reply for reply in replies if reply.completion is not None]
    assert bill <= 1.00
    assert client.usage().cost == pytest.approx(price * len(answered))
    assert client.usage().cost <= bill + 1e-9
    assert any(isinstance(reply.error, BudgetExceeded) for reply in replies)
    assert answered
