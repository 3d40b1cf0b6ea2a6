"""The sandbox's limiter is exact, and its headers are true."""

from __future__ import annotations

import http.client
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.testing import Fault, Sandbox
from deluge_sync.testing.anthropic_messages import instant
from deluge_sync.testing.limiter import Limiter, Refusal
from deluge_sync.testing.openai_chat import duration


class FakeClock:
    """Monotonic seconds that move when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def amounts(tokens: float = 0) -> dict[str, float]:
    return {"requests": 1, "tokens": tokens, "input_tokens": 0, "output_tokens": 0}


def state(limiter: Limiter, name: str = "requests"):
    return next(state for state in limiter.states() if state.name == name)


@given(st.lists(st.floats(0, 20), max_size=60), st.integers(1, 5))
def test_no_sliding_minute_ever_holds_more_than_the_limit(steps, limit):
    clock = FakeClock()
    limiter = Limiter("sliding", clock, {"requests": limit})
    admitted: list[float] = []
    for step in steps:
        clock.now += step
        if not isinstance(limiter.admit(amounts()), Refusal):
            admitted.append(clock.now)
    for start in admitted:
        assert sum(start <= at < start + 60 for at in admitted) <= limit


@pytest.mark.parametrize("kind", ["sliding", "bucket"])
@given(steps=st.lists(st.floats(0, 30), max_size=40))
def test_who_waits_exactly_as_told_is_admitted_and_who_comes_sooner_is_not(kind, steps):
    clock = FakeClock()
    limiter = Limiter(kind, clock, {"requests": 3, "tokens": 100})
    for step in steps:
        clock.now += step
        verdict = limiter.admit(amounts(40))
        if isinstance(verdict, Refusal):
            arrived = clock.now
            clock.now = arrived + verdict.wait - 0.001
            assert isinstance(limiter.admit(amounts(40)), Refusal)
            clock.now = arrived + verdict.wait + 1e-6
            assert not isinstance(limiter.admit(amounts(40)), Refusal)


def test_a_bucket_refills_evenly():
    clock = FakeClock()
    limiter = Limiter("bucket", clock, {"requests": 60})
    assert not any(isinstance(limiter.admit(amounts()), Refusal) for _ in range(60))
    refusal = limiter.admit(amounts())
    assert isinstance(refusal, Refusal)
    assert refusal.wait == pytest.approx(1.0)
    clock.now += 30
    assert state(limiter).remaining == pytest.approx(30)
    assert state(limiter).reset_after == pytest.approx(30)


@pytest.mark.parametrize("kind", ["sliding", "bucket"])
def test_tokens_count_by_estimate_first_and_by_real_use_afterwards(kind):
    limiter = Limiter(kind, FakeClock(), {"tokens": 1000})
    admission = limiter.admit(amounts(900))
    assert isinstance(limiter.admit(amounts(200)), Refusal)
    limiter.settle(admission, amounts(100))
    assert state(limiter, "tokens").remaining == 900
    assert not isinstance(limiter.admit(amounts(200)), Refusal)


def test_a_refusal_draws_nothing_from_any_budget():
    limiter = Limiter("sliding", FakeClock(), {"requests": 10, "tokens": 100})
    assert isinstance(limiter.admit(amounts(101)), Refusal)
    assert state(limiter).remaining == 10


def test_what_can_never_fit_is_refused_for_ever():
    limiter = Limiter("sliding", FakeClock(), {"tokens": 100})
    refusal = limiter.admit(amounts(101))
    assert isinstance(refusal, Refusal)
    assert math.isinf(refusal.wait)


def test_a_limit_changed_in_mid_run_keeps_what_was_used():
    clock = FakeClock()
    limiter = Limiter("sliding", clock, {"requests": 10})
    for _ in range(6):
        limiter.admit(amounts())
        clock.now += 1
    limiter.set_limits({"requests": 5})
    refusal = limiter.admit(amounts())
    assert isinstance(refusal, Refusal)
    assert refusal.wait == pytest.approx(55)  # two of the six must grow old
    assert state(limiter).remaining == 0
    limiter.set_limits({"requests": 7})
    assert not isinstance(limiter.admit(amounts()), Refusal)


@pytest.mark.parametrize(
    "settings",
    [{"requests_per_minute": 0}, {"tokens_per_minute": -1}, {"limiter": "leaky"}],
)
def test_a_limit_that_makes_no_sense_is_refused_at_once(settings):
    with pytest.raises(ValueError, match=r"limit"):
        Sandbox(**settings)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.012, "12ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s"), (3663, "1h1m3s")],
)
def test_durations_are_written_as_openai_does(seconds, text):
    assert duration(seconds) == text


def test_instants_are_rfc_3339_and_never_early():
    assert instant(1.2) == "1970-01-01T00:00:02Z"


def post(sandbox: Sandbox, *, path: str = "/v1/chat/completions", **fields):
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    body = {"model": "echo", "messages": [{"role": "user", "content": "x" * 40}], **fields}
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_a_429_tells_the_exact_wait_and_the_journal_knows_it():
    clock = FakeClock()
    with Sandbox(requests_per_minute=2, clock=clock) as sandbox:
        assert [post(sandbox).status, post(sandbox).status] == [200, 200]
        clock.now += 59.25
        refused = post(sandbox)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["retry-after-ms"] == "750"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        clock.now += 0.75
        assert post(sandbox).status == 200
        assert [record.status for record in sandbox.journal] == [200, 200, 429, 200]
        assert sandbox.journal[2].at == 1059.25


def test_the_answer_to_a_long_reservation_gives_the_rest_back():
    with Sandbox(tokens_per_minute=1000, clock=FakeClock()) as sandbox:
        for remaining in ("980", "960", "940"):
            answer = post(sandbox, max_completion_tokens=900)
            assert answer.headers["x-ratelimit-remaining-tokens"] == remaining
        assert post(sandbox, max_completion_tokens=931).status == 429


def test_anthropic_limits_output_by_itself():
    with Sandbox(output_tokens_per_minute=100, clock=FakeClock()) as sandbox:
        answer = post(sandbox, path="/v1/messages", max_tokens=100)
        assert answer.headers["anthropic-ratelimit-output-tokens-remaining"] == "90"
        refused = post(sandbox, path="/v1/messages", max_tokens=91)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "60"


def test_limits_may_be_kept_secret_and_changed_from_outside():
    with Sandbox(requests_per_minute=1, send_limit_headers=False) as sandbox:
        assert "x-ratelimit-limit-requests" not in post(sandbox).headers
        assert post(sandbox).status == 429
        sandbox.set_limits(requests_per_minute=2)
        assert post(sandbox).status == 200
        with pytest.raises(ValueError, match="above 0"):
            sandbox.set_limits(requests_per_minute=0)


def test_only_admitted_requests_meet_a_scripted_fault():
    clock = FakeClock()
    with Sandbox(requests_per_minute=1, clock=clock) as sandbox:
        post(sandbox)
        sandbox.script([Fault("500")])
        assert post(sandbox).status == 429
        clock.now += 60
        assert post(sandbox).status == 500
