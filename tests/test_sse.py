"""The reader of server-sent events: what WHATWG's text says, and what vendors do beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deluge_sync.adapters import sse
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.values.errors import ResponseTooLargeError

STREAM = (
    "\ufeff: a comment\n"
    "data: one\n\n"
    "event: named\r\ndata: first\r\ndata:second\r\nid: 7\r\nretry: 10\r\n\r\n"
    "data: grüße 🎉\r\rdata\ndata:\n\n"
    "event: without data\n\n"
    '{"error":\n {"code": 503}\n}\n'
    "data: [DONE]\n\n"
    "data: cut off"
).encode()
EVENTS = [
    ServerEvent("", "one"),
    ServerEvent("named", "first\nsecond"),
    ServerEvent("", "grüße 🎉"),
    ServerEvent("", ""),
    ServerEvent("", '{"error":\n {"code": 503}\n}', bare=True),
    ServerEvent("", "[DONE]"),
]


def read(pieces: list[bytes]) -> list[ServerEvent]:
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.finish()


@given(st.sets(st.integers(1, len(STREAM) - 1)))
def test_events_are_the_same_wherever_the_packets_are_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[a:b] for a, b in zip(edges, edges[1:])]) == EVENTS


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    assert all(isinstance(event, ServerEvent) for event in read(pieces))


def test_what_stands_outside_of_events_is_told_at_the_end_too() -> None:
    assert read([b"data: x\n\n<html>", b"oops"]) == [
        ServerEvent("", "x"),
        ServerEvent("", "<html>oops", bare=True),
    ]


def test_a_line_without_end_and_events_without_end_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "MOST_SIZE", 100)
    monkeypatch.setattr(sse, "MOST_EVENTS", 3)
    with pytest.raises(ResponseTooLargeError, match="larger than 100"):
        read([b"data: " + b"x" * 50] * 3)
    with pytest.raises(ResponseTooLargeError, match="larger than 100"):
        read([b"data: xxxxxxxxxxxxxxxxxxxxxxxx\n"] * 5)
    with pytest.raises(ResponseTooLargeError, match="more than 3 events"):
        read([b"data: x\n\n"] * 4)


def test_much_text_outside_of_events_is_read_in_good_time() -> None:
    rows = ",\n".join(f'  {{"row": "{number}"}}' for number in range(30_000))
    error = "[\n" + rows + "\n]\n"
    assert read([error.encode()]) == [ServerEvent("", error.strip(), bare=True)]
    assert len(read([b"}\n" * 20_000])) == 1
