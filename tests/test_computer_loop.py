"""A model, a loop and a screen together, over both vendors' wire formats."""

from __future__ import annotations

from typing import Any

import pytest

from deluge_sync import Client, ConfigError, Conversation
from deluge_sync.computer import Computer
from deluge_sync.testing import Reply, Sandbox

from .test_computer import CHECK, Recorder, Stuck

ANTHROPIC_TURN = [
    ("mouse_move", {"coordinate": [5, 6]}),
    ("type", {"text": "x"}),
    ("left_click", {}),
]
OPENAI_TURN = [
    (
        "computer",
        {
            "actions": [
                {"type": "move", "x": 5, "y": 6},
                {"type": "type", "text": "x"},
                {"type": "click", "button": "left", "x": 5, "y": 6},
            ]
        },
    )
]
TURNS = {"anthropic": ANTHROPIC_TURN, "openai": OPENAI_TURN}


def run(vendor: str, turn: Any, screen: Recorder, computer: Any = None, **options: Any) -> Any:
    """One turn of actions and its end: the conversation, and the bodies that were sent."""
    answers = [Reply("Looking.", tool_calls=turn), "Done."]
    with Sandbox(answer=answers) as sandbox:
        url = sandbox.base_url if vendor == "openai" else sandbox.anthropic_url
        model = "gpt-6" if vendor == "openai" else "claude-opus-5.5"
        client = Client(model, base_url=url, api_key="any", progress="none")
        computer = computer or Computer(screen, settle=0.0)
        conversation, response = client.run_agent_loop(
            Conversation().user("Click."), tools=[computer.tool], computer=computer, **options
        )
        assert response.completion == "Done."
        return conversation, [record.body for record in sandbox.journal]


def results(conversation: Conversation) -> list[Any]:
    return [part for message in conversation.messages if message.role == "tool"
            for part in message.parts]  # fmt: skip


@pytest.mark.parametrize("vendor", TURNS)
def test_the_actions_of_a_turn_are_done_in_order(vendor: str) -> None:
    screen = Recorder()
    conversation, _ = run(vendor, TURNS[vendor], screen)
    assert screen.done == [
        ("move", 5, 6, ()),
        ("type", "x"),
        ("click", 5, 6, "left", 1, ()),
    ]
    assert all(result.images and not result.is_error for result in results(conversation))


def test_anthropic_is_sent_its_toolset_and_a_picture_for_each_call() -> None:
    _, [first, second] = run("anthropic", ANTHROPIC_TURN, Recorder())
    off = {"zoom": {"enabled": False}}
    assert first["tools"] == [{"type": "computer_toolset_20260801", "configs": off}]
    blocks = second["messages"][-1]["content"]
    assert [block["toolset_name"] for block in blocks] == ["computer"] * 3
    assert [part["type"] for block in blocks for part in block["content"]] == ["image"] * 3


def test_openai_is_sent_its_tool_and_one_picture_for_the_batch() -> None:
    _, [first, second] = run("openai", OPENAI_TURN, Recorder())
    assert first["tools"] == [{"type": "computer"}]
    output = second["input"][-1]
    assert output["type"] == "computer_call_output"
    assert output["output"]["image_url"].startswith("data:image/png;base64,")


def test_a_turn_of_anthropics_stops_at_its_first_failure_and_the_rest_is_answered() -> None:
    screen = Recorder("type")
    conversation, [_, second] = run("anthropic", ANTHROPIC_TURN, screen)
    assert screen.done == [("move", 5, 6, ())]
    assert [result.is_error for result in results(conversation)] == [False, True, True]
    blocks = second["messages"][-1]["content"]
    assert [block.get("is_error", False) for block in blocks] == [False, True, True]


def test_a_batch_of_openais_that_failed_is_answered_with_the_screen_and_the_reason() -> None:
    screen = Recorder("type")
    _, [_, second] = run("openai", OPENAI_TURN, screen)
    assert screen.done == [("move", 5, 6, ())]
    sent = str(second["input"])
    assert "computer_screenshot" in sent
    assert "action 2 of 3, type: type is broken" in sent


@pytest.mark.parametrize("vendor", TURNS)
def test_a_call_that_the_caller_refuses_is_not_done_and_the_model_goes_on(vendor: str) -> None:
    screen = Recorder()
    conversation, _ = run(vendor, TURNS[vendor], screen, confirm=lambda call: "not today")
    assert screen.done == []
    assert "not today" in results(conversation)[0].content
    assert all(result.is_error for result in results(conversation))


@pytest.mark.parametrize("vendor", TURNS)
def test_a_turn_that_timed_out_does_nothing_more_once_the_loop_went_on(vendor: str) -> None:
    screen = Stuck()
    conversation, _ = run(vendor, TURNS[vendor], screen, tool_timeout=0.1)
    screen.gate.set()
    assert screen.thread is not None
    screen.thread.join(30)
    assert screen.done == [("move", 5, 6, ())]
    assert "did not finish within 0.1 s" in results(conversation)[0].content


def test_a_safety_check_that_is_acknowledged_goes_back_with_the_picture() -> None:
    name, fields = OPENAI_TURN[0]
    turn = [(name, {**fields, "pending_safety_checks": [CHECK]})]
    screen = Recorder()
    computer = Computer(screen, settle=0.0, acknowledge=lambda check: True)
    _, [_, second] = run("openai", turn, screen, computer)
    assert second["input"][-1]["acknowledged_safety_checks"] == [CHECK]
    assert len(screen.done) == 3


def test_a_model_without_a_computer_is_refused_before_anything_is_sent() -> None:
    computer = Computer(Recorder())
    with Sandbox() as sandbox:
        client = Client("gpt-4.1-mini", base_url=sandbox.base_url, api_key="any")
        with pytest.raises(ConfigError, match="computer"):
            client.complete("Click.", tools=[computer.tool])
        assert sandbox.requests == 0
