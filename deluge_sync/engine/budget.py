"""A cap on what may be spent: reserved before it is spent, settled after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..values.errors import BudgetExceeded, DeadlineExceededError
from .alarm import Alarm
from .cancellation import Cancellation
from .clock import Clock, monotonic


class Purse:
    """What one call has set aside, `amount`, and what it `spent` of it so far."""

    __slots__ = ("amount", "spent")

    def __init__(self, amount: float) -> None:
        self.amount = amount
        self.spent = 0.0


class Budget:
    """At most `limit` US dollars, whatever many threads do at once.

    A call reserves the most it can cost and settles what it did cost, so that even at the worst the
    cap holds. One that does not fit waits while others may still give something back, and fails
    when nobody is left who could. `parent` is another cap that every draw must fit too. Where a
    call turns out to cost more than it can, more is set aside from then on, in proportion.

    The lock guards the sums, the factor and the alarms.
    """

    def __init__(
        self, limit: float, *, parent: Budget | None = None, clock: Clock = monotonic
    ) -> None:
        self.limit = limit
        self._parent = parent
        self._clock = clock
        self._spent = 0.0
        self._reserved: dict[Purse, float] = {}
        self._factor = 1.0
        self._alarms: list[Alarm] = []
        self._lock = threading.Lock()

    @property
    def spent(self) -> float:
        """What was settled so far."""
        return self._spent

    @contextmanager
    def reserved(
        self, ceiling: float, deadline: float, cancellation: Cancellation
    ) -> Iterator[Purse]:
        """Set aside what a call with that `ceiling` can cost; at the end, settle for what its purse
        says was spent. Raises `BudgetExceeded`, and what waiting raises.
        """
        purse = Purse(ceiling * self._worst())
        try:
            self._reserve(purse, deadline, cancellation)
            yield purse
        finally:
            self._settle(purse)
            if ceiling and purse.spent > ceiling:
                self._learn(purse.spent / ceiling)

    @property
    def left(self) -> float:
        """What may be spent yet, by this and its parent; what is set aside counts as spent."""
        with self._lock:
            left = self.limit - self._spent - sum(self._reserved.values())
        return left if self._parent is None else min(left, self._parent.left)

    def book(self, spent: float) -> None:
        """Count what was spent beside the calls that reserve."""
        self.charge(spent)
        if self._parent is not None:
            self._parent.book(spent)

    def charge(self, spent: float) -> None:
        """Count what was spent before this budget began."""
        with self._lock:
            self._spent += spent

    def _worst(self) -> float:
        return self._factor if self._parent is None else max(self._factor, self._parent._worst())

    def _learn(self, factor: float) -> None:
        with self._lock:
            self._factor = max(self._factor, factor)
        if self._parent is not None:
            self._parent._learn(factor)

    def _reserve(self, purse: Purse, deadline: float, cancellation: Cancellation) -> None:
        while True:
            alarm = self._try(purse)
            if alarm is None:
                break
            self._wait(alarm, deadline, cancellation)
        if self._parent is not None:
            self._parent._reserve(purse, deadline, cancellation)

    def _try(self, purse: Purse) -> Alarm | None:
        """Reserve, or give an alarm that rings when somebody settles."""
        with self._lock:
            left = self.limit - self._spent - sum(self._reserved.values())
            if purse.amount <= left:
                self._reserved[purse] = purse.amount
                return None
            if not self._reserved:
                raise BudgetExceeded(
                    f"this call may cost up to ${purse.amount:.6f}, and ${max(left, 0):.6f} of "
                    f"max_cost=${self.limit:g} is left (less input or a smaller "
                    "max_new_tokens needs less)"
                )
            alarm = Alarm()
            self._alarms.append(alarm)
            return alarm

    def _settle(self, purse: Purse) -> None:
        """More than once, or without a reservation, it changes nothing."""
        with self._lock:
            if self._reserved.pop(purse, None) is not None:
                self._spent += purse.spent
            alarms, self._alarms = self._alarms, []
        for alarm in alarms:
            alarm.ring()
        if self._parent is not None:
            self._parent._settle(purse)

    def _wait(self, alarm: Alarm, deadline: float, cancellation: Cancellation) -> None:
        cancellation.add(alarm.ring)
        try:
            if not alarm.wait(deadline - self._clock()):
                raise DeadlineExceededError("the call's time was up while it waited for max_cost")
            cancellation.check()
        finally:
            cancellation.discard(alarm.ring)
