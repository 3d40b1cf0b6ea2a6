"""SIGTERM as an orderly end."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from .values.errors import ConfigError

PATIENCE = 5.0
"""Seconds; after that one is taken to have been lost, as what is raised in a `__del__` is."""

TERMINATED = 143
"""The exit code that shells give to what SIGTERM ended."""


def install() -> None:
    """Have SIGTERM raise `SystemExit(143)` in the main thread.

    While that is under way, `PATIENCE` seconds, another one changes nothing. A forked child keeps
    what was there before. `ConfigError` outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("signal handlers can be installed in the main thread only")
    pid, before = os.getpid(), signal.getsignal(signal.SIGTERM)
    if getattr(before, "deluge_sync_pid", None) == pid:
        return
    ends_until = 0.0

    def end(number: int, frame: FrameType | None) -> None:
        # Only this: what is under way in this thread may hold any lock, so nothing is called here.
        nonlocal ends_until
        if os.getpid() != pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
            os.kill(os.getpid(), signal.SIGTERM)
        elif time.monotonic() >= ends_until:
            ends_until = time.monotonic() + PATIENCE
            raise SystemExit(TERMINATED)

    end.deluge_sync_pid = pid  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, end)
