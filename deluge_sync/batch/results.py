"""From the outcomes of a batch, in any order, to responses in the order of the prompts."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Iterator
from typing import IO, Any, Callable, NamedTuple, Optional, Protocol

from ..adapters.base import BatchAdapter
from ..values.errors import CallError, DecodeError, DelugeError, PromptError, TransientError
from ..values.model import Model
from ..values.wire import HttpResponse
from .ledger import FETCHED, LOCAL, PROMPTS, Ledger, Part, Record
from .spool import lines_of

logger = logging.getLogger(__name__)

MOST_OPEN = 8
"""Files of outcomes that are open at a time."""

NOWHERE = -1
OURS = 0
"""Of the sources of outcomes: the file that we wrote ourselves. Part n is source n + 1."""


class Shown(NamedTuple):
    """What a response shows of its prompt, and the key of its answer in the cache."""

    position: int
    prompt: Any
    key: Optional[str]


class Reader(Protocol):
    """What makes responses of what was answered."""

    def answered(self, response: HttpResponse, shown: Shown) -> Any:
        """The response to a request, of an answer as a live call has it, errors and all."""

    def failed(self, error: DelugeError, shown: Shown) -> Any:
        """The response to one that has no answer."""

    def cached(self, answer: Any, shown: Shown) -> Any:
        """The response of what the cache had when the job was submitted, as it was written down."""

    def alone(self) -> Reader:
        """One that touches nothing else: neither the cache nor the user's own functions."""

    def is_answer(self, response: Any) -> bool:
        """Whether a response holds an answer, good or not so good: one that was paid for."""


class Outcomes:
    """The outcomes of a job that is done, or those there are so far.

    Memory is a few bytes for each prompt: where its outcome is. Of a prompt that was submitted more
    than once, the last outcome counts.
    """

    def __init__(self, ledger: Ledger, record: Record, adapter: BatchAdapter, model: Model) -> None:
        self._ledger = ledger
        self._record = record
        self._adapter = adapter
        self._model = model
        count = record.prompts or 0
        self._sources = array("l", [NOWHERE]) * count
        self._places = array("q", [NOWHERE]) * count
        self._find_ours()
        for part in record.parts:
            self._find_requests(part)
            if part.state == FETCHED:
                self._find_results(part)

    def responses(self, reader: Reader) -> Iterator[Any]:
        """The responses, in the order of the prompts."""
        with open(self._ledger.path(PROMPTS), "rb") as prompts, _Files(self._path) as files:
            for index, line in enumerate(prompts):
                shown = json.loads(line)
                its = Shown(index, shown.get("prompt"), shown.get("key"))
                yield self._response(files, its, reader)

    def unanswered(self, reader: Reader) -> Iterator[tuple[bytes, Part]]:
        """The requests that have no answer, as they were submitted, and the part they were in."""
        wanted = bytearray(len(self._sources))
        for index, response in enumerate(self.responses(reader)):
            wanted[index] = self._sources[index] != OURS and not reader.is_answer(response)
        for part in self._record.parts:
            path = self._ledger.requests_path(part.number)
            for line in lines_of(path, self._adapter.BETWEEN):
                at = self._index(self._adapter.custom_id(line))
                if at is not None and wanted[at] and self._sources[at] == part.number + 1:
                    yield line, part

    def _response(self, files: _Files, shown: Shown, reader: Reader) -> Any:
        source, place = self._sources[shown.position], self._places[shown.position]
        if place == NOWHERE:
            return reader.failed(self._missing(self._record.parts[source - 1]), shown)
        line = files.line(source, place)
        if source == OURS:
            return self._own(json.loads(line), shown, reader)
        try:
            outcome = self._adapter.result(line.rstrip(b"\n"), self._model)
        except DecodeError as error:
            return reader.failed(error, shown)
        if outcome.response is not None:
            return reader.answered(outcome.response, shown)
        return reader.failed(outcome.error or CallError("the provider says nothing of it"), shown)

    def _own(self, outcome: Any, shown: Shown, reader: Reader) -> Any:
        if "answer" in outcome:
            return reader.cached(outcome["answer"], shown)
        return reader.failed(PromptError(outcome["error"]), shown)

    def _missing(self, part: Part) -> CallError:
        """Why a request of a part has no outcome."""
        if part.state != FETCHED:
            return TransientError("the batch of this request is not done yet")
        why = part.problem or "the provider gave no outcome for this request"
        name = part.batch_id or "the batch"
        return CallError(f"{name} ended as {part.status!r}: {why}", code=part.status or None)

    def _path(self, source: int) -> str:
        return self._ledger.path(LOCAL) if source == OURS else self._ledger.results_path(source - 1)

    def _find_ours(self) -> None:
        for place, line in _lines(self._ledger.path(LOCAL)):
            index = json.loads(line)["index"]
            self._sources[index], self._places[index] = OURS, place

    def _find_requests(self, part: Part) -> None:
        """Have the requests of a part belong to it, with no outcome yet."""
        for line in lines_of(self._ledger.requests_path(part.number), self._adapter.BETWEEN):
            index = self._index(self._adapter.custom_id(line))
            if index is not None:
                self._sources[index], self._places[index] = part.number + 1, NOWHERE

    def _find_results(self, part: Part) -> None:
        for place, line in _lines(self._ledger.results_path(part.number)):
            if not line.strip():
                continue
            try:
                outcome = self._adapter.result(line.rstrip(b"\n"), self._model)
            except DecodeError as error:
                logger.warning("an outcome of %s cannot be read: %s", part.batch_id, error)
                continue
            at = self._index(outcome.custom_id)
            if at is not None and self._sources[at] == part.number + 1:
                self._places[at] = place

    def _index(self, custom_id: str) -> int | None:
        """The position of a request; None for one that is none of this job's."""
        tag, _, number = custom_id.rpartition("-")
        if tag != self._record.header.tag or not (number.isascii() and number.isdigit()):
            return None
        index = int(number)
        return index if index < len(self._sources) else None


class _Files:
    """Files of outcomes, of which a few are open at a time."""

    def __init__(self, path: Callable[[int], str]) -> None:
        self._path = path
        self._open: dict[int, IO[bytes]] = {}

    def line(self, source: int, place: int) -> bytes:
        """The line that begins there."""
        file = self._open.get(source)
        if file is None:
            if len(self._open) >= MOST_OPEN:
                self._close()
            file = self._open[source] = open(self._path(source), "rb")  # noqa: SIM115
        file.seek(place)
        return file.readline()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, each with where it begins."""
    with open(path, "rb") as file:
        place = 0
        for line in file:
            yield place, line
            place += len(line)
