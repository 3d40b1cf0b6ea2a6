"""The strict server-side limiter: what was admitted in any 60 s never exceeds a limit."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Protocol

WINDOW = 60.0
BUDGETS = ("requests", "tokens", "input_tokens", "output_tokens")
KINDS = ("sliding", "bucket")
_TOLERANCE = 1e-9
"""Float dust that must not refuse a client which waited exactly as long as it was told."""


class LimitState(NamedTuple):
    """One limit now: per minute, what is left, seconds until all of it is free again."""

    name: str
    limit: float
    remaining: float
    reset_after: float


class Refusal(NamedTuple):
    """Why a request was not admitted. `wait` is infinite where it never could be."""

    name: str
    limit: float
    used: float
    requested: float
    wait: float


class Drawing:
    """What one admitted request drew from one budget."""

    __slots__ = ("amount", "at", "counted")

    def __init__(self, amount: float, at: float) -> None:
        self.amount = amount
        self.at = at
        self.counted = True


Admission = Mapping[str, Drawing]


class Budget(Protocol):
    """One limit per minute. Not thread-safe: the limiter holds its lock."""

    limit: float

    def used(self, now: float) -> float:
        """What counts against the limit now."""

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` would be admitted; 0 is now, infinity is never."""

    def draw(self, amount: float, now: float) -> Drawing:
        """Count `amount` from now on."""

    def correct(self, drawing: Drawing, amount: float) -> None:
        """Count `amount` in place of what was drawn."""

    def reset_after(self, now: float) -> float:
        """Seconds until nothing counts any more."""


class SlidingLog:
    """Exact: every drawing counts for 60 s, to the moment."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._used = 0.0
        self._log: deque[Drawing] = deque()

    def used(self, now: float) -> float:
        """See `Budget`."""
        while self._log and self._log[0].at + WINDOW <= now:
            oldest = self._log.popleft()
            oldest.counted = False
            self._used -= oldest.amount
        return self._used

    def wait(self, amount: float, now: float) -> float:
        """See `Budget`."""
        excess = self.used(now) + amount - self.limit
        if excess <= _TOLERANCE:
            return 0.0
        if amount > self.limit:
            return math.inf
        for drawing in self._log:
            excess -= drawing.amount
            if excess <= _TOLERANCE:
                return drawing.at + WINDOW - now
        return WINDOW

    def draw(self, amount: float, now: float) -> Drawing:
        """See `Budget`."""
        drawing = Drawing(amount, now)
        self._log.append(drawing)
        self._used += amount
        return drawing

    def correct(self, drawing: Drawing, amount: float) -> None:
        """See `Budget`."""
        if drawing.counted:
            self._used += amount - drawing.amount
            drawing.amount = amount

    def reset_after(self, now: float) -> float:
        """See `Budget`."""
        self.used(now)
        return self._log[-1].at + WINDOW - now if self._log else 0.0


class LeakyBucket:
    """A token bucket that holds a minute's worth and refills evenly.

    After an idle minute it lets the whole limit through at once, and more as it refills: up to
    twice the limit in the first 60 s, as such vendors do.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._used = 0.0
        self._at = -math.inf

    def used(self, now: float) -> float:
        """See `Budget`."""
        if self._used:
            self._used = max(0.0, self._used - (now - self._at) * self.limit / WINDOW)
        self._at = now
        return self._used

    def wait(self, amount: float, now: float) -> float:
        """See `Budget`."""
        excess = self.used(now) + amount - self.limit
        if excess <= _TOLERANCE:
            return 0.0
        return math.inf if amount > self.limit else excess * WINDOW / self.limit

    def draw(self, amount: float, now: float) -> Drawing:
        """See `Budget`."""
        self._used = self.used(now) + amount
        return Drawing(amount, now)

    def correct(self, drawing: Drawing, amount: float) -> None:
        """See `Budget`."""
        self._used = max(0.0, self._used + amount - drawing.amount)
        drawing.amount = amount

    def reset_after(self, now: float) -> float:
        """See `Budget`."""
        return self.used(now) * WINDOW / self.limit


class Limiter:
    """All limits of the sandbox's one account. Thread-safe; the lock guards the budgets.

    `limits` are per minute, by budget name; None means no such limit. `kind` is "sliding" (an
    exact log) or "bucket". `clock` gives monotonic seconds.
    """

    def __init__(
        self, kind: str, clock: Callable[[], float], limits: Mapping[str, float | None]
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"limiter must be one of {', '.join(KINDS)}, not {kind!r}")
        self._make: Callable[[float], Budget] = SlidingLog if kind == "sliding" else LeakyBucket
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._lock = threading.Lock()
        self.set_limits(limits)

    def set_limits(self, limits: Mapping[str, float | None]) -> None:
        """Change the named limits from now on; what was used stays used. None removes one."""
        for name, limit in limits.items():
            if name not in BUDGETS:
                raise ValueError(f"no limit is named {name!r}; there are {', '.join(BUDGETS)}")
            if limit is not None and limit <= 0:
                raise ValueError(f"the limit of {name} must be above 0, not {limit}")
        with self._lock:
            now = self._clock()
            for name, limit in limits.items():
                if limit is None:
                    self._budgets.pop(name, None)
                elif name in self._budgets:
                    self._budgets[name].used(now)
                    self._budgets[name].limit = limit
                else:
                    self._budgets[name] = self._make(limit)

    def admit(self, amounts: Mapping[str, float]) -> Admission | Refusal:
        """Draw `amounts` from all budgets, or nothing from any."""
        with self._lock:
            now = self._clock()
            worst: Refusal | None = None
            for name, budget in self._budgets.items():
                amount = amounts[name]
                wait = budget.wait(amount, now)
                if wait > 0 and (worst is None or wait > worst.wait):
                    worst = Refusal(name, budget.limit, budget.used(now), amount, wait)
            if worst is not None:
                return worst
            return {name: budget.draw(amounts[name], now) for name, budget in self._budgets.items()}

    def settle(self, admission: Admission, amounts: Mapping[str, float]) -> None:
        """Count what was really used in place of what was drawn at admission."""
        with self._lock:
            for name, drawing in admission.items():
                budget = self._budgets.get(name)
                if budget is not None and drawing.amount != amounts[name]:
                    budget.correct(drawing, amounts[name])

    def states(self) -> Iterable[LimitState]:
        """Every limit as it stands now, in the order of `BUDGETS`."""
        if not self._budgets:
            return ()
        with self._lock:
            now = self._clock()
            return [
                LimitState(
                    name,
                    budget.limit,
                    max(0.0, budget.limit - budget.used(now)),
                    budget.reset_after(now),
                )
                for name, budget in self._budgets.items()
            ]
