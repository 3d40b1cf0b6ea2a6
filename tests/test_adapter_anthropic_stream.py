"""Anthropic's events, folded: a part is never an answer, whatever comes and wherever it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import ServerEvent
from deluge_sync.values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from deluge_sync.values.errors import (
    CallError,
    ConnectionFailedError,
    DecodeError,
    RefusalError,
)
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.plain import answer_to_plain
from deluge_sync.values.prompt import Conversation, Text, Thinking, ToolCall, VendorBlock
from deluge_sync.values.request import Request
from deluge_sync.values.response import Answer, Usage
from deluge_sync.values.wire import HttpResponse

from .test_adapter_fuzz import altered

GOLDEN = Path(__file__).parent / "golden" / "anthropic"
ANTHROPIC = ADAPTERS["anthropic"]
MODEL = Model("m", Provider("vendor", "anthropic", base_url="https://vendor"))
HEAD = HttpResponse(200, {"request-id": "req_1", "content-type": "text/event-stream"}, b"")


def streams() -> dict[str, list[ServerEvent]]:
    found = {}
    for path in sorted(GOLDEN.glob("stream*.json")):
        pairs = json.loads(path.read_text("utf-8"))["stream"]
        found[path.stem] = [ServerEvent(name, json.dumps(data)) for name, data in pairs]
    return found


STREAMS = streams()
POSITIONS = [(name, at) for name, events in STREAMS.items() for at in range(len(events))]
every_position = pytest.mark.parametrize(("name", "at"), POSITIONS)


def event(kind: str, **fields: Any) -> ServerEvent:
    return ServerEvent(kind, json.dumps({"type": kind, **fields}))


def start(**usage: Any) -> ServerEvent:
    message = {"id": "msg_1", "content": [], "stop_reason": None, "usage": usage}
    return event("message_start", message=message)


def begun(index: int, **block: Any) -> ServerEvent:
    return event("content_block_start", index=index, content_block=block)


def grown(index: int, **delta: Any) -> ServerEvent:
    return event("content_block_delta", index=index, delta=delta)


def stopped(index: int) -> ServerEvent:
    return event("content_block_stop", index=index)


def ended(reason: str | None = "end_turn", usage: Any = None, **more: Any) -> list[ServerEvent]:
    delta = {"stop_reason": reason, **more}
    return [event("message_delta", delta=delta, usage=usage or {}), event("message_stop")]


def folded(*events: ServerEvent) -> tuple[list[Any], Answer]:
    fold = ANTHROPIC.fold(HEAD, MODEL)
    deltas = [delta for one in events for delta in fold.feed(one)]
    return deltas, fold.answer()


def without_usage(deltas: list[Any]) -> list[Any]:
    return [delta for delta in deltas if not isinstance(delta, UsageDelta)]


@every_position
def test_a_stream_that_ends_before_its_last_event_is_never_an_answer(name: str, at: int) -> None:
    fold = ANTHROPIC.fold(HEAD, MODEL)
    for one in STREAMS[name][:at]:
        fold.feed(one)
    assert not fold.done
    with pytest.raises(ConnectionFailedError) as caught:
        fold.answer()
    assert caught.value.request_id == "req_1"


@every_position
def test_a_lost_event_gives_the_same_answer_an_error_or_less_but_never_a_later_end(
    name: str, at: int
) -> None:
    """A stream without one of its events ends in an error wherever the loss can be seen."""
    events = STREAMS[name]
    try:
        _, answer = folded(*events[:at], *events[at + 1 :])
    except CallError:
        return
    assert events[at].name not in ("message_start", "content_block_start", "message_stop")
    assert answer.finish_reason is not None


@every_position
@pytest.mark.parametrize(
    ("word", "kind", "retried"),
    [
        ("overloaded_error", "transient", True),
        ("api_error", "transient", True),
        ("timeout_error", "transient", True),
        ("rate_limit_error", "throttled", True),
        ("invalid_request_error", "bad_request", False),
        ("authentication_error", "auth", False),
        ("billing_error", "quota_exhausted", False),
    ],
)
def test_an_error_event_is_raised_at_every_position_as_what_it_is(
    name: str, at: int, word: str, kind: str, retried: bool
) -> None:
    fold = ANTHROPIC.fold(HEAD, MODEL)
    for one in STREAMS[name][:at]:
        fold.feed(one)
    with pytest.raises(CallError) as caught:
        fold.feed(event("error", error={"type": word, "message": "Sorry."}, request_id="req_1"))
    error = caught.value
    assert (error.kind, error.retryable, error.code) == (kind, retried, word)
    assert (error.status, error.request_id) == (200, "req_1")
    assert "Sorry." in error.message


def test_an_error_is_known_by_its_body_where_its_name_is_missing_or_wrong() -> None:
    body = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
    for one in (
        ServerEvent("", body),
        ServerEvent("", body, bare=True),
        ServerEvent("content_block_delta", body),
        ServerEvent("error", body),
    ):
        with pytest.raises(CallError) as caught:
            ANTHROPIC.fold(HEAD, MODEL).feed(one)
        assert caught.value.kind == "transient"


@pytest.mark.parametrize("data", ["upstream timed out", "", "[]", "null", '"no"', '{"error": 1}'])
def test_an_error_event_that_says_nothing_readable_is_still_an_error(data: str) -> None:
    with pytest.raises(CallError) as caught:
        ANTHROPIC.fold(HEAD, MODEL).feed(ServerEvent("error", data))
    assert caught.value.retryable


def test_a_spending_limit_in_the_middle_of_a_stream_is_not_retried() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    error = {"type": "rate_limit_error", "message": "No.", "details": details}
    with pytest.raises(CallError) as caught:
        ANTHROPIC.fold(HEAD, MODEL).feed(event("error", error=error))
    assert caught.value.kind == "quota_exhausted"


@every_position
@pytest.mark.parametrize(
    "unknown",
    [
        event("ping"),
        event("content_block_polish", index=7, delta={}),
        ServerEvent("heartbeat", "not JSON at all"),
        ServerEvent("", '{"type": "brand_new"}'),
        ServerEvent("", '{"type": ["odd"]}'),
    ],
)
def test_events_of_unknown_kinds_change_nothing_wherever_they_come(
    name: str, at: int, unknown: ServerEvent
) -> None:
    events = STREAMS[name]
    assert folded(*events[:at], unknown, *events[at:]) == folded(*events)


@every_position
def test_an_event_that_is_cut_is_an_error_not_a_gap(name: str, at: int) -> None:
    one = STREAMS[name][at]
    if one.name == "ping":
        return
    fold = ANTHROPIC.fold(HEAD, MODEL)
    for earlier in STREAMS[name][:at]:
        fold.feed(earlier)
    with pytest.raises(DecodeError):
        fold.feed(one._replace(data=one.data[: len(one.data) // 2]))


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_the_deltas_joined_are_the_answer(name: str) -> None:
    deltas, answer = folded(*STREAMS[name])
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    thinking = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
    assert (text or None, thinking or None) == (answer.content.text, answer.content.thinking)
    calls: dict[int, Any] = {}
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            known = calls.setdefault(delta.number, [delta.id, delta.name, ""])
            known[2] += delta.arguments
    found = [ToolCall(i, n, json.loads(arguments)) for i, n, arguments in calls.values()]
    assert tuple(found) == answer.content.tool_calls
    usages = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
    assert usages[-1] == answer.usage


def test_events_without_names_are_read_by_their_type() -> None:
    for events in STREAMS.values():
        assert folded(*(one._replace(name="") for one in events)) == folded(*events)


def test_nothing_after_the_end_matters() -> None:
    events = STREAMS["stream"]
    fold = ANTHROPIC.fold(HEAD, MODEL)
    for one in events:
        fold.feed(one)
    assert fold.done
    assert fold.feed(event("error", error={"type": "api_error"})) == []
    assert fold.feed(ServerEvent("", "<html>", bare=True)) == []
    assert fold.answer().content.text == "Hello."


def test_an_end_without_a_reason_is_no_answer() -> None:
    text = [begun(0, type="text", text=""), grown(0, type="text_delta", text="a"), stopped(0)]
    with pytest.raises(ConnectionFailedError):
        folded(start(), *text, *ended(None))
    with pytest.raises(ConnectionFailedError):
        folded(start(), *text, event("message_stop"))
    with pytest.raises(ConnectionFailedError):
        folded(event("message_stop"))


@pytest.mark.parametrize(
    "events",
    [
        [begun(0, type="text", text="")],
        [start(), start()],
        [start(), begun(1, type="text", text="")],
        [start(), begun(0, type="text", text=""), begun(0, type="text", text="")],
        [start(), grown(0, type="text_delta", text="a")],
        [start(), begun(0, type="text", text=""), grown(-1, type="text_delta", text="a")],
        [start(), begun(0, type="text", text=""), grown(True, type="text_delta", text="a")],
        [start(), begun(0, type="text", text=""), grown(0, type="text_delta")],
        [start(), begun(0, type="text", text=""), grown(0, type="thinking_delta", thinking="a")],
        [start(), begun(0, type="tool_use", name="f")],
        [start(), begun(0, type="tool_use", id="1", name=7)],
        [event("message_delta", delta={"stop_reason": "end_turn"})],
        [ServerEvent("message_start", "[]")],
        [ServerEvent("message_start", '{"type": "message_start"}')],
        [ServerEvent("", "<html>Bad gateway</html>", bare=True)],
    ],
)
def test_events_that_cannot_be_are_a_decode_error(events: list[ServerEvent]) -> None:
    with pytest.raises(DecodeError):
        folded(*events)


def test_blocks_of_the_vendors_own_tools_are_kept_in_their_place() -> None:
    deltas, answer = folded(
        start(),
        begun(0, type="server_tool_use", id="s1", name="web_search", input={}),
        grown(0, type="input_json_delta", partial_json='{"query": "x"}'),
        stopped(0),
        begun(1, type="web_search_tool_result", tool_use_id="s1", content=[]),
        stopped(1),
        begun(2, type="text", text="A"),
        grown(2, type="citations_delta", citation={"type": "char_location"}),
        grown(2, type="brand_new_delta", field=[]),
        grown(2, type="text_delta", text="b"),
        stopped(2),
        *ended("pause_turn"),
    )
    assert without_usage(deltas) == [TextDelta("A"), TextDelta("b")]
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search"}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    assert answer.content.parts == (
        VendorBlock({**search, "input": {"query": "x"}}),
        VendorBlock(found),
        Text("Ab"),
    )
    assert answer.finish_reason == "pause_turn"


def test_parts_keep_their_order_and_calls_their_numbers() -> None:
    deltas, answer = folded(
        start(),
        begun(0, type="tool_use", id="a", name="f", input={}),
        begun(1, type="text", text="And "),
        begun(2, type="tool_use", id="b", name="g", input={"from": "start"}),
        grown(0, type="input_json_delta", partial_json='{"n": 1}'),
        grown(1, type="text_delta", text="so."),
        *map(stopped, (0, 1, 2)),
        *ended("tool_use"),
    )
    assert answer.content.parts == (
        ToolCall("a", "f", {"n": 1}),
        Text("And so."),
        ToolCall("b", "g", {"from": "start"}),
    )
    calls = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert [(call.number, call.id, call.arguments) for call in calls] == [
        (0, "a", ""),
        (1, "b", ""),
        (0, None, '{"n": 1}'),
        (1, None, '{"from": "start"}'),
    ]


def test_a_call_that_the_token_limit_broke_off_is_left_out_and_any_other_broken_one_an_error() -> (
    None
):
    events = [
        start(),
        begun(0, type="text", text="Look:"),
        stopped(0),
        begun(1, type="tool_use", id="a", name="f", input={}),
        grown(1, type="input_json_delta", partial_json='{"n": '),
        stopped(1),
    ]
    _, answer = folded(*events, *ended("max_tokens"))
    assert (answer.content.parts, answer.finish_reason) == ((Text("Look:"),), "length")
    with pytest.raises(DecodeError):
        folded(*events, *ended("tool_use"))


def test_thinking_that_is_not_shown_still_goes_back_with_its_signature() -> None:
    _, answer = folded(
        start(),
        begun(0, type="thinking", thinking="", signature=""),
        grown(0, type="signature_delta", signature="proof"),
        stopped(0),
        begun(1, type="redacted_thinking", data="blob"),
        stopped(1),
        begun(2, type="text", text="Hi"),
        stopped(2),
        *ended(),
    )
    assert answer.content.parts[:2] == (Thinking("", "proof"), Thinking("blob", redacted=True))
    conversation = Conversation().user("?").add(answer.content).user("!")
    body = json.loads(ANTHROPIC.encode(Request(conversation), MODEL).body)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "", "signature": "proof"},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "Hi"},
    ]


def test_counts_are_totals_and_what_a_later_event_leaves_out_stays() -> None:
    split = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    deltas, answer = folded(
        start(
            input_tokens=5,
            cache_read_input_tokens=7,
            cache_creation_input_tokens=30,
            cache_creation=split,
            output_tokens=1,
            service_tier="priority",
        ),
        event("message_delta", delta={}, usage={"output_tokens": 40, "input_tokens": None}),
        *ended(usage={"output_tokens": 90, "output_tokens_details": {"thinking_tokens": 60}}),
    )
    assert [delta.usage.output_tokens for delta in deltas] == [1, 40, 90]
    assert answer.usage == Usage(42, 90, 7, 30, 60, 20)
    assert answer.service_tier == "priority"


def test_a_refusal_is_an_answer_with_its_error_and_what_was_written_before_it() -> None:
    why = {"type": "refusal", "category": "bio", "explanation": "Not that."}
    _, answer = folded(
        start(output_tokens=1),
        begun(0, type="text", text="Take "),
        *ended("refusal", {"output_tokens": 9}, stop_details=why),
    )
    assert isinstance(answer.error, RefusalError)
    assert (answer.error.code, answer.finish_reason) == ("bio", "refusal")
    assert "Not that." in answer.error.message
    assert answer.usage.output_tokens == 9


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_an_event_says_it_is_read_or_one_of_our_errors(data: st.DataObject) -> None:
    """And what is read can be stored, and sent back."""
    events = STREAMS[data.draw(st.sampled_from(sorted(STREAMS)))]
    at = data.draw(st.integers(0, len(events) - 1))
    body = data.draw(altered(json.loads(events[at].data)))
    odd = ServerEvent(data.draw(st.sampled_from([events[at].name, ""])), json.dumps(body))
    try:
        deltas, answer = folded(*events[:at], odd, *events[at + 1 :])
    except CallError:
        return
    json.dumps(answer_to_plain(answer), ensure_ascii=False).encode()
    assert all(type(number) is int and number >= 0 for number in answer.usage)
    conversation = Conversation().user("?").add(answer.content).user("!")
    assert ANTHROPIC.encode(Request(conversation), MODEL).body
    json.dumps(deltas, ensure_ascii=False).encode()
