"""Of pieces of work that begin alike, one goes first."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Callable

Piece = Callable[[], None]

MOST_KNOWN = 10_000
"""Beginnings remembered; one that was forgotten has its next piece go first again."""


class Vanguard:
    """Holds pieces back until the first one with the same beginning has arrived.

    The lock guards the table: a list of those held, or None once the first is there.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, list[Piece] | None] = {}
        self._lock = threading.Lock()

    def goes_first(self, beginning: Hashable) -> bool:
        """Whether nobody came before; whoever is told so says `arrived` in the end."""
        with self._lock:
            if beginning in self._held:
                return False
            self._held[beginning] = []
            self._forget()
            return True

    def holds(self, beginning: Hashable, piece: Piece) -> bool:
        """Whether `piece` is held back until then."""
        with self._lock:
            held = self._held.get(beginning)
            if held is None:
                return False
            held.append(piece)
            return True

    def arrived(self, beginning: Hashable) -> list[Piece]:
        """The first is there: what was held may go."""
        with self._lock:
            held = self._held.get(beginning) or []
            self._held[beginning] = None
            return held

    def _forget(self) -> None:
        if len(self._held) > MOST_KNOWN:
            for beginning in [key for key, held in self._held.items() if held is None]:
                del self._held[beginning]
