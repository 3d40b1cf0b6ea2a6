"""One call of `embed` or `iter_embed`: texts in, vectors out, with the packs in between."""

from __future__ import annotations

import contextlib
import functools
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextvars import Context, copy_context
from typing import Any, Callable, NamedTuple

from ..engine.cancellation import Cancellation
from ..engine.crew import Crew
from ..engine.window import Window
from ..progress import Progress
from ..stats import Tally
from ..values.embedding import Embedding, EmbedResponse
from ..values.errors import (
    CallCancelledError,
    DeadlineExceededError,
    DecodeError,
    DelugeError,
    EmbedError,
)
from ..values.response import Response
from .packs import Item, Known, Reader, Texts
from .places import Arrays, Places
from .sending import Part, Sender

TEXTS_IN_FLIGHT = 8_192
"""Texts whose answers may come at the same time, however many threads there are: each answer is in
memory several times while it is read."""

MOST_TOLD = 3
"""Texts that an error tells of."""


class Done(NamedTuple):
    """A pack, or what was known already, and what came of it."""

    item: Item
    parts: list[Part]


class EmbedRun:
    """Has workers send what the reader packs of `texts`, and puts the vectors in their places."""

    def __init__(
        self,
        texts: Texts,
        reader: Reader,
        sender: Sender,
        *,
        model: str,
        execute: Callable[[Callable[[], None]], object],
        width: int,
        cancellation: Cancellation,
        tally: Tally,
        progress: Callable[[], Progress],
    ) -> None:
        self._texts = texts
        self._reader = reader
        self._sender = sender
        self._model = model
        self._crew = Crew(execute, size=width)
        self._width = width
        self._cancellation = cancellation
        self._tally = tally
        self._progress = progress
        self._size: int | None = None
        self._parts: list[Part] = []

    def whole(self, places: Places) -> Any:
        """What `places` make of all vectors; `EmbedError` where one is missing."""
        end = self._gather(places)
        first = end or next((part.error for part in self._parts if part.error is not None), None)
        if first is not None:
            raise self._failure(places, first, end) from first
        return places.whole(self._reader.read, self._reader.repeats, self._size or 0)

    def responses(self) -> list[EmbedResponse]:
        """One for each request, for what the cache had, and for what was not sent any more, in the
        order of their first texts.
        """
        places = Arrays()
        end = self._gather(places)
        if isinstance(end, CallCancelledError):
            raise self._failure(places, end, end) from end
        return self._responses(places, end)

    def each(self) -> Generator[Embedding, None, None]:
        """The outcome of each text, in order. Leaving early cancels what is under way."""
        ready: dict[int, Embedding] = {}
        turn = 0
        reader = self._reader
        with contextlib.closing(self._done(ordered=True)) as every:
            for done in every:
                for part in done.parts:
                    ready.update((one.index, one) for one in self._outcomes(part))
                reader.forget(done.item)
                while turn in ready:
                    yield ready.pop(turn)
                    turn += 1

    def _outcomes(self, part: Part) -> Iterator[Embedding]:
        self._check_size(part)
        for at, position in enumerate(part.positions):
            vector = None if part.error is not None else part.vectors[at]
            for place in (position, *self._reader.repeats.pop(position, ())):
                yield Embedding(place, vector, part.error)

    def _gather(self, places: Places) -> DelugeError | None:
        """Put the vectors into their places; gives what ended that before all texts were sent."""
        try:
            for done in self._done(ordered=False):
                for part in done.parts:
                    self._check_size(part)
                    if part.error is None:
                        places.put(part.positions, part.vectors)
                    part.vectors = ()
                    self._parts.append(part)
        except CallCancelledError as error:  # the client was closed: no more can be begun
            return error
        if self._texts.late:
            return DeadlineExceededError("the time was up before it was read")
        return None

    def _done(self, *, ordered: bool) -> Generator[Done, None, None]:
        progress = self._progress()
        window: Window[Done] = Window(
            self._reader.items(), self._start, width=self._width, tick=progress.tick
        )
        try:
            for _, done in window.in_order() if ordered else window.in_bulk():
                yield done
        except CallCancelledError:
            if not ordered:
                yield from (done for _, done in window.left())
            raise
        finally:
            self._cancellation.cancel()
            progress.close()

    def _start(self, index: int, item: Item, put: Callable[[tuple[int, Done]], None]) -> None:
        if isinstance(item, Known):
            put((index, Done(item, self._known(item))))
            return
        self._crew.do(functools.partial(self._work, index, item, copy_context(), put))

    def _known(self, known: Known) -> list[Part]:
        parts = [Part([position], error=error) for position, error in known.bad]
        if known.found:
            positions, _, vectors = zip(*known.found)
            parts.append(Part(list(positions), vectors, cost=0.0, cached=True))
        for part in parts:
            self._count(part, len(part.positions))
        if known.repeated:
            self._tally.add(Response(self._model, cached=True), prompts=known.repeated)
        return parts

    def _work(
        self, index: int, item: Any, context: Context, put: Callable[[tuple[int, Done]], None]
    ) -> None:
        """Send one pack; called by a worker."""
        parts = context.run(self._sender.send, item)
        for part in parts:
            self._count(part, len(part.positions))
        put((index, Done(item, parts)))

    def _count(self, part: Part, texts: int) -> None:
        response = Response(
            self._model,
            usage=None if part.cached or part.error is not None else part.usage,
            cost=part.cost,
            error=part.error,
            attempts=part.attempts,
            latency=part.latency,
            cached=part.cached,
        )
        self._tally.add(response, part.retries, prompts=texts)

    def _check_size(self, part: Part) -> None:
        """Make an error of a part whose vectors are of another length than those before."""
        if part.error is not None:
            return
        # Those of one answer are of one length: its reader sees to that.
        vectors = part.vectors if part.cached else part.vectors[:1]
        for position, vector in zip(part.positions, vectors):
            if self._size is None:
                self._size = len(vector)
            if len(vector) != self._size:
                part.error = DecodeError(
                    f"the vector of text {position} has {len(vector)} numbers, those before it "
                    f"have {self._size}" + (" (it is from the cache)" if part.cached else "")
                )
                part.error.retryable = False
                return

    def _responses(self, places: Places, end: DelugeError | None) -> list[EmbedResponse]:
        self._parts.sort(key=lambda part: part.positions[0])
        responses = [self._response(part, places) for part in _merged(self._parts)]
        left = self._left() if end is not None else ()
        if left:
            responses.append(EmbedResponse(self._model, tuple((at,) for at in left), error=end))
        return responses

    def _left(self) -> list[int]:
        """The positions of the texts that nothing came of, as far as anybody knows of them."""
        firsts = {position for part in self._parts for position in part.positions}
        others = (self._reader.repeats.get(first, ()) for first in firsts)
        came = firsts.union(*others)
        return [position for position in range(self._known_count()) if position not in came]

    def _known_count(self) -> int:
        """How many texts there are; where nobody knows, how many are known of."""
        return max(self._reader.read + self._texts.late, self._texts.count or 0)

    def _response(self, part: Part, places: Places) -> EmbedResponse:
        repeats = self._reader.repeats
        vectors: Sequence[array[float]] = ()
        if part.error is None:
            vectors = [places.vector(position) for position in part.positions]
        return EmbedResponse(
            model=self._model,
            indices=tuple((position, *repeats.get(position, ())) for position in part.positions),
            vectors=tuple(vectors),
            usage=part.usage,
            cost=part.cost,
            error=part.error,
            attempts=part.attempts,
            cached=part.cached,
        )

    def _failure(self, places: Places, first: DelugeError, end: DelugeError | None) -> EmbedError:
        count = self._reader.read if end is None else self._known_count()
        return failure(self._responses(places, end), count, first)


def failure(
    responses: Sequence[EmbedResponse], count: int, first: DelugeError | None
) -> EmbedError:
    """The error that names the texts without a vector, `count` being all."""
    given = {
        position
        for response in responses
        if response.error is None
        for positions in response.indices
        for position in positions
    }
    missing = tuple(position for position in range(count) if position not in given)
    told = _told(responses)
    if not told:
        told = [first.message if first is not None else f"text {missing[0]} is in no response"]
    more = f"; and {len(told) - MOST_TOLD} more errors" if len(told) > MOST_TOLD else ""
    return EmbedError(
        f"{len(missing)} of {count} texts have no vector: {'; '.join(told[:MOST_TOLD])}{more}",
        positions=missing,
        responses=tuple(responses),
    )


def _told(responses: Sequence[EmbedResponse]) -> list[str]:
    """The errors, each but once, with the first text that has it."""
    told: dict[str, str] = {}
    for response in responses:
        if response.error is not None:
            message = response.error.message
            text = "" if message.startswith("text ") else f"text {response.indices[0][0]}: "
            told.setdefault(message, text + message)
    return list(told.values())


def _merged(parts: Sequence[Part]) -> Sequence[Part]:
    """`parts`, with all that the cache had in one."""
    cached = [part for part in parts if part.cached and part.error is None]
    if len(cached) < 2:
        return parts
    positions = [position for part in cached for position in part.positions]
    rest = [part for part in parts if not (part.cached and part.error is None)]
    return [Part(positions, cost=0.0, cached=True), *rest]
