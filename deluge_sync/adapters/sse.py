"""Server-sent events out of a stream's bytes (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import codecs
import json
from typing import NamedTuple

from ..values.errors import ResponseTooLargeError

MOST_SIZE = 16 << 20
"""Characters of one event: a picture may come in one."""
MOST_EVENTS = 1_000_000


class ServerEvent(NamedTuple):
    """One event: its name ("" where it has none) and its data, lines joined by newlines.

    `bare` marks text that came outside of any event: Gemini writes an error in the middle of a
    stream as plain JSON.
    """

    name: str
    data: str
    bare: bool = False


class EventReader:
    """Splits a stream into events, wherever its packets were cut.

    Lines end with LF, CR or CRLF; comments, ids and retry times are dropped; an event that the
    stream ends in the middle of is never given out. `ResponseTooLargeError` past the caps.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._name = ""
        self._data: list[str] = []
        self._bare: list[str] = []
        self._depth = 0
        self._size = 0
        self._events = 0
        self._began = self._after_return = False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        text = self._decoder.decode(data)
        if "\r" in text or self._after_return or not self._began:
            text = self._normal(text)
        events: list[ServerEvent] = []
        if self._line or self._data or self._name:
            end = self._end_of_event(text)
            self._take_lines(text[:end], events)
            text = text[end:]
        *blocks, rest = text.split("\n\n")
        for block in blocks:
            event = None if self._bare else _plain_event(block)
            if event is not None:
                events.append(event)
            else:
                self._take_lines(block + "\n\n", events)
        if rest:
            self._take_lines(rest, events)
        self._count(events)
        return events

    def finish(self) -> list[ServerEvent]:
        """What is left when the stream has ended: text outside of events, if there is any."""
        line, self._line = "".join(self._line), []
        events: list[ServerEvent] = []
        if line.strip() and not _is_field(line):
            self._bare.append(line)
        self._give_bare(events)
        self._count(events)
        return events

    def _normal(self, text: str) -> str:
        """`text` with LF as its only line end, and without the mark that may begin a stream."""
        if not self._began and text:
            self._began = True
            text = text[1:] if text[0] == "\ufeff" else text
        if self._after_return and text:
            text = text[1:] if text[0] == "\n" else text
            self._after_return = False
        if "\r" in text:
            self._after_return = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text

    def _end_of_event(self, text: str) -> int:
        """How much of `text` belongs to the event that has begun, its blank line included."""
        if not self._line and text.startswith("\n"):
            return 1
        at = text.find("\n\n")
        return at + 2 if at >= 0 else len(text)

    def _take_lines(self, text: str, events: list[ServerEvent]) -> None:
        first, *others = text.split("\n")
        if first:
            self._line.append(first)
        for line in others:
            self._take("".join(self._line), events)
            self._line = [line] if line else []
        if self._line:
            self._size += len(self._line[-1])
        if self._size > MOST_SIZE:
            raise ResponseTooLargeError(
                f"an event of the stream is larger than {MOST_SIZE:,} characters"
            )

    def _take(self, line: str, events: list[ServerEvent]) -> None:
        if line.startswith("data:"):
            self._give_bare(events)
            self._data.append(line[6:] if line.startswith(" ", 5) else line[5:])
            self._size += len(line)
        elif not line:
            self._give(events)
        elif line.startswith("event:"):
            self._name = line[6:].strip()
        elif not _is_field(line):
            self._bare.append(line)
            self._size += len(line)
            self._depth += sum(map(line.count, "{[")) - sum(map(line.count, "}]"))
            if self._depth == 0 and _is_whole("\n".join(self._bare)):
                self._give_bare(events)

    def _give(self, events: list[ServerEvent]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else "\n".join(self._data)
            self._data = []
            self._add(ServerEvent(self._name, data), events)
        self._name = ""

    def _give_bare(self, events: list[ServerEvent]) -> None:
        if self._bare:
            bare, self._bare, self._depth = "\n".join(self._bare), [], 0
            self._add(ServerEvent("", bare, bare=True), events)

    def _add(self, event: ServerEvent, events: list[ServerEvent]) -> None:
        self._size = 0
        events.append(event)

    def _count(self, events: list[ServerEvent]) -> None:
        self._events += len(events)
        if self._events > MOST_EVENTS:
            raise ResponseTooLargeError(f"the stream has more than {MOST_EVENTS:,} events")


def _plain_event(block: str) -> ServerEvent | None:
    """The event in the lines of `block`, if they are what nearly all events are: one of data, maybe
    after one with the name. It costs a third of taking them line by line.
    """
    name = ""
    if block.startswith("event: "):
        name, _, block = block[7:].partition("\n")
        name = name.strip()
    if block.startswith("data: ") and "\n" not in block:
        return ServerEvent(name, block[6:])
    return None


def _is_field(line: str) -> bool:
    """Whether an event's line begins so: a comment, or one of the fields there are."""
    name = line.partition(":")[0]
    return name in ("", "data", "event", "id", "retry")


def _is_whole(text: str) -> bool:
    """Whether a JSON value has come to its end."""
    if text[-1:] not in ("}", "]"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
