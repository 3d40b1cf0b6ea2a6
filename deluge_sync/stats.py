"""Counting: what a run, and a client, has done so far."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .engine.clock import Clock, monotonic
from .values.response import Response

GROWTH = math.log(1.05)
"""Latencies are counted in classes 5 % wide, so that percentiles of any run need little memory."""


@dataclass(frozen=True)
class Report:
    """What was done: counts, tokens, money (US dollars), retries by reason, latencies (seconds).

    `responses` are the answers of the run in the order of its prompts, as far as they came in
    (`map` only). `latency_percentiles` has the keys 50, 90 and 99, and holds good answers only;
    each figure is exact to 5 %. `unpriced` counts answers whose price is not known. `cached` counts
    those that were not called for; `saved_cost` is what they would have cost, and `input_tokens`
    and `output_tokens` leave them out. `cache_read_tokens` and `cache_write_tokens` are the parts
    of `input_tokens` that the vendor's own cache gave and took. `restored` counts those that the
    run's journal had: they are answers like any other, and in none of the other figures.
    """

    prompts: int = 0
    answered: int = 0
    failed: int = 0
    cached: int = 0
    restored: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float = 0.0
    saved_cost: float = 0.0
    unpriced: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    latency_percentiles: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    responses: tuple[Response, ...] = field(default=(), repr=False)

    @property
    def cache_read_share(self) -> float:
        """The share of the input that the vendor's own cache gave, from 0 to 1."""
        return self.cache_read_tokens / self.input_tokens if self.input_tokens else 0.0


class Tally:
    """Adds up responses from many threads; the lock guards all its numbers."""

    def __init__(self, parent: Tally | None = None, *, clock: Clock = monotonic) -> None:
        self._parent = parent
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin again at zero."""
        with self._lock:
            self._started_at = self._clock()
            self._restored = 0
            self._prompts = self._cached = self._attempts = self._unpriced = 0
            self._input_tokens = self._output_tokens = 0
            self._cache_read_tokens = self._cache_write_tokens = 0
            self._cost = self._saved_cost = 0.0
            self._retries: Counter[str] = Counter()
            self._errors: Counter[str] = Counter()
            self._latencies: Counter[int] = Counter()

    def add(self, response: Response, retries: Iterable[str] = (), *, prompts: int = 1) -> None:
        """Count one finished call; `retries` names why each of its retries was made. It may be one
        of several `prompts`: texts to be embedded.
        """
        with self._lock:
            self._prompts += prompts
            self._attempts += response.attempts
            self._cached += prompts * response.cached
            if response.error is not None:
                self._errors[response.error.kind] += prompts
            elif response.latency and not response.cached:
                self._latencies[int(math.log(response.latency) / GROWTH)] += 1
            if response.cached:
                self._saved_cost += response.saved_cost or 0.0
            else:
                self._cost += response.cost or 0.0
                if response.usage is not None:
                    self._unpriced += response.cost is None
                    self._input_tokens += response.usage.input_tokens
                    self._output_tokens += response.usage.output_tokens
                    self._cache_read_tokens += response.usage.cache_read_tokens
                    self._cache_write_tokens += response.usage.cache_write_tokens
            if retries:
                self._retries.update(retries)
        if self._parent is not None:
            self._parent.add(response, retries, prompts=prompts)

    def restore(self) -> None:
        """Count one answer that was there from an earlier run."""
        with self._lock:
            self._prompts += 1
            self._restored += 1
        if self._parent is not None:
            self._parent.restore()

    def report(self, responses: Iterable[Response] = ()) -> Report:
        """The numbers so far."""
        with self._lock:
            failed = sum(self._errors.values())
            return Report(
                prompts=self._prompts,
                answered=self._prompts - failed,
                failed=failed,
                cached=self._cached,
                restored=self._restored,
                attempts=self._attempts,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
                cache_read_tokens=self._cache_read_tokens,
                cache_write_tokens=self._cache_write_tokens,
                cost=self._cost,
                saved_cost=self._saved_cost,
                unpriced=self._unpriced,
                retries=dict(self._retries),
                errors=dict(self._errors),
                latency_percentiles=_percentiles(self._latencies),
                seconds=self._clock() - self._started_at,
                responses=tuple(responses),
            )


def _percentiles(classes: Mapping[int, int]) -> dict[int, float]:
    total = sum(classes.values())
    found: dict[int, float] = {}
    seen = 0
    for number in sorted(classes):
        seen += classes[number]
        for percent in (50, 90, 99):
            if percent not in found and seen * 100 >= percent * total:
                found[percent] = math.exp(number * GROWTH)
    return found
