"""How much may be drawn in any minute: arithmetic, no clock, no lock, no thread."""

from __future__ import annotations

import math

WINDOW = 60.0
"""Seconds over which providers count."""

SLACK = 0.6
"""Seconds by which our window is longer than theirs: two requests that left a minute apart may
arrive a little closer together. It costs 1 % of the limit and saves the 429s."""

BIN = 0.25
"""Seconds summed up into one entry of the log; an entry counts until its last moment is old."""

EARLY = 1e-6
"""Seconds that are no wait: below the resolution of sums of floats, and far below `SLACK`."""

DUST = 1e-9
"""A weight that is none: what adding up floats leaves."""


class Bucket:
    """A limit per minute that no sliding minute exceeds, drawn from smoothly.

    Two rules hold at once. The *log*: what was drawn in the last minute plus the new weight stays
    within `limit` (a token bucket alone lets its burst come on top). The *pace*: beyond a burst
    worth `burst_seconds`, draws are spread evenly (the generic cell rate algorithm), because
    providers also look at seconds. `limit` None draws freely but keeps the log, so that a limit
    learned later starts from what was really used. A weight above the limit counts as the whole
    limit.

    Not thread-safe: the lane that owns it holds its lock around every call.
    """

    __slots__ = (
        "_bins",
        "_expires_at",
        "_paid_until",
        "_seconds_each",
        "_used",
        "burst_seconds",
        "limit",
    )

    def __init__(self, limit: float | None, *, burst_seconds: float = 1.0) -> None:
        self.burst_seconds = burst_seconds
        self._bins: dict[int, float] = {}
        self._expires_at = math.inf
        self._used = 0.0
        self._paid_until = -math.inf
        self._set_limit(limit)

    def wait(self, weight: float, now: float) -> float:
        """Seconds until `weight` may be drawn; 0.0 means now."""
        limit = self.limit
        if limit is None:
            return 0.0
        if weight > limit:
            weight = limit
        if self._expires_at <= now:
            self._forget(now)
        seconds = self._paid_until - now
        if seconds > 0.0:
            burst_left = self.burst_seconds - weight * self._seconds_each
            if burst_left > 0.0:
                seconds -= burst_left
        excess = self._used + weight - limit
        if excess > DUST:
            seconds = max(seconds, self._log_wait(excess, now))
        return seconds if seconds > EARLY else 0.0

    def outlook(self, weight: float, ahead: float, now: float) -> float:
        """Seconds until `weight` may be drawn, after `ahead` was in many draws."""
        if self.limit is None:
            return 0.0
        weight = min(weight, self.limit)
        owed = max(self._paid_until - now, 0.0) + ahead * self._seconds_each
        pace = owed - max(self.burst_seconds - weight * self._seconds_each, 0.0) if owed else 0.0
        excess = self.used(now) + ahead + weight - self.limit
        return max(pace, self._log_wait(excess, now) if excess > DUST else 0.0)

    def draw(self, weight: float, now: float) -> tuple[int, float]:
        """Take `weight`; gives the bin, which `give_back` wants, and the weight as it counts."""
        bin_number = int(now // BIN)
        limit = self.limit
        if limit is not None:
            if weight > limit:
                weight = limit
            paid_until = self._paid_until
            begins = paid_until if paid_until > now else now
            self._paid_until = begins + weight * self._seconds_each
        self._add(weight, bin_number)
        return bin_number, weight

    def change(self, limit: float | None, now: float) -> None:
        """Have another limit from now on; what is not paid off yet is paid at its pace."""
        if limit == self.limit:
            return
        owed = max(self._paid_until - now, 0.0)
        if self.limit is not None and limit is not None:
            self._paid_until = now + min(owed * self.limit / limit, WINDOW + SLACK)
        self._set_limit(limit)

    def give_back(self, weight: float, bin_number: int) -> None:
        """Return part of the draw made in that bin (or, when negative, take more).

        Never more than the bin holds: the server's word may have had it forgotten already.
        """
        held = self._bins.get(bin_number, 0.0)
        if weight > held:
            weight = held
        if weight:
            self._add(-weight, bin_number)
            self._paid_until -= weight * self._seconds_each

    def used(self, now: float) -> float:
        """What was drawn within the last minute."""
        self._forget(now)
        return self._used

    def drawn_since(self, bin_number: int) -> float:
        """What was drawn in that bin and after it."""
        total = 0.0
        for number in reversed(self._bins):
            if number < bin_number:
                break
            total += self._bins[number]
        return total

    def book(self, weight: float, *, now: float, reset_after: float | None) -> None:
        """Count `weight` as drawn by somebody else; it expires at the server's reset."""
        age = 0.0 if reset_after is None else min(max(WINDOW - reset_after, 0.0), WINDOW - 1.0)
        self._add(weight, int((now - age) // BIN))
        self._bins = dict(sorted(self._bins.items()))

    def forgive(self, weight: float) -> None:
        """Drop `weight` from the oldest entries: the server no longer counts it."""
        for number in tuple(self._bins):
            part = min(self._bins[number], weight)
            self._add(-part, number)
            weight -= part
            if weight <= 0:
                return

    def _set_limit(self, limit: float | None) -> None:
        """`_seconds_each` is how long the pace takes for a weight of 1."""
        self.limit = limit
        self._seconds_each = (WINDOW + SLACK) / limit if limit is not None else 0.0

    def _log_wait(self, excess: float, now: float) -> float:
        """Seconds until the log has `excess` less in it."""
        for bin_number, drawn in self._bins.items():
            excess -= drawn
            if excess <= DUST:
                return _expiry(bin_number) - now
        return WINDOW + SLACK

    def _forget(self, now: float) -> None:
        while self._expires_at <= now:
            self._used -= self._bins.pop(next(iter(self._bins)))
            if self._bins:
                self._expires_at = _expiry(next(iter(self._bins)))
            else:
                self._expires_at = math.inf
                self._used = 0.0  # and with it the dust of adding up floats

    def _add(self, weight: float, bin_number: int) -> None:
        bins = self._bins
        if bin_number in bins:
            bins[bin_number] += weight
        else:
            bins[bin_number] = weight
            self._expires_at = min(self._expires_at, _expiry(bin_number))
        self._used += weight


def _expiry(bin_number: int) -> float:
    """When an entry stops counting: a whole window after the end of its bin."""
    return (bin_number + 1) * BIN + WINDOW + SLACK
