"""A cap on what may be spent: reserved before it is spent, settled after."""

from __future__ import annotations

import threading

from ..values.errors import BudgetExceeded, DeadlineExceededError
from .cancellation import Cancellation
from .clock import Clock, monotonic


class Budget:
    """At most `limit` US dollars, whatever many threads do at once.

    A call reserves the most it can cost and settles what it did cost, so that even at the worst the
    cap holds. One that does not fit waits while others may still give something back, and fails
    when nobody is left who could. `parent` is another cap that every draw must fit too. Where a
    call turns out to cost more than it can, more is set aside from then on, in proportion.

    The lock guards the sums and the alarms.
    """

    def __init__(
        self, limit: float, *, parent: Budget | None = None, clock: Clock = monotonic
    ) -> None:
        self.limit = limit
        self._parent = parent
        self._clock = clock
        self._spent = 0.0
        self._reserved = 0.0
        self._outstanding = 0
        self._factor = 1.0
        self._alarms: list[threading.Lock] = []
        self._lock = threading.Lock()

    @property
    def spent(self) -> float:
        """What was settled so far."""
        return self._spent

    def reserve(self, ceiling: float, *, deadline: float, cancellation: Cancellation) -> float:
        """Set aside what a call with that `ceiling` can cost; gives the amount, for `settle`.

        Raises `BudgetExceeded`, and what waiting raises.
        """
        amount = ceiling * self._worst()
        self._reserve(amount, deadline, cancellation)
        return amount

    def learn(self, ceiling: float, spent: float) -> None:
        """A call with that `ceiling` cost `spent`."""
        if ceiling and spent > ceiling:
            self._factor = max(self._factor, spent / ceiling)
            if self._parent is not None:
                self._parent.learn(ceiling, spent)

    def charge(self, spent: float) -> None:
        """Count what was spent before this budget began."""
        with self._lock:
            self._spent += spent

    def settle(self, amount: float, spent: float) -> None:
        """Replace the reserved `amount` by what was `spent`."""
        self._settle(amount, spent)
        if self._parent is not None:
            self._parent.settle(amount, spent)

    def _worst(self) -> float:
        return self._factor if self._parent is None else max(self._factor, self._parent._worst())

    def _reserve(self, amount: float, deadline: float, cancellation: Cancellation) -> None:
        while True:
            alarm = self._try(amount)
            if alarm is None:
                break
            self._wait(alarm, deadline, cancellation)
        if self._parent is not None:
            try:
                self._parent._reserve(amount, deadline, cancellation)
            except BaseException:
                self._settle(amount, 0.0)
                raise

    def _try(self, amount: float) -> threading.Lock | None:
        """Reserve, or give an alarm that rings when somebody settles."""
        with self._lock:
            left = self.limit - self._spent - self._reserved
            if amount <= left:
                self._reserved += amount
                self._outstanding += 1
                return None
            if not self._outstanding:
                raise BudgetExceeded(
                    f"this call may cost up to ${amount:.6f}, and ${max(left, 0):.6f} of "
                    f"max_cost=${self.limit:g} is left (a smaller max_new_tokens needs less)"
                )
            alarm = threading.Lock()
            alarm.acquire()
            self._alarms.append(alarm)
            return alarm

    def _settle(self, amount: float, spent: float) -> None:
        with self._lock:
            self._spent += spent
            self._outstanding -= 1
            # Without the dust of adding up floats once nothing is reserved.
            self._reserved = self._reserved - amount if self._outstanding else 0.0
            alarms, self._alarms = self._alarms, []
        for alarm in alarms:
            _ring(alarm)

    def _wait(self, alarm: threading.Lock, deadline: float, cancellation: Cancellation) -> None:
        def wake() -> None:
            _ring(alarm)

        cancellation.add(wake)
        try:
            left = deadline - self._clock()
            if left <= 0 or not alarm.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
                raise DeadlineExceededError("the call's time was up while it waited for max_cost")
            cancellation.check()
        finally:
            cancellation.discard(wake)


def _ring(alarm: threading.Lock) -> None:
    try:
        alarm.release()
    except RuntimeError:  # it rings already
        pass
