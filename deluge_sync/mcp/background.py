"""The event loop that MCP's package needs, in one thread of this process, for threads that block.

Each process has its own (see `engine.runtime`); it starts when first asked for something, and at
exit its servers are ended.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import signal
import sys
import threading
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from ..engine.runtime import Runtime, current
from ..values.errors import CallCancelledError, DeadlineExceededError

SECONDS_AT_EXIT = 1.0
"""For servers to end by themselves when the program does; then they are killed."""

SECONDS_TO_END = 8.0
"""The same at `close()`. The `mcp` package takes up to 6.5: it asks, terminates, kills."""

Result = TypeVar("Result")

_Base: Any = (
    asyncio.ProactorEventLoop  # type: ignore[attr-defined,unused-ignore]
    if sys.platform == "win32"
    else asyncio.SelectorEventLoop
)


class Line(Protocol):
    """What is ended with the program."""

    async def end(self) -> None:
        """End it; safe to ask for twice."""


class _EventLoop(_Base):  # type: ignore[misc]
    """An event loop that knows its child processes: the `mcp` package does not tell them."""

    def __init__(self) -> None:
        super().__init__()
        self.children: weakref.WeakSet[Any] = weakref.WeakSet()

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        transport, protocol = await super().subprocess_exec(*args, **options)
        self.children.add(transport)
        return transport, protocol

    def kill_children(self) -> None:
        """Kill those that still run, each with its process group (it leads one)."""
        for transport in tuple(self.children):
            if transport.get_returncode() is not None:
                continue
            try:
                if sys.platform == "win32":
                    transport.kill()
                else:
                    os.killpg(transport.get_pid(), signal.SIGKILL)
            except (OSError, TypeError):  # gone in this moment
                pass


class Background:
    """One process's loop, and the lines that it ends at exit.

    The lock guards the making of `_loop`. `_lines` has none: `forget` may be called by the garbage
    collector at any moment, also in a thread that holds a lock, and a set's steps are whole.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: _EventLoop | None = None
        self._lines: set[Line] = set()

    def add(self, line: Line) -> None:
        """Have `line` ended at exit."""
        self._lines.add(line)

    def run(self, work: Coroutine[Any, Any, Result], *, seconds: float, what: str) -> Result:
        """What `work` gives or raises, within `seconds`; Ctrl-C and the end of the program stop it.

        Raises `DeadlineExceededError` and `CallCancelledError` besides.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        cancellation = current().cancellation
        cancellation.add(future.cancel)
        try:
            return future.result(seconds)
        except concurrent.futures.CancelledError:
            raise CallCancelledError(f"{what}: cancelled") from None
        except concurrent.futures.TimeoutError:
            if future.done() and not future.cancelled() and future.exception() is not None:
                raise  # its own
            raise DeadlineExceededError(f"{what}: no answer within {seconds:g} s") from None
        finally:
            future.cancel()
            cancellation.discard(future.cancel)

    def forget(self, line: Line) -> None:
        """End `line` without waiting for it; called where nobody holds its tools any longer."""
        self._lines.discard(line)
        loop = self._loop
        # In a forked child the loop is the parent's, and so is the line.
        if loop is not None and self._pid == os.getpid() and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(line.end(), loop)

    def close(self, lines: Sequence[Line]) -> None:
        """End these lines, all at once, and come back when they have ended."""
        self._lines.difference_update(lines)
        if lines:
            self.run(_end(lines), seconds=SECONDS_TO_END, what="closing MCP servers")

    def close_all(self, seconds: float) -> None:
        """End all lines, and kill what still runs after `seconds`."""
        loop = self._loop
        if loop is None:
            return
        future = asyncio.run_coroutine_threadsafe(_end(tuple(self._lines)), loop)
        concurrent.futures.wait((future,), seconds)
        loop.kill_children()

    def _running(self) -> _EventLoop:
        with self._lock:
            loop = self._loop
            if loop is not None:
                return loop
            loop = self._loop = _EventLoop()
        # What is asked of it before it runs is done when it does.
        threading.Thread(target=_serve, args=(loop,), name="deluge-sync-mcp", daemon=True).start()
        return loop


_backgrounds: dict[Runtime, Background] = {}
"""By the process's runtime. Those of parent processes stay: what they hold is the parent's."""


def background() -> Background:
    """That of this process."""
    runtime = current()
    found = _backgrounds.get(runtime)
    return found if found is not None else _backgrounds.setdefault(runtime, Background())


def _serve(loop: _EventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


async def _end(lines: Sequence[Line]) -> None:
    await asyncio.gather(*(line.end() for line in lines), return_exceptions=True)


def _close_at_exit() -> None:
    found = _backgrounds.get(current())
    if found is not None:
        found.close_all(SECONDS_AT_EXIT)


# After the pools' workers have been joined: until then they may call tools.
atexit.register(_close_at_exit)
