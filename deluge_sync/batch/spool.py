"""Prompts written down as the files of batches, before anything is sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple, Optional, Protocol

from ..values.errors import BatchError, PromptError
from ..values.plain import message_from_plain, message_to_plain
from ..values.prompt import Conversation
from .ledger import LOCAL, PROMPTS, Ledger, new_file, settle, sync_folder


class Limits(NamedTuple):
    """What one batch may hold: requests, bytes as they are sent, tokens (None: nobody knows)."""

    requests: int
    size: int
    tokens: Optional[float] = None


class Entry(NamedTuple):
    """One prompt, written down.

    `shown` is what its line in the file of prompts says. It has either the `line` of its request,
    which is taken to read `tokens`, or an `outcome` already, in our own words.
    """

    shown: Any
    line: bytes = b""
    tokens: float = 0.0
    outcome: Any = None


class Parts:
    """Writes lines into the files of parts, as many into each as it may hold.

    `numbers` begin at `first`; `between` goes between two lines.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        between: bytes,
        *,
        first: int = 0,
        generation: int = 0,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._between = between
        self._first = first
        self._generation = generation
        self._file: BinaryIO | None = None
        self._requests = self._size = 0
        self._tokens = 0.0
        self.written: list[dict[str, int]] = []

    def add(self, line: bytes, tokens: float) -> None:
        """Write a line into the present file, or where that has no room into the next."""
        size = len(line) + len(self._between)
        if self._file is not None and not self._has_room(size, tokens):
            self._end()
        if self._file is None:
            self._begin()
        else:
            self._write(self._between)
        self._write(line)
        self._requests += 1
        self._tokens += tokens

    def close(self) -> list[dict[str, int]]:
        """Write all to the disk; gives the parts, as the ledger has them."""
        self._end()
        sync_folder(self._ledger.path(PROMPTS))
        return self.written

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:  # something has failed, and so may this
            with contextlib.suppress(BatchError):
                self._file.close()

    def _has_room(self, size: int, tokens: float) -> bool:
        limits = self._limits
        return (
            self._requests < limits.requests
            and self._size + size <= limits.size
            and (limits.tokens is None or self._tokens + tokens <= limits.tokens)
        )

    def _begin(self) -> None:
        self._requests = self._size = 0
        self._tokens = 0.0
        self._file = new_file(self._ledger.requests_path(self._first + len(self.written)))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._size += len(data)

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        with file:
            settle(file)
        self.written.append(
            {
                "number": self._first + len(self.written),
                "requests": self._requests,
                "size": self._size,
                "tokens": round(self._tokens),
                "generation": self._generation,
            }
        )


class Entries(Protocol):
    """Makes entries of prompts."""

    def of(self, prompts: Iterable[Any]) -> Iterator[Entry]:
        """The entries of all prompts, in their order."""

    def about_all(self) -> dict[str, Any]:
        """Once they are read: what the ledger is to know of all of them. Raises what is wrong
        with each.
        """


def written_down(
    ledger: Ledger, entries: Entries, prompts: Iterable[Any], parts: Parts
) -> dict[str, Any]:
    """Write all prompts into the job's files; gives what the ledger is to know.

    What a killed process had written of it is written anew: nothing was sent yet.
    """
    counts = {"prompts": 0, "cached": 0, "rejected": 0}
    digest = hashlib.sha256()
    with parts, new_file(ledger.path(PROMPTS)) as shown, new_file(ledger.path(LOCAL)) as local:
        for entry in entries.of(prompts):
            shown.write(json_line(entry.shown))
            digest.update(json_line(entry.shown["prompt"]))
            counts["prompts"] += 1
            if entry.outcome is None:
                parts.add(entry.line, entry.tokens)
            else:
                local.write(json_line(entry.outcome))
                counts["cached" if "answer" in entry.outcome else "rejected"] += 1
        settle(shown)
        settle(local)
        if not counts["prompts"]:
            raise PromptError("there are no prompts: a batch job needs at least one")
        return {
            **counts,
            **entries.about_all(),
            "parts": parts.close(),
            "digest": digest.hexdigest(),
        }


def digest_of(prompts: Iterable[Any]) -> str:
    """That of prompts as they are written down: others have another."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json_line(shown_prompt(prompt)))
    return digest.hexdigest()


def shown_prompt(prompt: Any) -> Any:
    """A prompt as it is written down: a text, or a list of messages; None for what is none."""
    if isinstance(prompt, str):
        return prompt
    try:
        return [message_to_plain(message) for message in Conversation.of(prompt).messages]
    except PromptError:
        return None


def restored_prompt(shown: Any) -> Any:
    """A prompt that was written down."""
    if not isinstance(shown, list):
        return shown
    return Conversation(tuple(message_from_plain(message) for message in shown))


def lines_of(path: str, between: bytes) -> Iterator[bytes]:
    """The lines of a part's file, as they were written."""
    mark = between.rstrip(b"\n")
    with open(path, "rb") as file:
        for line in file:
            whole = line.rstrip(b"\n")
            yield whole[: -len(mark)] if mark and whole.endswith(mark) else whole


def json_line(value: Any) -> bytes:
    """`value` as one line of JSON."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
