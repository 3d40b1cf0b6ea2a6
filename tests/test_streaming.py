"""Streams, over real HTTP against the sandbox, in four wire formats."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deluge_sync import (
    CallCancelledError,
    Client,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DelugeError,
    MemoryStore,
    RefusalError,
    Response,
    ThrottledError,
    routes,
)
from deluge_sync.engine.clock import monotonic
from deluge_sync.engine.retry import RetryPolicy
from deluge_sync.testing import Fault, Reply, Sandbox
from deluge_sync.values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta

from .helpers import client_for

WIRES = ["gpt-4.1-mini", "responses", "claude-haiku-4-5", "gemini-3.5-flash"]
PROMPT = "one two three four five six"


def streaming_client(sandbox: Sandbox, wire: str, **options: Any) -> Client:
    if wire == "responses":
        return client_for(sandbox, use_responses_api=True, **options)
    return client_for(sandbox, wire, **options)


def read(pieces: Iterator[Any]) -> tuple[str, Response]:
    *texts, response = pieces
    return "".join(texts), response


@pytest.mark.parametrize("wire", WIRES)
def test_text_comes_in_pieces_and_then_the_whole_response(sandbox: Sandbox, wire: str) -> None:
    client = streaming_client(sandbox, wire)
    *texts, response = client.stream_chat(PROMPT)
    whole = client.complete(PROMPT)
    assert len(texts) > 1
    assert "".join(texts) == response.completion == whole.completion == PROMPT
    assert response.content == whole.content
    assert (response.usage, response.cost, response.finish_reason, response.model) == (
        whole.usage, whole.cost, whole.finish_reason, whole.model,
    )  # fmt: skip
    assert client.usage().answered == 2


@pytest.mark.parametrize("wire", WIRES)
def test_stream_writes_to_a_file_and_gives_the_response(sandbox: Sandbox, wire: str) -> None:
    file = io.StringIO()
    response = streaming_client(sandbox, wire).stream(PROMPT, file=file)
    assert file.getvalue() == response.completion == PROMPT


def test_stream_writes_to_standard_output(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    client_for(sandbox).stream(PROMPT)
    assert capsys.readouterr().out == PROMPT


@pytest.mark.parametrize("wire", WIRES)
def test_events_tell_text_thinking_tool_calls_and_usage_apart(wire: str) -> None:
    reply = Reply("Sunny.", "Let me think.", tool_calls=[("look", {"at": "the sky"})])
    with Sandbox(answer=reply) as sandbox:
        client = streaming_client(sandbox, wire)
        *events, response = client.stream_chat("How is the weather?", events=True)
    texts = "".join(event.text for event in events if isinstance(event, TextDelta))
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert texts == response.completion == "Sunny."
    assert thoughts == (response.thinking or "")
    assert [call.name for call in calls if call.name] == ["look"]
    assert "".join(call.arguments for call in calls).replace(" ", "") == '{"at":"thesky"}'.replace(
        " ", ""
    )
    assert response.content.tool_calls[0].arguments == {"at": "the sky"}
    assert [event for event in events if isinstance(event, UsageDelta)][-1].usage == response.usage


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "RetryPolicy", functools.partial(RetryPolicy, base_seconds=0.001))


BREAKING = ["stream_end", "stream_cut", "stream_reset", "stream_malformed", "stream_error"]


@pytest.mark.parametrize("kind", BREAKING)
@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_broken_at_any_event_is_never_taken_for_an_answer(wire: str, kind: str) -> None:
    with Sandbox() as sandbox:
        client = streaming_client(sandbox, wire, max_attempts=1)
        whole = client.complete(PROMPT)
        broken = 0
        for after in range(_events_of(sandbox, client)):
            sandbox.script([Fault(kind, after=after)])
            said, response = outcome(client)
            if response.is_error:
                broken += 1
                assert (response.completion or "") == said
                assert PROMPT.startswith(said)
            else:
                # What was missing says nothing: a ping, or what follows the end.
                assert response.content == whole.content
                assert response.finish_reason == whole.finish_reason
        assert broken >= 3


def outcome(client: Client) -> tuple[str, Response]:
    """What was given out, and the response at the end, be it that of an error."""
    said = ""
    try:
        for piece in client.stream_chat(PROMPT):
            if isinstance(piece, Response):
                return said, piece
            said += piece
    except DelugeError as error:
        return said, error.response
    raise AssertionError("a stream ends with its response")


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_breaks_before_anything_was_given_out_is_tried_again(wire: str) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("stream_reset"), Fault("stream_cut"), "503", "reset"])
        text, response = read(streaming_client(sandbox, wire).stream_chat(PROMPT))
    assert text == PROMPT
    assert response.attempts == 5


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_breaks_after_something_was_given_out_is_not_tried_again(wire: str) -> None:
    with Sandbox() as sandbox:
        client = streaming_client(sandbox, wire)
        events = _events_of(sandbox, streaming_client(sandbox, wire, max_attempts=1))
        sandbox.clear()
        sandbox.script([Fault("stream_cut", after=max(2, events // 2))])
        pieces = client.stream_chat(PROMPT)
        assert PROMPT.startswith(next(pieces))
        with pytest.raises(ConnectionFailedError) as caught:
            list(pieces)
        assert sandbox.requests == 1
    assert PROMPT.startswith(caught.value.response.completion)
    assert caught.value.response.completion


def _events_of(sandbox: Sandbox, client: Client) -> int:
    """As many as the whole stream has, found by cutting it later and later."""
    for after in range(100):
        sandbox.script([Fault("stream_end", after=after)])
        with contextlib.suppress(DelugeError):
            list(client.stream_chat(PROMPT))
            return after
    raise AssertionError


@pytest.mark.parametrize("kind", ["stream_bytes", "stream_crlf", "stream_comments", "gzip"])
@pytest.mark.parametrize("wire", WIRES)
def test_however_a_stream_is_cut_into_packets_it_reads_the_same(wire: str, kind: str) -> None:
    prompt = "Grüße, 世界, 🎉 zusammen"
    with Sandbox() as sandbox:
        sandbox.script([Fault(kind)])
        text, _ = read(streaming_client(sandbox, wire).stream_chat(prompt))
    assert text == prompt


@pytest.mark.parametrize("wire", WIRES)
def test_closing_a_stream_early_frees_its_connection_and_its_slot_at_once(wire: str) -> None:
    with Sandbox(event_delay=0.02) as sandbox:
        client = streaming_client(sandbox, wire, max_concurrent_requests=1)
        pieces = client.stream_chat(PROMPT * 100)
        next(pieces)
        pieces.close()
        assert client.complete("next").completion == "next"
        assert sandbox.stats["disconnects"] == 1


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_is_dropped_is_cut_at_once_and_tidied_up_by_the_next_call(wire: str) -> None:
    with Sandbox(event_delay=0.02) as sandbox:
        client = streaming_client(sandbox, wire, max_concurrent_requests=1)
        for piece in client.stream_chat(PROMPT * 100):
            assert piece
            break
        assert client.complete("next").completion == "next"
        assert sandbox.stats["disconnects"] == 1
        pieces = client.stream_chat(PROMPT * 100)
        next(pieces)
        circle = [pieces]
        circle.append(circle)
        del pieces, circle
        gc.collect()
        assert client.complete("and again").completion == "and again"


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_to_the_next(
    sandbox: Sandbox,
) -> None:
    client = client_for(sandbox)
    for _ in range(5):
        client.stream(PROMPT, file=io.StringIO())
    assert sandbox.stats["connections"] < 5  # the end may come a packet after the last event


@pytest.mark.parametrize("wire", WIRES)
def test_the_deadline_holds_for_the_whole_stream(wire: str) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("stream_black_hole", after=3)])
        with pytest.raises(DeadlineExceededError) as caught:
            list(streaming_client(sandbox, wire).stream_chat(PROMPT, timeout=0.3))
    assert caught.value.response.is_error


def test_close_from_another_thread_ends_a_stream() -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("stream_black_hole", after=4)])
        client = client_for(sandbox)
        pieces = client.stream_chat(PROMPT)
        next(pieces)
        threading.Thread(target=client.close).start()
        with pytest.raises(CallCancelledError):
            list(pieces)


def test_a_stream_closed_early_keeps_what_it_drew(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_tokens_per_minute=30_000)
    pieces = client.stream_chat("word " * 2_000, max_new_tokens=10_000)
    next(pieces)
    pieces.close()
    bucket = client._workers().routes.own_limits._buckets["tokens"]
    assert bucket.used(monotonic()) > 10_000
    assert client.usage().failed == 1


def test_many_streams_may_be_open_before_the_first_has_ended(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_requests_per_minute=None, max_tokens_per_minute=None,
                        max_concurrent_requests=30)  # fmt: skip
    streams = [client.stream_chat(PROMPT * 50, timeout=10) for _ in range(20)]
    assert all(next(stream) for stream in streams)
    for stream in streams:
        stream.close()


def test_a_stream_may_be_forgotten_anywhere(sandbox: Sandbox) -> None:
    client = client_for(sandbox)
    pieces = client.stream_chat(PROMPT * 50)
    next(pieces)
    lane = client._workers().routes.own_limits
    circle: list = [pieces, client]
    circle.append(circle)
    del pieces, circle, client
    with lane._lock:
        gc.collect()
    client_for(sandbox).complete("another")
    assert lane.in_flight == 0


def test_streams_draw_from_the_limits(sandbox: Sandbox) -> None:
    sandbox.script([Fault("429", retry_after=30)])
    client = client_for(sandbox)
    with pytest.raises((ThrottledError, DeadlineExceededError)):
        list(client.stream_chat(PROMPT, timeout=0.3))


@pytest.mark.parametrize("wire", WIRES)
def test_the_cache_replays_a_stream_and_keeps_what_one_brought(sandbox: Sandbox, wire: str) -> None:
    client = streaming_client(sandbox, wire, cache=MemoryStore())
    first = read(client.stream_chat(PROMPT))
    again = read(client.stream_chat(PROMPT))
    whole = client.complete(PROMPT)
    assert sandbox.requests == 1
    assert first[0] == again[0] == whole.completion == PROMPT
    assert not first[1].cached
    assert again[1].cached
    assert whole.cached
    assert whole.saved_cost == first[1].cost
    assert client.complete("another").completion == "another"
    assert read(client.stream_chat("another"))[1].cached


def test_a_stream_that_broke_off_is_not_kept() -> None:
    with Sandbox() as sandbox:
        client = client_for(sandbox, cache=MemoryStore())
        sandbox.script([Fault("stream_end", after=4)])
        with pytest.raises(ConnectionFailedError):
            list(client.stream_chat(PROMPT))
        assert not client.complete(PROMPT).cached


def test_postprocess_changes_the_response_at_the_end(sandbox: Sandbox) -> None:
    client = client_for(sandbox, postprocess=lambda reply: reply.replace(finish_reason="changed"))
    text, response = read(client.stream_chat(PROMPT))
    assert text == PROMPT
    assert response.finish_reason == "changed"


@pytest.mark.parametrize("wire", WIRES)
def test_a_refusal_in_a_stream_is_an_error_at_its_end(wire: str) -> None:
    with Sandbox(answer=Reply("I cannot help with that.", finish="refusal")) as sandbox:
        pieces = streaming_client(sandbox, wire).stream_chat(PROMPT)
        with pytest.raises(RefusalError) as caught:
            list(pieces)
    assert caught.value.response.usage.output_tokens > 0


def test_a_budget_holds_for_streams(sandbox: Sandbox) -> None:
    client = client_for(sandbox, max_cost=1.0)
    _, response = read(client.stream_chat(PROMPT, max_new_tokens=50))
    assert client._here.budget.spent == pytest.approx(response.cost)


def test_a_model_that_does_not_stream_is_named_before_sending(sandbox: Sandbox) -> None:
    models = {"openai/whole": {"streams": False}}
    client = Client("openai/whole", config={"models": models}, api_key="k", progress="none")
    with pytest.raises(ConfigError, match=r"openai/whole gives its answers whole"):
        client.stream_chat(PROMPT)


def test_a_host_that_answers_whole_all_the_same_is_understood(sandbox: Sandbox) -> None:
    with Sandbox(strict=False) as plain:
        client = client_for(plain, extra_body={"stream": False, "stream_options": None})
        text, response = read(client.stream_chat(PROMPT))
    assert text == response.completion == PROMPT


@pytest.mark.parametrize("wire", ["claude-haiku-4-5", "gemini-3.5-flash"])
def test_answers_too_long_for_a_plain_call_are_streamed_inside(sandbox: Sandbox, wire: str) -> None:
    client = streaming_client(sandbox, wire)
    sandbox.script([Fault("stream_cut", after=3)])
    response = client.complete(PROMPT, max_new_tokens=60_000)
    assert response.completion == PROMPT
    assert response.attempts == 2
    assert [reply.completion for reply in client.map([PROMPT] * 3, max_new_tokens=60_000)] == [
        PROMPT
    ] * 3
    asked = [record.path + str(record.body.get("stream")) for record in sandbox.journal]
    assert all("stream" in path.lower() or "True" in path for path in asked)


def test_what_the_vendor_breaks_off_is_put_together() -> None:
    with Sandbox() as sandbox:
        client = client_for(sandbox, "gemini-3.5-flash")
        prompt = f"[[sandbox:continue]] {PROMPT}"
        response = client.complete(prompt)
        text, streamed = read(client.stream_chat(prompt))
    assert response.completion == streamed.completion == text
    assert response.completion.strip() == PROMPT
    assert response.attempts == 2
    assert response.cost is not None
