"""SIGTERM as an orderly end."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from .values.errors import ConfigError

TERMINATED = 143
"""The exit code that shells give to what SIGTERM ended."""


def install() -> None:
    """Have the first SIGTERM raise `SystemExit(143)` in the main thread; later ones change nothing.

    A forked child keeps what was there before. `ConfigError` outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("signal handlers can be installed in the main thread only")
    pid, before = os.getpid(), signal.getsignal(signal.SIGTERM)
    if getattr(before, "deluge_sync_pid", None) == pid:
        return
    is_ending = False

    def end(number: int, frame: FrameType | None) -> None:
        # Only this: what is under way in this thread may hold any lock, so nothing is called here.
        nonlocal is_ending
        if os.getpid() != pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
            os.kill(os.getpid(), signal.SIGTERM)
        elif not is_ending:
            is_ending = True
            raise SystemExit(TERMINATED)

    end.deluge_sync_pid = pid  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, end)
