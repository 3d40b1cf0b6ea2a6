"""The vendor's own cache of prompts: what is marked, what it saves, and who goes first."""

from __future__ import annotations

import pytest

from deluge_sync import ConfigError, Conversation, Message
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.vanguard import MOST_KNOWN, Vanguard
from deluge_sync.testing import Sandbox

from .helpers import client_for

RULES = "Answer as the rules say. " * 400


def asking(count: int, rules: str = RULES) -> list[Conversation]:
    return [Conversation().system(rules).user(f"Question {number}") for number in range(count)]


def test_the_system_prompt_is_marked_and_read_from_the_cache_by_the_next(sandbox: Sandbox) -> None:
    client = client_for(sandbox, "claude-haiku-4-5")
    first, second = (client.complete(prompt, cache="system_and_tools") for prompt in asking(2))
    assert sandbox.journal[0].body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert first.usage.cache_write_tokens > 1_000
    assert second.usage.cache_read_tokens == first.usage.cache_write_tokens
    assert second.cost < first.cost


def test_warm_first_sends_one_of_those_that_begin_alike_before_the_others(
    sandbox: Sandbox,
) -> None:
    client = client_for(sandbox, "claude-haiku-4-5")
    responses = client.map(asking(40), cache="system_and_tools", warm_first=True)
    assert [response.completion for response in responses] == [
        f"Question {number}" for number in range(40)
    ]
    writers = [response for response in responses if response.usage.cache_write_tokens]
    assert len(writers) == 1
    report = client.last_run
    assert report.cache_read_share > 0.9
    assert report.cache_read_tokens == sum(row.usage.cache_read_tokens for row in responses)


def test_each_beginning_has_its_own_first(sandbox: Sandbox) -> None:
    client = client_for(sandbox, "claude-haiku-4-5")
    prompts = [
        prompt for pair in zip(asking(20), asking(20, "Other rules. " * 800)) for prompt in pair
    ]
    responses = client.map(prompts, cache="system_and_tools", warm_first=True)
    assert sum(bool(response.usage.cache_write_tokens) for response in responses) == 2


def test_prompts_that_differ_in_an_earlier_picture_do_not_begin_alike(sandbox: Sandbox) -> None:
    def prompt(last: int) -> Conversation:
        shown = Message.user("Look.").add_image(b"\x89PNG\r\n\x1a\n" + bytes([last]))
        return Conversation((shown,)).assistant("I see.").user("And?")

    plan = client_for(sandbox)._plan({}, True, "")
    one, same, other = (
        plan.call(prompt(last), cancellation=Cancellation()).beginning for last in (1, 1, 2)
    )
    assert one == same != other


def test_others_go_on_when_the_first_fails() -> None:
    with Sandbox() as sandbox:
        sandbox.script(["400"])
        client = client_for(sandbox, "claude-haiku-4-5")
        responses = list(client.imap(asking(20), warm_first=True))
        assert [response.is_error for response in responses] == [True] + [False] * 19


def test_nobody_is_in_flight_beside_the_first() -> None:
    with Sandbox(delay=lambda asked: 0.1 if asked.prompt == "Question 0" else 0.0) as sandbox:
        client_for(sandbox, "claude-haiku-4-5").map(asking(10), warm_first=True)
        first, second = (record.at for record in sandbox.journal[:2])
    assert second - first >= 0.1


def test_a_message_of_its_own_waits_for_nobody(sandbox: Sandbox) -> None:
    responses = client_for(sandbox).map([f"{number}" for number in range(20)], warm_first=True)
    assert not any(response.is_error for response in responses)


def test_the_vanguard_forgets_what_is_done_rather_than_grow() -> None:
    vanguard = Vanguard()
    for number in range(3 * MOST_KNOWN):
        assert vanguard.goes_first(number)
        assert not vanguard.arrived(number)
    assert len(vanguard._held) <= MOST_KNOWN + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache": True}, "cache must be one of"),
        ({"cache": "everything"}, "cache must be one of"),
        ({"cache_ttl": "1h"}, "cache_ttl needs cache"),
        ({"cache": "system_and_tools", "cache_ttl": "12h"}, "12h"),
    ],
)
def test_patterns_and_times_that_there_are_not_are_named(
    sandbox: Sandbox, options: dict, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        client_for(sandbox, "claude-haiku-4-5").complete("Hello", **options)
    assert sandbox.requests == 0
