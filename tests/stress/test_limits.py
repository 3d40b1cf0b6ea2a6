"""Limits under load, over real HTTP; their figures are measured in benchmarks/."""

from __future__ import annotations

import threading

from deluge_sync.testing import Sandbox

from ..helpers import client_for


def test_clients_and_threads_together_stay_within_a_strict_servers_limit() -> None:
    with Sandbox(requests_per_minute=1_200) as sandbox:
        clients = [client_for(sandbox, max_requests_per_minute=1_200) for _ in range(3)]

        def work(number: int) -> None:
            clients[number % 3].map([f"{number} {turn}" for turn in range(10)])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sandbox.requests == 120
        assert all(record.status == 200 for record in sandbox.journal)


def test_a_short_answer_gives_its_reservation_back() -> None:
    """600 calls that reserve half a minute's tokens each would take an hour if they kept them."""
    with Sandbox(tokens=(5, 5)) as sandbox:
        client = client_for(sandbox, max_tokens_per_minute=20_000)
        replies = client.map([f"p{number}" for number in range(600)], max_new_tokens=512,
                             timeout=60)  # fmt: skip
        assert not [reply for reply in replies if reply.is_error]


def test_without_limits_given_a_servers_headers_are_followed() -> None:
    with Sandbox(requests_per_minute=1_200) as sandbox:
        client = client_for(
            sandbox,
            max_requests_per_minute=None,
            max_tokens_per_minute=None,
            max_concurrent_requests=64,
        )
        client.map([f"p{number}" for number in range(120)])
        refused = sum(record.status == 429 for record in sandbox.journal)
        assert refused <= 1
