"""Standard futures that know their process."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TypeVar

from .values.errors import ForkedError

Result = TypeVar("Result")


class OwnFuture(Future[Result]):
    """A standard future that knows its process: pending in a forked child, it fails at once."""

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()
        self._unclaimed = [True]  # popping it is atomic: one of those who try gets it

    def claim(self) -> bool:
        """Whether the caller is to fulfil it: nobody else is, and it is not cancelled."""
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Result:
        """The result, or what the work failed with."""
        self.check_process()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the work failed with, or None."""
        self.check_process()
        return super().exception(timeout)

    def check_process(self) -> None:
        """Raise `ForkedError` if nobody in this process will ever fulfil it."""
        # Without its lock: the thread that held that at the fork is not here to release it.
        if self._pid != os.getpid() and self._state != "FINISHED":  # type: ignore[attr-defined]
            raise ForkedError("the process forked while this call was under way in the parent")
