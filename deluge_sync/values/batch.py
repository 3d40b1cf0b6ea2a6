"""What a provider says of its batches, before and after any vendor's wire format."""

from __future__ import annotations

from typing import NamedTuple, Optional

from .errors import CallError
from .wire import HttpResponse


class BatchCounts(NamedTuple):
    """Of the requests of a batch: how many there are, and how many are done, well or not. What the
    vendor does not tell (yet) is 0.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0


class BatchState(NamedTuple):
    """One batch as its provider describes it.

    `status` is the vendor's word. Once it has `ended` nothing changes any more; `results` then
    names all that there is to read (see `BatchAdapter.download`), which may be nothing, and
    `problem` says why it did not end well, in the vendor's words. With `queue_full` it was turned
    away as the provider's queue was full: the same batch may be submitted again later. `name` is
    what it was given at its creation ("" where the vendor keeps none). Times are seconds since the
    epoch.
    """

    id: str
    status: str
    ended: bool = False
    counts: BatchCounts = BatchCounts()
    results: tuple[str, ...] = ()
    problem: Optional[str] = None
    queue_full: bool = False
    name: str = ""
    created_at: Optional[float] = None
    expires_at: Optional[float] = None


class ResultLine(NamedTuple):
    """One request's outcome: a `response` to be decoded as a live one, or the `error` it has."""

    custom_id: str
    response: Optional[HttpResponse] = None
    error: Optional[CallError] = None
