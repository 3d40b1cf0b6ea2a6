"""Prompts and texts as the requests of a batch; nothing is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, NamedTuple, Optional, Protocol

from ..adapters.base import BatchAdapter
from ..values.errors import BatchError, BudgetExceeded, PromptError
from ..values.model import Model
from ..values.wire import HttpRequest
from .spool import Entry, shown_prompt

logger = logging.getLogger(__name__)

LOOKUPS = 64
"""Prompts looked up in the cache at once."""


class Prepared(NamedTuple):
    """One request, as it would be sent alone. It is taken to read `tokens`, and costs what
    `ceiling` says at most, in US dollars; `key` is that of its answer in the cache.
    """

    http: HttpRequest
    tokens: float
    ceiling: Callable[[], float]
    key: Optional[str] = None


class Kind(Protocol):
    """What a batch is made of: prompts or texts."""

    word: str
    """What one of them is called."""

    def prepared(self, item: Any, index: int) -> Prepared:
        """The request of one; `PromptError` for what cannot be one."""

    def found(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """What the cache has, by key, as it is written down."""


class RequestEntries:
    """Makes an entry of each item. What is wrong with one becomes its outcome.

    A request may have `most_bytes`. `most_cost` is US dollars that all may cost at worst, None for
    any amount, and `worst` what they may.
    """

    def __init__(
        self,
        kind: Kind,
        adapter: BatchAdapter,
        model: Model,
        *,
        tag: str,
        most_bytes: int,
        most_cost: float | None,
    ) -> None:
        self._kind = kind
        self._adapter = adapter
        self._model = model
        self._tag = tag
        self._most_bytes = most_bytes
        self._most_cost = most_cost
        self.worst = 0.0
        self._shared: tuple[str, ...] | None = None
        self._problem: PromptError | None = None
        self._answered = False

    def of(self, items: Iterable[Any]) -> Iterator[Entry]:
        """The entries of all items, in their order."""
        waiting: list[tuple[int, Entry, Prepared | None]] = []
        for index, item in enumerate(items):
            waiting.append((index, *self._entry(index, item)))
            if len(waiting) >= LOOKUPS:
                yield from self._looked_up(waiting)
                waiting.clear()
        yield from self._looked_up(waiting)

    def about_all(self) -> dict[str, Any]:
        """What all requests share; see `Entries`."""
        if self._shared is None and self._problem is not None and not self._answered:
            raise self._problem
        return {"shared": list(self._shared or ())}

    def _entry(self, index: int, item: Any) -> tuple[Entry, Prepared | None]:
        shown: dict[str, Any] = {"prompt": shown_prompt(item)}
        try:
            prepared = self._kind.prepared(item, index)
            line = self._line(prepared.http, index)
        except PromptError as error:
            problem = PromptError(f"{self._kind.word} {index}: {error.message}")
            logger.warning("%s", problem.message)
            self._problem = self._problem or problem
            return Entry(shown, outcome={"index": index, "error": problem.message}), None
        if prepared.key is not None:
            shown["key"] = prepared.key
        return Entry(shown, line, prepared.tokens), prepared

    def _line(self, http: HttpRequest, index: int) -> bytes:
        line = self._adapter.line(f"{self._tag}-{index}", http, self._model)
        if len(line) > self._most_bytes:
            raise PromptError(
                f"its request has {len(line):,} bytes, and {self._model.provider.name} takes at "
                f"most {self._most_bytes:,} in a batch"
            )
        shared = self._adapter.shared(http, self._model)
        if self._shared is None:
            self._shared = shared
        if shared != self._shared:
            raise BatchError(
                f"{self._kind.word} {index} asks {', '.join(shared)}, and those before it "
                f"{', '.join(self._shared)}: a batch job has one model and endpoint"
            )
        return line

    def _looked_up(self, waiting: list[tuple[int, Entry, Prepared | None]]) -> Iterator[Entry]:
        """The entries, those that the cache can answer with their answers."""
        keys = [ready.key for _, _, ready in waiting if ready is not None and ready.key is not None]
        found = self._kind.found(keys) if keys else {}
        for index, entry, ready in waiting:
            answer = None if ready is None else found.get(ready.key or "")
            if answer is not None:
                self._answered = True
                yield Entry(entry.shown, outcome={"index": index, "answer": answer})
            else:
                if ready is not None:
                    self._count_cost(index, ready)
                yield entry

    def _count_cost(self, index: int, ready: Prepared) -> None:
        if self._most_cost is None:
            return
        self.worst += ready.ceiling()
        if self.worst > self._most_cost:
            raise BudgetExceeded(
                f"the {self._kind.word}s up to number {index} may cost up to ${self.worst:.6f}, "
                f"which is above max_cost=${self._most_cost:g}; nothing was submitted"
            )
