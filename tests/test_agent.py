"""The agent loop against the sandbox provider, over OpenAI's Chat Completions."""

from __future__ import annotations

import contextvars
import gc
import json
import logging
import os
import pickle
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from deluge_sync import (
    AgentRound,
    AuthError,
    BudgetExceeded,
    CallCancelledError,
    CallError,
    Client,
    ConfigError,
    Conversation,
    DeadlineExceededError,
    ForkedError,
    Message,
    PromptError,
    Response,
    Tool,
    ToolCall,
    ToolResult,
)
from deluge_sync.agent import AgentLoops, LoopRules, Toolbox
from deluge_sync.engine.cancellation import Cancellation
from deluge_sync.engine.daemons import Stragglers
from deluge_sync.testing import Fault, Question, Reply, Sandbox
from deluge_sync.tool_runs import MOST_AT_ONCE, MOST_LEFT_BEHIND, Task, ToolRuns
from deluge_sync.values.media import image
from deluge_sync.values.plain import message_from_plain, message_to_plain
from deluge_sync.values.tool import tools_of

from .helpers import client_for

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcff9f"
    "a11e000782027f3dc848ef0000000049454e44ae426082"
)


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def scripted(*replies: Any) -> Callable[[Question], Any]:
    """The first reply to a conversation without answers, the next to one with one, and so on."""

    def answer(question: Question) -> Any:
        said = sum(message["role"] == "assistant" for message in question.body["messages"])
        return replies[min(said, len(replies) - 1)]

    return answer


def asks(*calls: tuple[str, dict[str, Any]], **fields: Any) -> Reply:
    return Reply(tool_calls=calls, **fields)


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    """Makes a client of a sandbox that gives these replies; `client.sandbox` is that sandbox."""
    begun: list[Sandbox] = []

    def make(*replies: Any, faults: Any = None, **options: Any) -> Any:
        answer = replies[0] if callable(replies[0]) else scripted(*replies)
        made = Sandbox(answer=answer).start()
        begun.append(made)
        made.script(faults or ())
        one = client_for(made, **options)
        one.sandbox = made  # type: ignore[attr-defined]
        return one

    yield make
    for made in begun:
        made.close()


def results_of(conversation: Conversation) -> list[ToolResult]:
    return [
        part
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]


def only_result(client: Client, *tools: Any, **options: Any) -> ToolResult:
    conversation, response = client.run_agent_loop("Go", tools=tools, **options)
    assert response.completion == "done"
    (result,) = results_of(conversation)
    return result


# One loop


def test_a_tool_is_run_and_its_result_told_until_the_model_answers(client: Any) -> None:
    one = client(asks(("add", {"a": 2, "b": 3})), asks(("add", {"a": 5})), "six")
    conversation, response = one.run_agent_loop("How much is 2 + 3 + 1?", tools=[add])
    assert response.completion == "six"
    assert [result.content for result in results_of(conversation)] == ["5", "6"]
    assert [m.role for m in conversation.messages] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    sent = one.sandbox.journal[-1].body["messages"]
    assert [m["content"] for m in sent if m["role"] == "tool"] == ["5", "6"]
    assert [m["tool_call_id"] for m in sent if m["role"] == "tool"] == [
        call["id"] for m in sent for call in m.get("tool_calls", ())
    ]


def test_each_call_is_counted_and_the_response_costs_only_its_own(client: Any) -> None:
    rounds: list[AgentRound] = []
    one = client(asks(("add", {"a": 2})), Reply("three", usage=(7, 2)))
    _, response = one.run_agent_loop("Go", tools=[add], on_round=rounds.append)
    assert one.usage().prompts == len(one.sandbox.journal) == 2
    assert [told.number for told in rounds] == [1, 2]
    assert rounds[1].cost == pytest.approx(one.usage().cost)
    assert response.cost < rounds[1].cost
    assert rounds[1].usage.input_tokens == one.usage().input_tokens
    assert [result.content for result in rounds[0].results] == ["3"]
    assert rounds[1].results == ()
    assert rounds[1].response is response


def test_when_the_rounds_are_used_up_the_last_calls_are_left_to_the_caller(client: Any) -> None:
    ran: list[int] = []
    tool = Tool.from_function(lambda: ran.append(1), name="more")
    one = client(asks(("more", {})))
    conversation, response = one.run_agent_loop("Go", tools=[tool], max_rounds=3)
    assert len(one.sandbox.journal) == 3
    assert len(ran) == 2
    assert response.finish_reason == "tool_calls"
    assert response.tool_calls
    assert conversation.messages[-1] == response.content


def test_a_tool_without_a_function_is_left_to_the_caller_and_no_other_one_of_its_round_runs(
    client: Any,
) -> None:
    ran: list[int] = []
    mine, yours = Tool.from_function(lambda: ran.append(1), name="mine"), Tool("yours")
    one = client(asks(("mine", {}), ("yours", {})), "done")
    conversation, response = one.run_agent_loop("Go", tools=[mine, yours])
    assert [call.name for call in response.tool_calls] == ["mine", "yours"]
    assert not ran
    answered = conversation.with_tool_results(
        *(ToolResult(call.id, "ok", call.name) for call in response.tool_calls)
    )
    assert one.run_agent_loop(answered, tools=[mine, yours])[1].completion == "done"


def test_a_vendors_tool_that_is_to_be_run_here_is_left_to_the_caller(client: Any) -> None:
    custom = {"type": "custom", "custom": {"name": "shell", "description": "A shell"}}
    one = client(asks(("shell", {"input": "ls"})))
    _, response = one.run_agent_loop("Go", tools=[add, custom])
    assert [call.name for call in response.tool_calls] == ["shell"]
    assert len(one.sandbox.journal) == 1


def test_calls_of_an_answer_that_was_cut_off_are_not_run(client: Any) -> None:
    ran: list[int] = []
    tool = Tool.from_function(lambda: ran.append(1), name="more")
    one = client(asks(("more", {}), finish="length"))
    _, response = one.run_agent_loop("Go", tools=[tool])
    assert response.finish_reason == "length"
    assert not ran


def test_a_turn_that_the_vendor_paused_is_sent_back_as_it_is_and_counts(client: Any) -> None:
    one = client(Reply("searching", finish="pause_turn"), "found")
    conversation, response = one.run_agent_loop("Go", tools=[add])
    assert response.completion == "found"
    sent = one.sandbox.journal[1].body["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant"]
    assert sent[1]["content"] == "searching"
    assert one.run_agent_loop("Go", tools=[add], max_rounds=1)[1].completion == "searching"
    assert len(conversation) == 3


def test_a_turn_that_the_vendor_paused_need_not_be_the_object_yet(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    one = client(Reply("searching", finish="pause_turn"), '{"a": 1}')
    _, response = one.run_agent_loop("Go", tools=[], output_schema=schema)
    assert response.parsed == {"a": 1}
    assert one.sandbox.requests == 2


def test_a_forced_choice_holds_for_the_first_round_only(client: Any) -> None:
    one = client(asks(("add", {"a": 1})), "done")
    one.run_agent_loop("Go", tools=[add], tool_choice="required")
    assert [record.body.get("tool_choice") for record in one.sandbox.journal] == ["required", None]


def test_an_object_that_was_asked_for_is_read_from_the_last_answer(client: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    one = client(asks(("add", {"a": 1})), '{"n": 2}')
    assert one.run_agent_loop("Go", tools=[add], output_schema=schema)[1].parsed == {"n": 2}


def test_a_loop_that_was_paid_for_once_comes_out_of_the_cache(client: Any, tmp_path: Any) -> None:
    one = client(asks(("add", {"a": 1})), "done", cache=str(tmp_path))
    first, _ = one.run_agent_loop("Go", tools=[add])
    rounds: list[AgentRound] = []
    again, response = one.run_agent_loop("Go", tools=[add], on_round=rounds.append)
    assert len(one.sandbox.journal) == 2
    assert again == first
    assert response.cached
    assert rounds[-1].cost == 0
    assert rounds[-1].usage.total_tokens == 0
    one.close()


# What goes wrong with tools goes to the model


def test_a_tool_that_raises_is_an_error_for_the_model_and_a_line_in_the_log(
    client: Any, caplog: Any
) -> None:
    def broken() -> str:
        raise ZeroDivisionError("no such number")

    result = only_result(client(asks(("broken", {})), "done"), broken)
    assert result.is_error
    assert result.content == "ZeroDivisionError: no such number"
    assert any("broken" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError("full")])
def test_whatever_a_tool_raises_it_ends_no_loop(client: Any, error: BaseException) -> None:
    def broken() -> str:
        raise error

    assert only_result(client(asks(("broken", {})), "done"), broken).is_error


def test_an_exception_that_cannot_say_what_it_is_is_named(client: Any) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    def broken() -> str:
        raise MuteError

    assert only_result(client(asks(("broken", {})), "done"), broken).content == "MuteError"


def test_a_long_message_of_an_exception_is_cut(client: Any) -> None:
    def broken() -> str:
        raise ValueError("x" * 1_000_000)

    assert len(only_result(client(asks(("broken", {})), "done"), broken).content) < 3_000


def test_an_unknown_tool_is_named_with_those_that_there_are(client: Any) -> None:
    result = only_result(client(asks(("substract", {"a": 1})), "done"), add)
    assert result.is_error
    assert result.content == "there is no tool 'substract'; there are: add"


def test_arguments_that_do_not_fit_are_told_and_the_tool_does_not_run(client: Any) -> None:
    ran: list[int] = []

    def count(n: int) -> None:
        """Count to n."""
        ran.append(n)

    result = only_result(client(asks(("count", {"n": "many"})), "done"), count)
    assert result.is_error
    assert "n" in result.content
    assert not ran


def test_a_result_that_json_has_no_form_for_is_an_error(client: Any) -> None:
    def handle() -> Any:
        return object()

    result = only_result(client(asks(("handle", {})), "done"), handle)
    assert result.is_error
    assert "handle cannot be written as JSON" in result.content


@pytest.mark.parametrize(
    "given",
    [
        ToolResult("", {"a": 1}),  # type: ignore[arg-type]
        ToolResult("", None),  # type: ignore[arg-type]
        ToolResult("", "half a pair: \ud800"),
        ToolResult("", "text", images=("no picture",)),  # type: ignore[arg-type]
    ],
)
def test_a_tool_result_that_cannot_be_sent_is_an_error(client: Any, given: ToolResult) -> None:
    def handle() -> str:
        return given  # type: ignore[return-value]

    result = only_result(client(asks(("handle", {})), "done"), handle)
    assert result.is_error
    assert "handle" in result.content


def test_what_utf_8_cannot_hold_of_a_complaint_is_replaced(client: Any) -> None:
    def find() -> str:
        raise ValueError("no file caf\udce9")  # as `os.listdir` names a file in Latin-1

    assert only_result(client(asks(("find", {})), "done"), find).content == (
        "ValueError: no file caf?"
    )


def test_what_a_tool_does_to_its_arguments_does_not_change_the_conversation(client: Any) -> None:
    one = client(asks(("pop", {"items": [{"a": 1}, {"b": 2}]})), "done")

    def pop(items: list[Any]) -> str:
        items[0]["open"] = object()
        return str(len(items))

    schema = {"type": "object", "properties": {"items": {"type": "array"}}}
    one.run_agent_loop("Go", tools=[Tool("pop", parameters=schema, run=pop)])
    (call,) = one.sandbox.journal[-1].body["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"items": [{"a": 1}, {"b": 2}]}


def test_a_long_result_is_cut_and_says_so(client: Any) -> None:
    def read() -> str:
        return "x" * 1_000

    result = only_result(client(asks(("read", {})), "done"), read, max_tool_output=100)
    assert result.content == "x" * 100 + "\n[cut: these are the first 100 of 1,000 characters]"


def test_a_picture_goes_back_as_a_picture(client: Any) -> None:
    def look() -> Any:
        return ["this is it", image(PIXEL)]

    tool = Tool.from_function(look)
    one = client(asks(("look", {})))
    rounds: list[AgentRound] = []
    one.run_agent_loop("Go", tools=[tool], max_rounds=2, on_round=rounds.append)
    (result,) = rounds[0].results
    assert (result.content, result.images[0].data) == ("this is it", PIXEL)


@pytest.mark.parametrize("where", ["tool", "loop"])
def test_a_tool_that_takes_too_long_is_left_behind_and_its_late_result_ignored(
    client: Any, where: str
) -> None:
    gate, late = threading.Event(), threading.Event()

    def slow() -> str:
        gate.wait(30)
        late.set()
        return "too late"

    tool = Tool.from_function(slow, timeout=0.05 if where == "tool" else None)
    one = client(asks(("slow", {})), "done")
    result = only_result(one, tool, tool_timeout=60 if where == "tool" else 0.05)
    assert result.is_error
    assert result.content == "the tool did not finish within 0.05 s"
    assert not late.is_set()
    assert one._here.stragglers.count() == 1
    gate.set()
    assert late.wait(10)


def test_while_too_many_tools_are_left_behind_none_is_run(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("add", {"a": 1})), "done")
    held = [threading.Thread(target=gate.wait) for _ in range(MOST_LEFT_BEHIND)]
    for thread in held:
        thread.start()
    one._here.stragglers.add(held)
    try:
        result = only_result(one, add)
    finally:
        gate.set()
    assert result.is_error
    assert "too many tools" in result.content
    for thread in held:
        thread.join()
    assert only_result(one, add).content == "2"


def test_the_tools_of_one_round_run_at_the_same_time_and_answer_in_order(client: Any) -> None:
    meeting = threading.Barrier(3, timeout=30)

    def meet(n: int) -> int:
        """Wait for the others."""
        meeting.wait()
        return n

    one = client(asks(*(("meet", {"n": n}) for n in range(3))), "done")
    conversation, _ = one.run_agent_loop("Go", tools=[meet])
    assert [result.content for result in results_of(conversation)] == ["0", "1", "2"]


def test_no_more_tools_than_the_bound_run_at_the_same_time() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def work() -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1
        return "ok"

    runs = ToolRuns(deadline=1e12, cancellation=Cancellation(), stragglers=Stragglers())
    tasks = [Task(ToolCall(str(n), "work"), work, 60) for n in range(5 * MOST_AT_ONCE)]
    results = runs.together(tasks)
    assert [result.tool_call_id for result in results] == [str(n) for n in range(len(tasks))]
    assert 1 <= most[0] <= MOST_AT_ONCE


def test_a_tool_sees_the_context_of_whoever_called_the_loop(client: Any) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("42")
    seen = [only_result(client(asks(("get", {})), "done"), Tool("get", run=request.get)).content]
    one = client(asks(("get", {})), "done")
    seen += [results_of(one.submit_agent_loop("Go", tools=[Tool("get", run=request.get)])
                        .result()[0])[0].content]  # fmt: skip
    seen += [results_of(one.map_agent_loops(["Go"], tools=[Tool("get", run=request.get)])[0][0])[0]
             .content]  # fmt: skip
    assert seen == ["42"] * 3


def test_where_the_system_gives_no_thread_the_model_is_told_and_a_future_fails(
    client: Any, monkeypatch: Any
) -> None:
    one = client(asks(("add", {"a": 1})), "done")
    one.complete("x")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    result = only_result(one, add)
    assert result.is_error
    assert "can't start new thread" in result.content
    future = one.submit_agent_loop("Go", tools=[add])
    assert isinstance(future.exception(10), CallCancelledError)
    ((_, response),) = one.map_agent_loops(["Go"], tools=[add])
    assert isinstance(response.error, CallCancelledError)
    monkeypatch.undo()
    assert one.submit_agent_loop("Go", tools=[add]).result(30)[1].completion == "done"


# Asking first


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (False, "this call was not allowed"),
        ("not on a Sunday", "not on a Sunday"),
        ("", "this call was not allowed"),
        (None, "this call was not allowed"),
        (1, "this call was not allowed"),
    ],
)
def test_what_is_not_confirmed_does_not_run(client: Any, verdict: Any, told: str) -> None:
    ran: list[int] = []
    tool = Tool.from_function(lambda: ran.append(1), name="delete")
    one = client(asks(("delete", {})), "done")
    result = only_result(one, tool, confirm=lambda call: verdict)
    assert result.is_error
    assert result.content == told
    assert not ran


def test_the_confirmation_sees_the_call_and_lets_it_run(client: Any) -> None:
    asked: list[ToolCall] = []

    def confirm(call: ToolCall) -> bool:
        asked.append(call)
        return True

    assert only_result(client(asks(("add", {"a": 4})), "done"), add, confirm=confirm).content == "5"
    assert [(call.name, dict(call.arguments)) for call in asked] == [("add", {"a": 4})]


def test_nobody_is_asked_about_a_call_that_cannot_run(client: Any) -> None:
    asked: list[ToolCall] = []
    one = client(asks(("add", {"a": "x"}), ("nothing", {})), "done")
    one.run_agent_loop("Go", tools=[add], confirm=lambda call: bool(asked.append(call)))
    assert asked == []


@pytest.mark.parametrize("hook", ["confirm", "on_round"])
def test_what_a_hook_raises_ends_the_loop(client: Any, hook: str) -> None:
    def broken(_: Any) -> bool:
        raise LookupError("mine")

    one = client(asks(("add", {"a": 1})), "done")
    with pytest.raises(LookupError, match="mine"):
        one.run_agent_loop("Go", tools=[add], **{hook: broken})
    ((_, response),) = one.map_agent_loops(["Go"], tools=[add], **{hook: broken})
    assert type(response.error) is CallError
    assert "LookupError: mine" in str(response.error)


# A computer's actions


def action(number: int) -> ToolCall:
    return ToolCall(f"c{number}", "click", {"x": number}, kind="computer")


def loop_over(calls: tuple[ToolCall, ...], tools: Any = (add,), **rules: Any) -> Any:
    """A loop whose model asks for `calls` and then is done; gives the results it was told."""
    told: list[Conversation] = []

    def ask(conversation: Conversation, **_: Any) -> Response:
        told.append(conversation)
        content = Message.assistant("done") if len(told) > 1 else Message("assistant", calls)
        return Response("m", content=content)

    given = LoopRules(**rules)
    loops = AgentLoops(ask, given, Toolbox(tools_of(tools), given), Stragglers())
    return loops.loop(Conversation().user("Go"), cancellation=Cancellation()).run()


def test_a_computers_actions_run_in_order_beside_functions() -> None:
    done: list[int] = []

    def computer(call: ToolCall) -> ToolResult:
        done.append(call.arguments["x"])
        return ToolResult("", f"clicked {call.arguments['x']}", images=(image(PIXEL),))

    calls = (action(1), ToolCall("f", "add", {"a": 1}), action(2), action(3))
    conversation, _ = loop_over(calls, computer=computer)
    results = results_of(conversation)
    assert done == [1, 2, 3]
    assert [result.tool_call_id for result in results] == ["c1", "f", "c2", "c3"]
    assert [result.kind for result in results] == ["computer", None, "computer", "computer"]
    assert results[0].images


@pytest.mark.parametrize("how", ["raises", "says so"])
def test_after_an_action_that_failed_the_rest_are_not_done_but_answered(how: str) -> None:
    done: list[int] = []

    def computer(call: ToolCall) -> ToolResult:
        done.append(call.arguments["x"])
        if call.arguments["x"] == 2:
            if how == "raises":
                raise OSError("no screen")
            return ToolResult("", "no screen", is_error=True)
        return ToolResult("", "ok")

    conversation, _ = loop_over((action(1), action(2), action(3), action(4)), computer=computer)
    assert done == [1, 2]
    assert [result.is_error for result in results_of(conversation)] == [False, True, True, True]
    assert "not done" in results_of(conversation)[3].content


def test_an_action_is_confirmed_when_its_turn_has_come() -> None:
    events: list[str] = []

    def computer(call: ToolCall) -> ToolResult:
        events.append(f"did {call.arguments['x']}")
        return ToolResult("", "ok")

    def confirm(call: ToolCall) -> bool:
        events.append(f"asked {call.arguments['x']}")
        return call.arguments["x"] < 2

    loop_over((action(1), action(2), action(3)), computer=computer, confirm=confirm)
    assert events == ["asked 1", "did 1", "asked 2"]


def test_without_a_computer_its_actions_are_left_to_the_caller() -> None:
    conversation, response = loop_over((action(1),))
    assert [call.kind for call in response.tool_calls] == ["computer"]
    assert conversation.messages[-1] == response.content


# What goes wrong with the loop


def test_a_call_that_fails_is_raised_with_a_conversation_that_can_be_sent_again(
    client: Any,
) -> None:
    rounds: list[AgentRound] = []
    one = client(asks(("add", {"a": 1})), "done", faults=[None, Fault("401")])
    with pytest.raises(AuthError) as caught:
        one.run_agent_loop("Go", tools=[add], on_round=rounds.append)
    kept = pickle.loads(pickle.dumps(caught.value)).conversation
    assert [message.role for message in kept.messages] == ["user", "assistant", "tool"]
    assert isinstance(rounds[-1].response.error, AuthError)
    assert one.run_agent_loop(kept, tools=[add])[1].completion == "done"


def test_the_loops_deadline_ends_a_wait_for_tools_and_keeps_no_half_turn(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("wait", {})), "done")
    with pytest.raises(DeadlineExceededError, match="while it ran wait") as caught:
        one.run_agent_loop("Go", tools=[Tool("wait", run=lambda: gate.wait(30))], timeout=0.5)
    gate.set()
    assert caught.value.conversation == Conversation().user("Go")
    assert caught.value.response.tool_calls
    assert caught.value.response.error is caught.value


@pytest.mark.parametrize("how", ["run_agent_loop", "map_agent_loops"])
def test_a_round_whose_tools_came_to_nothing_is_told_once_and_with_its_error(
    client: Any, how: str
) -> None:
    rounds: list[AgentRound] = []

    def confirm(call: ToolCall) -> bool:
        if call.arguments["a"] == 2:
            raise PromptError("nobody to ask")
        return True

    one = client(asks(("add", {"a": 1})), asks(("add", {"a": 2})), "done")
    options = {"tools": [add], "confirm": confirm, "on_round": rounds.append}
    if how == "run_agent_loop":
        with pytest.raises(PromptError, match="nobody to ask") as caught:
            one.run_agent_loop("Go", **options)
        response = caught.value.response
    else:
        ((_, response),) = one.map_agent_loops(["Go"], **options)
    assert [told.number for told in rounds] == [1, 2]
    assert [len(told.results) for told in rounds] == [1, 0]
    last = rounds[-1]
    assert isinstance(last.response.error, PromptError)
    assert last.response.error is response.error
    assert last.response.tool_calls == response.tool_calls != ()
    assert last.cost == pytest.approx(one.usage().cost)
    assert len(last.conversation) == 3  # no half turn


def test_the_loops_deadline_is_told_where_it_ended_the_tools(client: Any) -> None:
    gate = threading.Event()
    rounds: list[AgentRound] = []
    one = client(asks(("wait", {})), "done")
    wait = Tool("wait", run=lambda: gate.wait(30))
    with pytest.raises(DeadlineExceededError, match="while it ran wait") as caught:
        one.run_agent_loop("Go", tools=[wait], timeout=0.5, on_round=rounds.append)
    gate.set()
    assert [told.response for told in rounds] == [caught.value.response]


def test_the_loops_deadline_ends_a_call_of_the_model(client: Any) -> None:
    one = client("never", faults=[Fault("black_hole")])
    with pytest.raises(DeadlineExceededError):
        one.run_agent_loop("Go", tools=[add], timeout=0.3)


def test_all_rounds_of_a_loop_spend_one_budget(client: Any) -> None:
    usage = (100_000, 100)
    one = client(asks(("add", {"a": 1}), usage=usage))
    price = one.models[0].prices.cost(one.complete("x", tools=[add]).usage)
    with pytest.raises(BudgetExceeded) as caught:
        one.run_agent_loop("Go", tools=[add], max_rounds=10**12, max_cost=2.5 * price,
                           max_new_tokens=100)  # fmt: skip
    assert len(results_of(caught.value.conversation)) >= 1
    assert one.usage().cost <= 3.5 * price + 1e-9


def test_a_loops_budget_is_within_the_clients(client: Any) -> None:
    one = client(asks(("add", {"a": 1})), "done", max_cost=0.0)
    with pytest.raises(BudgetExceeded):
        one.run_agent_loop("Go", tools=[add], max_cost=1.0, max_new_tokens=10)
    assert len(one.sandbox.journal) == 0


def test_closing_the_client_ends_a_loop_that_waits_for_a_tool(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("close", {})), "done")

    def close() -> None:
        one.close()
        gate.wait(30)

    with pytest.raises(CallCancelledError):
        one.run_agent_loop("Go", tools=[close])
    gate.set()


@pytest.mark.parametrize(
    "options",
    [
        {"max_rounds": 0},
        {"max_rounds": True},
        {"max_tool_output": 0},
        {"tool_timeout": None},
        {"tool_timeout": -1},
        {"confirm": "yes"},
        {"on_round": 1},
        {"computer": {}},
        {"timeout": 0},
        {"max_cost": -1},
        {"max_round": 3},
        {"tools": "add"},
        {"tools": [add, add]},
    ],
)
@pytest.mark.parametrize("method", ["run_agent_loop", "submit_agent_loop", "map_agent_loops"])
def test_what_a_loop_cannot_be_told_is_said_before_anything_is_sent(
    client: Any, method: str, options: Any
) -> None:
    one = client("done")
    given = ["Go"] if method == "map_agent_loops" else "Go"
    with pytest.raises(ConfigError):
        getattr(one, method)(given, **{"tools": [add], **options})
    assert len(one.sandbox.journal) == 0


@pytest.mark.parametrize(("given", "meant"), [("max_round", "max_rounds"), ("tols", "tools")])
def test_a_loops_own_options_are_proposed_for_a_name_that_is_wrong(
    client: Any, given: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match=f"unknown option '{given}'; did you mean '{meant}'"):
        client("done").run_agent_loop("Go", **{"tools": [add], given: 3})


def test_a_picture_that_the_model_cannot_be_shown_is_told_in_words() -> None:
    def look() -> Any:
        """Looks."""
        return ["a map", image(PIXEL)]

    config = {"models": {"custom/blind": {"supports": ["tools"]}}}
    with Sandbox(answer=scripted(asks(("look", {})), "done")) as sandbox:
        one = Client("custom/blind", config=config, base_url=sandbox.base_url, api_key="k")
        conversation, response = one.run_agent_loop("Go", tools=[look])
    assert response.completion == "done"
    (result,) = conversation.messages[2].parts
    assert "a map" in result.content
    assert "pictures left out: 1" in result.content
    assert result.images == ()


@pytest.mark.parametrize("method", ["run_agent_loop", "submit_agent_loop"])
def test_what_is_no_conversation_is_said_at_once(client: Any, method: str) -> None:
    with pytest.raises(PromptError):
        getattr(client("done"), method)("", tools=[add])


# Loops in threads of their own


def test_a_submitted_loop_is_a_future(client: Any) -> None:
    one = client(asks(("add", {"a": 1})), "done", faults=None)
    conversation, response = one.submit_agent_loop("Go", tools=[add]).result(30)
    assert response.completion == "done"
    assert results_of(conversation)[0].content == "2"
    one.sandbox.script([Fault("401")])
    future = one.submit_agent_loop("Go", tools=[add])
    assert isinstance(future.exception(30), AuthError)


def test_a_submitted_loop_that_finds_no_thread_in_time_expires(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("wait", {})), "done", max_concurrent_requests=1)
    first = one.submit_agent_loop("Go", tools=[Tool("wait", run=lambda: gate.wait(30))])
    second = one.submit_agent_loop("Go", tools=[add], timeout=0.1)
    error = second.exception(30)
    assert isinstance(error, DeadlineExceededError)
    assert error.conversation == Conversation().user("Go")
    gate.set()
    assert first.result(30)[1].completion == "done"


def test_closing_the_client_fails_the_loops_that_were_submitted(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("wait", {})), max_concurrent_requests=2)
    tool = Tool("wait", run=lambda: gate.wait(30))
    futures = [one.submit_agent_loop("Go", tools=[tool]) for _ in range(6)]
    one.sandbox.wait_for(2)
    one.close()
    assert {type(future.exception(30)) for future in futures} == {CallCancelledError}
    gate.set()


def test_closing_the_client_finds_loops_that_began_before_its_limits_changed(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("wait", {})))
    future = one.submit_agent_loop("Go", tools=[Tool("wait", run=lambda: gate.wait(60))])
    one.sandbox.wait_for(1)
    one.with_limits(max_concurrent_requests=4)
    gc.collect()
    one.close()
    assert isinstance(future.exception(30), CallCancelledError)
    gate.set()


def test_a_tool_may_submit_loops_of_its_own_and_wait_for_them(client: Any) -> None:
    def answer(question: Question) -> Any:
        messages = question.body["messages"]
        if messages[-1]["role"] == "tool":
            return "done"
        return asks(("delegate", {"depth": int(messages[0]["content"])}))

    one = client(answer, max_concurrent_requests=1)

    def delegate(depth: int) -> str:
        """Have another one do it."""
        if depth == 0:
            return "bottom"
        return one.submit_agent_loop(str(depth - 1), tools=[delegate]).result(30)[1].completion

    futures = [one.submit_agent_loop("3", tools=[delegate]) for _ in range(3)]
    assert [future.result(60)[1].completion for future in futures] == ["done"] * 3


def test_many_loops_give_their_results_in_order_and_failures_as_responses(client: Any) -> None:
    def answer(question: Question) -> Any:
        messages = question.body["messages"]
        if messages[-1]["role"] == "tool":
            return messages[0]["content"] + "=" + messages[-1]["content"]
        return asks(("add", {"a": int(messages[0]["content"])}))

    one = client(answer, faults=[Fault("401", match="7")])
    rounds: list[AgentRound] = []
    prompts = [*map(str, range(20)), "", "20"]
    results = one.map_agent_loops(
        iter(prompts), tools=[add], max_concurrent=3, on_round=rounds.append
    )
    for index, (conversation, response) in enumerate(results):
        assert response.index == index
        if index == 7:
            assert isinstance(response.error, AuthError)
            assert conversation == Conversation().user("7")
        elif index == 20:
            assert isinstance(response.error, PromptError)
        else:
            assert response.completion == f"{prompts[index]}={int(prompts[index]) + 1}"
            assert len(conversation) == 4
    assert {told.index for told in rounds} == {*range(22)} - {20}


def test_what_every_loop_would_fail_with_is_raised(client: Any, monkeypatch: Any) -> None:
    one = client("done")
    with pytest.raises(PromptError, match="map_agent_loops takes many"):
        one.map_agent_loops("Go", tools=[add])
    with pytest.raises(ConfigError, match="max_concurrent"):
        one.map_agent_loops(["Go"], tools=[add], max_concurrent=0)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError):
        Client("gpt-4.1-mini", progress="none").map_agent_loops(["Go"], tools=[add])


def test_all_loops_of_a_map_spend_one_budget(client: Any) -> None:
    one = client(Reply("done", usage=(1_000, 10)))
    price = one.models[0].prices.cost(one.complete("x").usage)
    results = one.map_agent_loops(
        ["Go"] * 20, tools=[add], max_cost=5 * price, max_new_tokens=10, max_concurrent=1
    )
    failed = [r for _, r in results if isinstance(r.error, BudgetExceeded)]
    assert failed
    assert len(failed) < 20
    assert sum(r.cost or 0 for _, r in results) <= 5 * price * 1.0001


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_loop_under_way_at_a_fork_fails_in_the_child(client: Any) -> None:
    gate = threading.Event()
    one = client(asks(("wait", {})), "done")
    future = one.submit_agent_loop("Go", tools=[Tool("wait", run=lambda: gate.wait(30))])
    one.sandbox.wait_for(1)
    pid = os.fork()
    if pid == 0:
        try:
            future.result(5)
        except ForkedError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    gate.set()
    assert future.result(30)[1].completion == "done"


def test_no_secret_is_in_what_a_loop_logs(client: Any, caplog: Any) -> None:
    def broken() -> str:
        raise ValueError("broken")

    with caplog.at_level(logging.DEBUG):
        only_result(client(asks(("broken", {})), "done"), broken)
    assert "sk-secret-key" not in caplog.text


def test_persisted_conversations_hold_tool_results_as_data(client: Any) -> None:
    conversation, _ = client(asks(("add", {"a": 1})), "done").run_agent_loop("Go", tools=[add])
    text = json.dumps([message_to_plain(message) for message in conversation.messages])
    again = Conversation(tuple(message_from_plain(plain) for plain in json.loads(text)))
    assert again == conversation
