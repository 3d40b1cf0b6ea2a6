"""Streams of OpenAI Chat as other hosts send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import openai_chat
from deluge_sync.adapters.base import Fold
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.values.deltas import Delta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from deluge_sync.values.errors import (
    AuthError,
    CallError,
    ConnectionFailedError,
    DecodeError,
    RefusalError,
    ThrottledError,
    TooLongError,
    TransientError,
)
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall
from deluge_sync.values.request import Request
from deluge_sync.values.response import Usage
from deluge_sync.values.wire import HttpResponse

from .test_adapter_fuzz import FEW, altered
from .test_golden import model_of

MODEL = model_of("openai_chat")
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
DONE = "[DONE]"


def chunk(finish: str | None = None, *, index: int = 0, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}


def folded(*chunks: Any, bare: bool = False) -> tuple[Fold, list[Delta]]:
    fold = openai_chat.fold(HttpResponse(200, {}, b""), MODEL)
    deltas: list[Delta] = []
    for data in chunks:
        text = data if isinstance(data, str) else json.dumps(data)
        deltas += fold.feed(ServerEvent("", text, bare))
    return fold, deltas


def call(number: int | None = None, **fields: Any) -> dict[str, Any]:
    index = {} if number is None else {"index": number}
    names = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {**index, **fields, "function": names}


def test_a_host_that_never_says_done_is_complete_with_its_finish_reason():
    fold, _ = folded(chunk(content="Hello."), chunk("stop"))
    assert not fold.done
    assert fold.answer().content.text == "Hello."
    assert fold.answer().usage == Usage()


def test_done_without_a_finish_reason_is_a_cut_stream():
    fold, _ = folded(chunk(content="Hel"), DONE)
    assert fold.done
    with pytest.raises(ConnectionFailedError):
        fold.answer()


def test_nothing_behind_done_is_read():
    fold, deltas = folded(chunk("stop", content="Hello."), DONE, "not JSON", chunk(content="!"))
    assert fold.answer().content.text == "Hello."
    assert deltas == [TextDelta("Hello.")]


@pytest.mark.parametrize(
    "last",
    [
        {**chunk("stop"), "usage": USAGE},
        {"id": "1", "choices": [{"index": 0, "finish_reason": "stop", "usage": USAGE}]},
    ],
    ids=["beside", "inside"],
)
def test_usage_may_come_with_the_finish_reason(last):
    fold, deltas = folded(chunk(content="Hello."), last)
    assert fold.answer().usage == Usage(9, 2)
    assert deltas[-1] == UsageDelta(Usage(9, 2))


def test_usage_in_every_chunk_counts_once():
    first = {**USAGE, "completion_tokens": 1}
    fold, deltas = folded(
        {**chunk(content="Hel"), "usage": first}, {**chunk("stop", content="lo."), "usage": USAGE}
    )
    assert fold.answer().usage == Usage(9, 2)
    assert [delta for delta in deltas if isinstance(delta, UsageDelta)] == [
        UsageDelta(Usage(9, 1)),
        UsageDelta(Usage(9, 2)),
    ]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_comes_under_either_name(name):
    fold, deltas = folded(chunk(**{name: "H"}), chunk(**{name: "m."}), chunk("stop", content="Hi"))
    assert deltas == [ThinkingDelta("H"), ThinkingDelta("m."), TextDelta("Hi")]
    assert fold.answer().content.parts == (Thinking("Hm."), Text("Hi"))


def test_thinking_under_both_names_is_one():
    _, deltas = folded(chunk(reasoning="Hm.", reasoning_content="Hm."))
    assert deltas == [ThinkingDelta("Hm.")]


def test_mistrals_content_chunks_are_put_together():
    def thinking(text: str, **more: Any) -> dict[str, Any]:
        inner = [{"type": "text", "text": text}]
        return chunk(content=[{"type": "thinking", "thinking": inner, **more}])

    fold, deltas = folded(
        chunk(role="assistant", content=""),
        thinking("H"),
        thinking("m.", signature="s"),
        chunk(content=[{"type": "text", "text": "Hel"}]),
        chunk(content="lo."),
        chunk("stop", content=""),
        DONE,
    )
    expected = [ThinkingDelta("H"), ThinkingDelta("m."), TextDelta("Hel"), TextDelta("lo.")]
    assert deltas == expected
    assert fold.answer().content.parts == (Thinking("Hm.", "s"), Text("Hello."))


@pytest.mark.parametrize(
    "calls",
    [
        [call(id="a", name="look", arguments="{}"), call(id="b", name="go", arguments="{}")],
        [call(0, id="a", name="look", arguments="{}"), call(0, id="b", name="go", arguments="{}")],
        [call(0, id="a", name="look"), call(0, arguments="{}"), call(1, id="b", name="go")],
        [call(id="a", name="look", arguments="{"), call(arguments="}"), call(id="b", name="go")],
        [call(0, id="a", name="look", arguments={}), call(1, id="b", name="go", arguments=None)],
        [call(5, id="a", name="look"), call(7, id="b", name="go")],
    ],
    ids=["no index", "one index", "pieces", "pieces, no index", "objects", "gaps"],
)
def test_tool_calls_are_told_apart_however_they_are_numbered(calls):
    fold, deltas = folded(*(chunk(tool_calls=[piece]) for piece in calls), chunk("tool_calls"))
    assert fold.answer().content.parts == (ToolCall("a", "look", {}), ToolCall("b", "go", {}))
    begun = [delta for delta in deltas if isinstance(delta, ToolCallDelta) and delta.id]
    assert [(delta.number, delta.id, delta.name) for delta in begun] == [
        (0, "a", "look"),
        (1, "b", "go"),
    ]


def test_calls_without_ids_and_numbers_are_told_apart_by_their_names():
    calls = [call(name="look", arguments="{}"), call(name="look", arguments='{"at": 1}')]
    fold, _ = folded(chunk(tool_calls=calls), chunk("stop"))
    assert [call.arguments for call in fold.answer().content.tool_calls] == [{}, {"at": 1}]
    assert fold.answer().finish_reason == "tool_calls"


def test_other_choices_than_the_first_are_passed_over():
    fold, _ = folded(chunk(content="A"), chunk(index=1, content="B"), chunk("stop"))
    assert fold.answer().content.text == "A"


def test_chunks_without_choices_are_passed_over():
    filtered = {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    fold, deltas = folded(filtered, {"id": "1", "moderation": {}}, chunk("stop", content="A"))
    assert (deltas, fold.answer().response_id) == ([TextDelta("A")], "1")


def test_a_refusal_in_pieces_is_a_refusal():
    fold, deltas = folded(
        chunk(role="assistant", content="", refusal=None),
        chunk(refusal="I can"),
        chunk(refusal="not."),
        chunk("stop"),
    )
    assert deltas == []
    assert isinstance(fold.answer().error, RefusalError)
    assert "I cannot." in str(fold.answer().error)


def test_a_filtered_answer_is_a_refusal():
    fold, _ = folded(chunk(content="Hel"), chunk("content_filter"))
    assert isinstance(fold.answer().error, RefusalError)
    assert fold.answer().finish_reason == "content_filter"


def test_logprobs_are_put_together():
    def token(text: str) -> dict[str, Any]:
        top = [{"token": text, "logprob": -0.5, "bytes": None}]
        logprobs = {"content": [{"token": text, "logprob": -0.5, "top_logprobs": top}]}
        one = chunk(content=text)
        one["choices"][0]["logprobs"] = logprobs
        return one

    fold, _ = folded(token("Hel"), token("lo."), chunk("stop"))
    logprobs = fold.answer().logprobs
    assert logprobs is not None
    assert [(one.token, one.logprob, one.top) for one in logprobs] == [
        ("Hel", -0.5, (("Hel", -0.5),)),
        ("lo.", -0.5, (("lo.", -0.5),)),
    ]


@pytest.mark.parametrize("value", ["1" + "0" * 400, "NaN", "-Infinity", "true", '"a"', "null"])
def test_logprobs_that_are_none_do_no_harm(value):
    one = chunk("stop", content="Hello.")
    one["choices"][0]["logprobs"] = {"content": [{"token": "Hello.", "logprob": 0.125}]}
    fold, _ = folded(json.dumps(one).replace("0.125", value))
    assert (fold.answer().content.text, fold.answer().logprobs) == ("Hello.", None)
    one["choices"][0]["logprobs"] = {"content": 1}
    assert folded(one)[0].answer().logprobs is None


def test_a_host_that_does_not_stream_is_read_all_the_same():
    message = {"role": "assistant", "content": "Hello.", "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "choices": [choice], "usage": USAGE}
    reader = EventReader()
    events = [*reader.feed(json.dumps(body, indent=1).encode()), *reader.finish()]
    assert [event.bare for event in events] == [True]
    fold, _ = folded(*(event.data for event in events), bare=True)
    assert (fold.answer().content.text, fold.answer().usage) == ("Hello.", Usage(9, 2))


OPENROUTER = {"error": {"code": 429, "message": "No."}, **chunk("error", content="")}
FLAGGED = {"error": {"code": 403, "message": "No.", "metadata": {"flagged_input": "x"}}}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"error": {"message": "No.", "type": "server_error", "code": None}}, TransientError),
        ({"error": {"message": "No.", "type": "x", "code": "rate_limit_exceeded"}}, ThrottledError),
        ({"error": {"message": "No. Prompt is too long"}}, TooLongError),
        ({"error": "No."}, TransientError),
        (OPENROUTER, ThrottledError),
        (FLAGGED, RefusalError),
        ({"object": "error", "message": "No.", "type": "invalid", "code": 401}, AuthError),
        ({"detail": "No."}, TransientError),
        (chunk("error"), TransientError),
    ],
    ids=str,
)
def test_an_error_inside_a_stream_is_raised_as_what_it_is(data, error):
    with pytest.raises(error) as caught:
        folded(chunk(content="Hel"), data)
    assert caught.value.status == 200
    assert "No." in str(caught.value) or "failed while it wrote" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        "{",
        "[]",
        "null",
        '"x"',
        {"choices": 1},
        {"choices": [1]},
        {"choices": [{"delta": 1}]},
        chunk(content=1),
        chunk(reasoning={"a": 1}),
        chunk(refusal=["x"]),
        chunk(tool_calls={"index": 0}),
        chunk(tool_calls=[1]),
        chunk(tool_calls=[{"function": 1}]),
        chunk(tool_calls=[call(0, arguments=1)]),
        {"choices": [{"delta": {}, "finish_reason": 1}]},
        chunk(content=[{"type": "text", "text": 1}]),
        chunk(content=[{"type": "thinking", "thinking": 1}]),
        chunk(content=[1]),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_a_decode_error(data):
    with pytest.raises(DecodeError, match="cannot be read"):
        folded(data)


def test_arguments_that_are_cut_are_a_decode_error():
    fold, _ = folded(
        chunk(tool_calls=[call(0, id="a", name="look", arguments='{"a":')]), chunk("tool_calls")
    )
    with pytest.raises(DecodeError, match="arguments"):
        fold.answer()


def test_asking_for_the_answer_twice_gives_the_same():
    fold, _ = folded(chunk(content=[{"type": "text", "text": "A"}]), chunk("stop", content="B"))
    assert fold.answer() == fold.answer()


SEED = {
    "id": "1",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "delta": {
                "content": "a",
                "reasoning_content": "hm",
                "refusal": "",
                "tool_calls": [
                    {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}},
                    {"index": 1, "function": {"name": "g", "arguments": ""}},
                ],
            },
            "logprobs": {
                "content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": "a"}]}]
            },
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 1},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 1}},
    "error": {"message": "m", "code": 429, "metadata": {"flagged_input": ""}},
}
CHUNKS = {"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"text": "a"}]}]}}]}


@FEW
@given(st.lists(altered(SEED) | altered(CHUNKS), min_size=1, max_size=3), st.booleans())
def test_any_altered_chunk_is_read_or_refused(chunks, done):
    try:
        fold, _ = folded(*chunks, *([DONE] if done else []))
        answer = fold.answer()
    except CallError:
        return
    assert answer.finish_reason
    turns = (Message.user("?"), answer.content, Message.user("!"))
    openai_chat.encode(Request(Conversation(turns)), MODEL)
