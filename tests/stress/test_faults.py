"""Thousands of prompts through a provider that fails in every way."""

from __future__ import annotations

import pytest

from deluge_sync.testing import Fault, Sandbox

from ..helpers import client_for

FAULTS = {
    Fault("429", retry_after=0.2, retry_after_form="ms"): 0.2,
    Fault("500"): 0.1,
    Fault("reset"): 0.05,
    Fault("malformed"): 0.05,
}


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "claude-haiku-4-5", "gemini-3.5-flash"])
def test_every_prompt_gets_its_own_answer_and_every_attempt_is_counted(model: str) -> None:
    prompts = [f"prompt number {number} of many" for number in range(3_000)]
    with Sandbox(faults=FAULTS, seed=1, keep_bodies=False) as sandbox:
        client = client_for(sandbox, model, max_concurrent_requests=256, max_attempts=30)
        replies = client.map(prompts)
        assert [reply.completion for reply in replies] == prompts
        assert sum(reply.attempts for reply in replies) == sandbox.requests
        assert client.usage().attempts == sandbox.requests > 4_500


def test_in_an_outage_the_retries_stay_within_the_budget() -> None:
    with Sandbox(faults={"500": 1.0}, keep_bodies=False) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=128)
        replies = client.map(f"prompt {number}" for number in range(2_000))
        assert all(reply.is_error for reply in replies)
        assert sandbox.requests < 2_000 * 1.4
