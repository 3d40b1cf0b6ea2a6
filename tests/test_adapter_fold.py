"""No part of a stream is ever passed off as its answer, wherever and however it breaks off.

Every golden file with a `stream` is tried: who adds one has nothing to add here, but for a new
adapter its error event.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.base import Fold
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from deluge_sync.values.errors import CallError, ConnectionFailedError
from deluge_sync.values.prompt import Message
from deluge_sync.values.response import Answer
from deluge_sync.values.wire import HttpResponse

from .test_golden import FILES, contents, model_of

STREAMS = [path for path in FILES if "stream" in contents(path)]
HEAD = HttpResponse(200, {"content-type": "text/event-stream"}, b"")
ERRORS = {
    "openai_chat": ServerEvent("", '{"error": {"message": "No.", "type": "server_error"}}'),
    "openai_responses": ServerEvent(
        "error", '{"type": "error", "code": "server_error", "message": "No.", "param": null}'
    ),
    "anthropic": ServerEvent(
        "error", '{"type": "error", "error": {"type": "overloaded_error", "message": "No."}}'
    ),
    "gemini": ServerEvent(
        "", '{"error": {"code": 503, "message": "No.", "status": "UNAVAILABLE"}}', bare=True
    ),
    "bedrock_converse": ServerEvent(
        "error", '{"type": "error", "error": {"type": "internalServerException", "message": "No."}}'
    ),
    "cohere_chat": ServerEvent(
        "message-end",
        '{"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "No."}}',
    ),
}
each_stream = pytest.mark.parametrize(
    "path", STREAMS, ids=lambda path: f"{path.parent.name}: {path.stem}"
)


def fold_of(path: Path) -> Fold:
    return ADAPTERS[path.parent.name].fold(HEAD, model_of(path.parent.name))


def events_of(path: Path) -> list[ServerEvent]:
    return [
        ServerEvent(name, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))
        for name, data in contents(path)["stream"]
    ]


def wire(events: list[ServerEvent]) -> bytes:
    """The events as a server sends them."""
    text = ""
    for event in events:
        name = f"event: {event.name}\n" if event.name else ""
        text += f"{name}data: {event.data}\n\n"
    return text.encode()


def whole(path: Path) -> Answer:
    fold = fold_of(path)
    for event in events_of(path):
        fold.feed(event)
    return fold.answer()


def content_or_none(fold: Fold) -> Message | None:
    try:
        return fold.answer().content
    except CallError:
        return None


@each_stream
def test_a_stream_cut_between_two_events_is_whole_or_an_error(path: Path) -> None:
    fold, good = fold_of(path), whole(path).content
    given = [content_or_none(fold)]
    for event in events_of(path):
        fold.feed(event)
        given.append(content_or_none(fold))
    assert given[0] is None
    assert given[1] is None
    assert given[-1] == good
    assert all(content in (None, good) for content in given)


@each_stream
def test_before_its_end_has_come_a_stream_is_a_lost_connection(path: Path) -> None:
    fold = fold_of(path)
    fold.feed(events_of(path)[0])
    with pytest.raises(ConnectionFailedError, match="before the answer was complete") as caught:
        fold.answer()
    assert caught.value.retryable
    assert caught.value.status == 200


@each_stream
def test_a_stream_cut_behind_any_byte_is_whole_or_an_error(path: Path) -> None:
    fold, reader, good = fold_of(path), EventReader(), whole(path).content
    for byte in wire(events_of(path)):
        for event in reader.feed(bytes((byte,))):
            fold.feed(event)
        assert content_or_none(fold) in (None, good)
    assert content_or_none(fold) == good


@each_stream
def test_a_stream_with_a_cut_event_is_whole_or_an_error(path: Path) -> None:
    events, good = events_of(path), whole(path).content
    for at, event in enumerate(events):
        half = event._replace(data=event.data[: len(event.data) // 2])
        fold = fold_of(path)
        content = None
        with contextlib.suppress(CallError):
            for given in [*events[:at], half, *events[at + 1 :]]:
                fold.feed(given)
            content = fold.answer().content
        assert content in (None, good)


@each_stream
def test_an_error_in_place_of_any_event_is_raised(path: Path) -> None:
    events = events_of(path)
    for at in range(len(events)):
        fold = fold_of(path)
        for event in events[:at]:
            fold.feed(event)
        if not fold.done:
            with pytest.raises(CallError, match=r"No\."):
                fold.feed(ERRORS[path.parent.name])


@each_stream
def test_the_deltas_of_a_stream_are_its_answer_in_pieces(path: Path) -> None:
    fold, answer = fold_of(path), whole(path)
    texts, thoughts, usages = "", "", []
    calls: dict[int, list[Any]] = {}
    for event in events_of(path):
        for delta in fold.feed(event):
            if isinstance(delta, TextDelta):
                texts += delta.text
            elif isinstance(delta, ThinkingDelta):
                thoughts += delta.text
            elif isinstance(delta, UsageDelta):
                usages.append(delta.usage)
            else:
                assert isinstance(delta, ToolCallDelta)
                call = calls.setdefault(delta.number, [delta.id, delta.name, ""])
                call[2] += delta.arguments
    assert texts == (answer.content.text or "")
    assert thoughts == (answer.content.thinking or "")
    assert usages[-1] == answer.usage
    assert [(call[0], call[1], json.loads(call[2] or "{}")) for call in calls.values()] == [
        (call.id, call.name, call.arguments) for call in answer.content.tool_calls
    ]
