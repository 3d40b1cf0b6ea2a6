"""Rankings out of an answer, which all vendors of rerankers shape alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..values.embedding import Ranking, RerankRequest, Scored
from ..values.model import Model
from ..values.response import Usage
from ..values.wire import HttpResponse
from .body import MalformedError, as_list, as_object
from .failures import Fault, read_answer
from .packs import sized


def decode_ranking(
    response: HttpResponse,
    request: RerankRequest,
    model: Model,
    read: Callable[[dict[str, Any], RerankRequest], Ranking],
    fault: Callable[[Any, int], Fault],
) -> Ranking:
    """What `response` says; see `base.RerankAdapter.decode`. `read` takes a good body apart."""
    return read_answer(
        response,
        model,
        lambda body, _response, _model: read(body, request),
        lambda body, status: sized(fault(body, status), status),
    )


def ranking(
    rows: Any,
    request: RerankRequest,
    usage: Usage,
    searches: Any = None,
    response_id: str | None = None,
) -> Ranking:
    """The ranking in `rows`, each with an `index` and a `relevance_score`; the best come first,
    whatever their order, those alike in the order they came in.
    """
    scored = [_scored(as_object(row, "a result")) for row in as_list(rows, "the results")]
    _check(scored, request)
    scored.sort(key=lambda one: one.score, reverse=True)
    searched = max(0.0, _number(searches) or 0.0)
    return Ranking(tuple(scored[: request.top_k]), usage, searched, response_id)


def _scored(row: dict[str, Any]) -> Scored:
    position, score = row.get("index"), _number(row.get("relevance_score"))
    if type(position) is not int:
        raise MalformedError("a result has no index")
    if score is None:
        raise MalformedError(f"document {position} has no score that is a number")
    return Scored(position, score)


def _number(value: Any) -> float | None:
    """`value` where it is a finite number."""
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:  # a whole number beyond all floats
        return None
    return number if math.isfinite(number) else None


def _check(scored: list[Scored], request: RerankRequest) -> None:
    sent = len(request.documents)
    seen: set[int] = set()
    for position, _score in scored:
        if not 0 <= position < sent:
            raise MalformedError(f"document {position} is ranked, but {sent} were sent")
        if position in seen:
            raise MalformedError(f"document {position} is ranked twice")
        seen.add(position)
    # With fields of the caller's own nobody knows how many there have to be.
    if len(scored) < min(request.top_k or sent, sent) and not request.extra_body:
        raise MalformedError(f"{len(scored)} documents are ranked, but {sent} were sent")
