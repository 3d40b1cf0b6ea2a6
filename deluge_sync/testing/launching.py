"""A sandbox for a whole process, and one as a process of its own."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any, Callable

from .sandbox import Sandbox

KEPT_RECORDS = 1000
"""Of the newest requests; millions may pass through a launched sandbox."""


class _Launched:
    """The sandbox of one process. The lock guards `sandbox`; all of it is renewed after a fork."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.sandbox: Sandbox | None = None


_launched = _Launched()


def launch() -> Sandbox:
    """The one sandbox that `sandbox/...` models of this process use, started when first asked for.

    It has no limits and no faults, runs in a daemon thread and is closed at exit. A forked child
    gets its own.
    """
    here = _here()
    with here.lock:
        if here.sandbox is None or not here.sandbox.running:
            here.sandbox = Sandbox(keep_bodies=False, journal_limit=KEPT_RECORDS).start()
            atexit.register(here.sandbox.close)
        return here.sandbox


def serve(
    *,
    port: int = 0,
    ready: Callable[[str], object] | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> None:
    """Run a sandbox until `stop` is set or Ctrl-C is pressed (`KeyboardInterrupt` goes on).

    `ready` is called with the base URL once it listens; `settings` are those of `Sandbox`.
    """
    with Sandbox(port=port, **settings) as sandbox:
        if ready is not None:
            ready(sandbox.base_url)
        (stop or threading.Event()).wait()


def _here() -> _Launched:
    global _launched
    if _launched.process != os.getpid():
        _launched = _Launched()
    return _launched
