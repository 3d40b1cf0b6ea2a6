"""How an answer goes over the wire in events: whole, and each way it can break off.

The body is chunked, one chunk and one TCP write per event. The kinds of `Fault` that are not about
streams spoil the joined events the way they spoil any other body, at once and with a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple, Optional

from .connection import Connection, http_date
from .delivery import RST_DELAY, cut, deliver
from .faults import Fault
from .http import Answer, Headers, head

STREAM_TYPE = ("content-type", "text/event-stream; charset=utf-8")

_END = b"0\r\n\r\n"
_COMMENT = b": keep-alive\n\n"


class Stream(NamedTuple):
    """An answer in events, each as its wire wrote it.

    `pause` is asked for the seconds between two events; None sends them as fast as they are read.
    `problem` is the vendor's error event, for the fault that wants one.
    """

    headers: Headers
    events: list[bytes]
    pause: Optional[Callable[[], float]] = None
    problem: bytes = b""


def deliver_stream(connection: Connection, stream: Stream, fault: Fault | None) -> None:
    """Send `stream`, the way `fault` spoils it."""
    if fault is None:
        _whole(connection, stream, _HARMLESS)
        return
    way = _WAYS.get(fault.kind)
    if way is None:
        deliver(connection, Answer(200, stream.headers, b"".join(stream.events)), fault)
        return
    way(connection, stream._replace(headers=stream.headers + tuple(fault.headers.items())), fault)


def _whole(connection: Connection, stream: Stream, fault: Fault) -> None:
    def finish() -> None:
        connection.send(_END)
        connection.done()

    _send(connection, stream, stream.events, finish)


def _ended(connection: Connection, stream: Stream, fault: Fault) -> None:
    _whole(connection, _cut_short(stream, fault), fault)


def _closed(connection: Connection, stream: Stream, fault: Fault) -> None:
    _send(connection, stream, stream.events[: fault.after], lambda: connection.done(close=True))


def _reset(connection: Connection, stream: Stream, fault: Fault) -> None:
    def finish() -> None:
        connection.later(RST_DELAY, connection.reset)

    _send(connection, stream, stream.events[: fault.after], finish)


def _black_hole(connection: Connection, stream: Stream, fault: Fault) -> None:
    """The connection stays open until the client or the sandbox closes it."""
    _send(connection, stream, stream.events[: fault.after], lambda: None)


def _malformed(connection: Connection, stream: Stream, fault: Fault) -> None:
    events = list(stream.events)
    if fault.after < len(events):
        events[fault.after] = _without_half_its_data(events[fault.after])
    _whole(connection, stream._replace(events=events), fault)


def _error(connection: Connection, stream: Stream, fault: Fault) -> None:
    events = [*stream.events[: fault.after], stream.problem]
    _whole(connection, stream._replace(events=events), fault)


def _bytes(connection: Connection, stream: Stream, fault: Fault) -> None:
    pieces = cut(b"".join(stream.events), fault.size or (16 if fault.kind == "chunked" else 1))
    _whole(connection, stream._replace(events=pieces), fault)


def _crlf(connection: Connection, stream: Stream, fault: Fault) -> None:
    events = [event.replace(b"\n", b"\r\n") for event in stream.events]
    _whole(connection, stream._replace(events=events), fault)


def _comments(connection: Connection, stream: Stream, fault: Fault) -> None:
    events = list(chain.from_iterable((_COMMENT, event) for event in stream.events))
    _whole(connection, stream._replace(events=events), fault)


def _send(
    connection: Connection, stream: Stream, events: Iterable[bytes], finish: Callable[[], None]
) -> None:
    """The head and `events`, each in a write of its own; then `finish`."""
    headers = (*stream.headers, ("transfer-encoding", "chunked"))
    connection.send(head(200, headers, None, date=http_date(), close=connection.closes))
    chunks = (b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    if stream.pause is None:
        connection.send_all(chunks, finish)
    else:
        _step(connection, next(chunks, None), chunks, stream.pause, finish)


def _step(
    connection: Connection,
    chunk: bytes | None,
    others: Iterator[bytes],
    pause: Callable[[], float],
    finish: Callable[[], None],
) -> None:
    """Send `chunk`, wait, and so on; `finish` right after the last."""
    if chunk is not None:
        connection.send(chunk)
        chunk = next(others, None)
    if chunk is None:
        finish()
    else:
        connection.later(pause(), _step, connection, chunk, others, pause, finish)


def _cut_short(stream: Stream, fault: Fault) -> Stream:
    return stream._replace(events=stream.events[: fault.after])


def _without_half_its_data(event: bytes) -> bytes:
    start = event.find(b"data:") + len(b"data:")
    return event[: (start + len(event.rstrip())) // 2] + b"\n\n"


Way = Callable[[Connection, Stream, Fault], None]

_HARMLESS = Fault("delay")
_WAYS: Mapping[str, Way] = {
    "delay": _whole,
    "chunked": _bytes,
    "stream_end": _ended,
    "stream_cut": _closed,
    "stream_reset": _reset,
    "stream_black_hole": _black_hole,
    "stream_malformed": _malformed,
    "stream_error": _error,
    "stream_bytes": _bytes,
    "stream_crlf": _crlf,
    "stream_comments": _comments,
}
