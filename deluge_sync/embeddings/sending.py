"""One pack of texts on its way to its vectors; called by workers."""

from __future__ import annotations

import itertools
import logging
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..adapters import EmbedAdapter
from ..outcome import forget_frames
from ..outlay import BYTES_PER_TOKEN
from ..paid import PaidRequest, Terms
from ..route import Route
from ..values.embedding import NOTHING_USED, Embedded, EmbedRequest
from ..values.errors import (
    BadRequestError,
    CallError,
    DelugeError,
    ResponseTooLargeError,
    TooLongError,
)
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpRequest
from .packs import Pack
from .records import VectorCache

logger = logging.getLogger(__name__)

TRIALS = 8
"""Halvings of refused packs before any request of a call was good. One bad text among 256 needs no
more until one is; with what is wrong with all requests, no more are wasted."""


@dataclass
class Part:
    """What came of one request: the vectors of the texts at `positions`, or an error. `vectors` is
    taken away once they are in their places.
    """

    positions: list[int]
    vectors: Sequence[array[float]] = ()
    usage: Usage = NOTHING_USED
    cost: Optional[float] = None
    error: Optional[DelugeError] = None
    attempts: int = 0
    retries: Sequence[str] = ()
    latency: Optional[float] = None
    cached: bool = False


class Sender:
    """Sends packs over one route. `request` is what all of them have in common."""

    def __init__(
        self,
        route: Route[EmbedAdapter],
        request: EmbedRequest,
        terms: Terms,
        cache: VectorCache | None = None,
    ) -> None:
        self._route = route
        self._request = request
        self._terms = terms
        self._cache = cache
        self._was_good = False
        self._trials = itertools.count(1)

    def send(self, pack: Pack) -> list[Part]:
        """What came of a pack. One that is too long for a request, or refused for what may be one
        text's fault, is halved, down to that text.
        """
        parts: list[Part] = []
        pending = [(0, len(pack.texts))]
        refused = 0
        while pending:
            begin, end = pending.pop()
            part = self._sent(pack, begin, end)
            if part.error is not None and end - begin > 1 and self._is_of_some(part.error):
                middle = (begin + end) // 2
                pending += [(middle, end), (begin, middle)]
                refused += part.attempts
                logger.info("a request of %d texts was refused: halved", end - begin)
                continue
            part.attempts, refused = part.attempts + refused, 0
            parts.append(part)
        return parts

    def _is_of_some(self, error: DelugeError) -> bool:
        """Whether fewer texts may pass."""
        if isinstance(error, (TooLongError, ResponseTooLargeError)):
            return True
        if type(error) is not BadRequestError:
            return False
        return self._was_good or next(self._trials) <= TRIALS

    def _sent(self, pack: Pack, begin: int, end: int) -> Part:
        part = Part(pack.positions[begin:end])
        try:
            found = self._exchanged(tuple(pack.texts[begin:end]), part)
            self._was_good = True
            part.vectors, part.usage, part.cost = found.vectors, found.usage, self._cost(found)
            if self._cache is not None:
                self._cache.keep(pack.keys[begin:end], found.vectors)
        except DelugeError as error:
            part.error = self._named(error, part)
        except Exception as bug:
            logger.exception("a request for embeddings ended with an unexpected error")
            part.error = CallError(f"unexpected {type(bug).__name__}: {bug}")
        if part.error is not None:
            forget_frames(part.error)
        return part

    def _exchanged(self, texts: tuple[str, ...], part: Part) -> Embedded:
        """The vectors of one request; `part` gets what it took."""
        adapter, model = self._route.adapter, self._route.model
        request = self._request._replace(texts=texts)
        http = adapter.encode(request, model)
        paid = PaidRequest(
            self._route,
            self._terms,
            http,
            read=lambda head: adapter.decode(head, request, model),
            limits=adapter.limits,
            cost=self._cost,
            tokens=lambda found: found.usage.input_tokens,
            guess=http.size() / BYTES_PER_TOKEN,
            ceiling=lambda: _ceiling(http, model),
        )
        try:
            return paid.run()
        finally:
            part.attempts, part.retries, part.latency = paid.sends, paid.retries, paid.latency

    def _cost(self, found: Embedded) -> float | None:
        """US dollars; None where nobody knows. Some vendors do not tell the tokens."""
        return self._route.model.prices.cost(found.usage) if found.usage.input_tokens else None

    def _named(self, error: DelugeError, part: Part) -> DelugeError:
        """`error`, with the name of the text where it is that of one text."""
        if isinstance(error, TooLongError) and len(part.positions) == 1:
            model = self._route.model
            window = f", which reads {model.context_window} tokens" if model.context_window else ""
            error.message = (
                f"text {part.positions[0]} is too long for {model.name}{window}: {error.message}"
            )
            error.args = (error.message,)
        return error


def _ceiling(http: HttpRequest, model: Model) -> float:
    """US dollars that one attempt costs at most: a token is a byte at least."""
    ceiling = model.prices.ceiling(len(http.body), 0)
    return math.inf if ceiling is None else ceiling
