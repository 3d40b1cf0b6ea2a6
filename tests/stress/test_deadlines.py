"""Whatever a server does, a call ends at its deadline with a typed error."""

from __future__ import annotations

import time

import pytest

from deluge_sync import CallError
from deluge_sync.testing import Fault, Sandbox

from ..helpers import client_for

GRACE = 2.0
"""Seconds: generous, because these machines are noisy; the figure is measured in benchmarks/."""


@pytest.mark.parametrize(
    "fault",
    [
        "black_hole",
        Fault("drip", seconds=0.1),
        Fault("slow_headers", seconds=0.2, size=1),
        "429",
        Fault("429", retry_after=3_600),
        Fault("503", retry_after=3_600),
    ],
    ids=lambda fault: getattr(fault, "kind", fault),
)
def test_all_of_many_calls_end_in_time(fault) -> None:
    with Sandbox(faults={fault: 1.0}, keep_bodies=False) as sandbox:
        client = client_for(sandbox, max_concurrent_requests=100)
        began = time.monotonic()
        futures = [client.submit(f"prompt {number}", timeout=1.0) for number in range(500)]
        errors = [future.exception(timeout=30) for future in futures]
        assert time.monotonic() - began < 1.0 + GRACE
        assert all(isinstance(error, CallError) for error in errors)
        client.close()


def test_a_wait_for_the_limit_ends_in_time(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_requests_per_minute=60, max_concurrent_requests=50)
    began = time.monotonic()
    replies = client.wait_for_all([client.submit(f"p{n}", timeout=0.5) for n in range(50)])
    assert time.monotonic() - began < 0.5 + GRACE
    assert 1 <= sum(not reply.is_error for reply in replies) <= 3
