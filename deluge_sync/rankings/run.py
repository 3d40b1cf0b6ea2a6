"""Queries and their documents in, rankings out."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple, Optional

from ..adapters import RerankAdapter
from ..engine.budget import Budget
from ..engine.cancellation import Cancellation
from ..engine.crew import Crew
from ..engine.window import Window
from ..outcome import forget_frames
from ..outlay import BYTES_PER_TOKEN
from ..paid import PaidRequest, Terms
from ..process import Workers
from ..route import Route
from ..settings import Settings
from ..stats import Tally
from ..values.embedding import NOTHING_USED, Ranked, Ranking, RerankRequest, RerankResponse
from ..values.errors import CallError, DelugeError, PromptError, TooLongError
from ..values.model import Model
from ..values.response import Response, Usage

logger = logging.getLogger(__name__)

SEARCH_DOCUMENTS, SEARCH_TOKENS = 100, 500
"""What Cohere bills as one search: a query with so many documents, of which one that has more
tokens, the query's included, counts as several (docs.cohere.com, "How does Cohere's pricing
work?")."""


class RerankOptions(NamedTuple):
    """What `rerank` was asked for, beside query and documents."""

    top_k: Optional[int] = None
    max_document_tokens: Optional[int] = None


class _Piece(NamedTuple):
    """Documents of one query for one request, with their positions among all of it."""

    query: int
    text: str
    documents: Sequence[str]
    begin: int


@dataclass
class _Part:
    """What came of one piece, or of all pieces of a query together."""

    ranked: list[Ranked] = field(default_factory=list)
    usage: Usage = NOTHING_USED
    searches: float = 0.0
    costs: list[Optional[float]] = field(default_factory=list)
    error: Optional[DelugeError] = None
    attempts: int = 0

    def add(self, other: _Part) -> None:
        """Count what came of another piece."""
        self.ranked += other.ranked
        self.usage = self.usage.plus(other.usage)
        self.searches += other.searches
        self.costs += other.costs
        self.error = self.error or other.error
        self.attempts += other.attempts

    @property
    def cost(self) -> float | None:
        """US dollars; None where it is not known of one of them."""
        known = [cost for cost in self.costs if cost is not None]
        return sum(known) if known and len(known) == len(self.costs) else None


class RerankRun:
    """Has workers rank the documents of queries, in pieces where they are too many."""

    def __init__(
        self,
        route: Route[RerankAdapter],
        asked: RerankOptions,
        settings: Settings,
        workers: Workers,
        *,
        tally: Tally,
        budget: Budget | None,
        deadline: float | None,
    ) -> None:
        self._route = route
        self._base = RerankRequest(
            "",
            (),
            asked.top_k,
            asked.max_document_tokens,
            settings.extra_body,
            settings.extra_headers,
        )
        request = self._base._replace(query="x", documents=("x",))
        route.adapter.encode(request, route.model)  # raises what is wrong with the options
        self._cancellation = Cancellation(workers.pool_cancellation)
        until = math.inf if deadline is None else deadline
        self._terms = Terms(until, self._cancellation, budget)
        self._crew = Crew(workers.execute, size=workers.width)
        self._width = workers.width
        self._tally = tally
        self._wholes: list[_Part] = []

    def one(self, query: Any, documents: Iterable[Any]) -> RerankResponse:
        """The response to one query."""
        return self._responses([(query, documents)])[0]

    def many(self, queries: Iterable[Any], documents: Iterable[Any]) -> list[RerankResponse]:
        """One response for each query, in their order; `documents` has a list for each."""
        for name, given in (("queries", queries), ("documents", documents)):
            if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
                raise PromptError(f"{name} must be a list, not one {type(given).__name__}")
        asked, lists = list(queries), list(documents)
        if len(asked) != len(lists):
            raise PromptError(
                f"there are {len(asked)} queries and {len(lists)} lists of documents: give one "
                "list for each query"
            )
        return self._responses(list(zip(asked, lists)))

    def _responses(self, asked: Sequence[tuple[Any, Any]]) -> list[RerankResponse]:
        self._wholes = [_Part() for _ in asked]
        window: Window[tuple[_Piece, _Part]] = Window(
            self._pieces(asked), self._start, width=self._width
        )
        try:
            for _, (piece, part) in window.in_bulk():
                self._wholes[piece.query].add(part)
        finally:
            self._cancellation.cancel()
        return [
            self._response(index, query, whole)
            for index, ((query, _), whole) in enumerate(zip(asked, self._wholes))
        ]

    def _pieces(self, asked: Sequence[tuple[Any, Any]]) -> Iterator[_Piece]:
        """What is to be sent; what cannot be gets its error here."""
        model = self._route.model
        for index, (query, given) in enumerate(asked):
            try:
                documents = _checked(query, given, index)
                most = model.max_inputs or len(documents)
                if len(documents) > most and not model.independent_scores:
                    raise TooLongError(
                        f"query {index} has {len(documents)} documents; {model.name} ranks {most} "
                        "at most, and its scores are not known to be comparable across requests",
                        may_have_been_sent=False,
                    )
            except DelugeError as error:
                self._wholes[index].error = error
                self._tally.add(Response(model.name, error=error))
                continue
            for begin in range(0, len(documents), most):
                yield _Piece(index, query, documents[begin : begin + most], begin)

    def _start(
        self, index: int, piece: _Piece, put: Callable[[tuple[int, tuple[_Piece, _Part]]], None]
    ) -> None:
        self._crew.do(functools.partial(self._work, index, piece, copy_context(), put))

    def _work(
        self,
        index: int,
        piece: _Piece,
        context: Context,
        put: Callable[[tuple[int, tuple[_Piece, _Part]]], None],
    ) -> None:
        """Rank one piece; called by a worker."""
        part = _Part()
        try:
            context.run(self._rank, piece, part)
        except DelugeError as error:
            part.error = error
        except Exception as bug:
            logger.exception("a ranking ended with an unexpected error")
            part.error = CallError(f"unexpected {type(bug).__name__}: {bug}")
        if part.error is not None:
            forget_frames(part.error)
        put((index, (piece, part)))

    def _rank(self, piece: _Piece, part: _Part) -> None:
        """Have one piece ranked; `part` gets what it gave and took. One that is too long for a
        request is halved where scores can be compared.
        """
        pending, refused = [piece], 0
        while pending and part.error is None:
            piece = pending.pop()
            found, paid = self._ranked(piece)
            if isinstance(found.error, TooLongError) and self._can_split(piece):
                pending += reversed(_halves(piece))
                refused += found.attempts
                continue
            found.attempts, refused = found.attempts + refused, 0
            self._count(found, paid, prompts=0 if piece.begin else 1)
            part.add(found)

    def _can_split(self, piece: _Piece) -> bool:
        return self._route.model.independent_scores and len(piece.documents) > 1

    def _ranked(self, piece: _Piece) -> tuple[_Part, PaidRequest[Ranking]]:
        """What came of one request."""
        adapter, model = self._route.adapter, self._route.model
        request = self._base._replace(query=piece.text, documents=tuple(piece.documents))
        http = adapter.encode(request, model)
        paid = PaidRequest(
            self._route,
            self._terms,
            http,
            read=lambda head: adapter.decode(head, request, model),
            limits=adapter.limits,
            cost=self._cost,
            tokens=lambda found: found.usage.input_tokens,
            guess=(http.size() + len(piece.text) * len(piece.documents)) / BYTES_PER_TOKEN,
            ceiling=lambda: _ceiling(request, model),
        )
        part = _Part()
        try:
            found = paid.run()
            part.usage, part.searches = found.usage, found.searches
            part.costs = [self._cost(found)]
            part.ranked = [
                Ranked(piece.begin + position, score, piece.documents[position])
                for position, score in found.scored
            ]
        except DelugeError as error:
            part.error = error
        part.attempts = paid.sends
        return part, paid

    def _cost(self, found: Ranking) -> float | None:
        """US dollars; None where nobody knows."""
        prices = self._route.model.prices
        if prices.per_search is not None and found.searches:
            return prices.per_search * found.searches
        return prices.cost(found.usage) if found.usage.input_tokens else None

    def _count(self, part: _Part, paid: PaidRequest[Ranking], *, prompts: int) -> None:
        response = Response(
            self._route.model.name,
            usage=None if part.error is not None else part.usage,
            cost=part.cost,
            error=part.error,
            attempts=part.attempts,
            latency=paid.latency,
        )
        self._tally.add(response, paid.retries, prompts=prompts)

    def _response(self, index: int, query: Any, whole: _Part) -> RerankResponse:
        whole.ranked.sort(key=lambda one: (-one.score, one.index))
        return RerankResponse(
            self._route.model.name,
            query,
            ranked=() if whole.error is not None else tuple(whole.ranked[: self._base.top_k]),
            usage=whole.usage,
            searches=whole.searches,
            cost=whole.cost,
            error=whole.error,
            attempts=whole.attempts,
            index=index,
        )


def _halves(piece: _Piece) -> tuple[_Piece, _Piece]:
    middle = len(piece.documents) // 2
    first, second = piece.documents[:middle], piece.documents[middle:]
    return piece._replace(documents=first), piece._replace(
        documents=second, begin=piece.begin + middle
    )


def _checked(query: Any, given: Any, index: int) -> list[str]:
    """The documents; `PromptError` for a query or document that cannot be sent."""
    _check_text(query, f"query {index}")
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise PromptError(f"the documents of query {index} must be a list of texts")
    documents = list(given)
    if not documents:
        raise PromptError(f"query {index} has no documents")
    for position, document in enumerate(documents):
        _check_text(document, f"document {position} of query {index}")
    return documents


def _check_text(text: Any, name: str) -> None:
    if not isinstance(text, str):
        raise PromptError(f"{name} is of type {type(text).__name__}, not a string")
    if not text:
        raise PromptError(f"{name} is empty")


def _ceiling(request: RerankRequest, model: Model) -> float:
    """US dollars that one attempt costs at most: a token is a byte at least."""
    query = len(request.query.encode("utf-8", "replace"))
    sizes = [len(document.encode("utf-8", "replace")) for document in request.documents]
    if model.prices.per_search is not None:
        room = max(SEARCH_TOKENS - query, SEARCH_TOKENS // 5)
        counted = sum(-(-size // room) for size in sizes)
        return model.prices.per_search * -(-counted // SEARCH_DOCUMENTS)
    # Some vendors count the query with each document.
    ceiling = model.prices.ceiling(sum(sizes) + (query + 16) * len(sizes), 0)
    return math.inf if ceiling is None else ceiling
