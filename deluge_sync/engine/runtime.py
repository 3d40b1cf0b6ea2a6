"""What belongs to this process: lanes, transports, and the end of all waiting at exit.

A fork must not share threads, sockets or locks, so they all hang on a `Runtime` that is made anew
in a child. An at-fork hook does it where hooks run; everyone who asks for `current()` compares
process ids too, because uWSGI forks without running hooks.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  (registers its own exit step: ours must come after)
import os
import threading
import weakref
from collections.abc import Hashable, MutableMapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

from .cancellation import Cancellation
from .flights import Flights
from .lane import Lane

if TYPE_CHECKING:
    from .transport import Transport

Resource = TypeVar("Resource")


class Runtime:
    """The process-wide resources, each made when first asked for.

    `cancellation` ends what pools' workers do when the program ends.

    The lock guards the tables; what makes a resource runs under it, so it must not block.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.cancellation = Cancellation()
        self._lanes: dict[Hashable, Lane] = {}
        self._transports: dict[Hashable, Transport] = {}
        self._flights: MutableMapping[Hashable, Flights[Any]] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def lane(self, key: Hashable, make: Callable[[], Lane]) -> Lane:
        """The lane of that account and limit group, shared by all clients of the process."""
        return self._shared(self._lanes, key, make)

    def transport(self, key: Hashable, make: Callable[[], Transport]) -> Transport:
        """The transport with those options, shared by all clients of the process."""
        return self._shared(self._transports, key, make)

    def flights(self, key: Hashable) -> Flights[Any]:
        """What is under way to that place, whoever asks; known as long as somebody holds it."""
        return self._shared(self._flights, key, Flights)

    def close(self) -> None:
        """Close every socket."""
        for transport in tuple(self._transports.values()):
            transport.close()

    def _shared(
        self, table: MutableMapping[Hashable, Resource], key: Hashable, make: Callable[[], Resource]
    ) -> Resource:
        with self._lock:
            resource = table.get(key)
            if resource is None:
                resource = table[key] = make()
            return resource


_runtimes: dict[int, Runtime] = {}
"""By process id. Those of parent processes stay: freeing their TLS sockets would end the parent's
sessions."""


def current() -> Runtime:
    """The runtime of this process."""
    pid = os.getpid()
    runtime = _runtimes.get(pid)
    if runtime is None:
        runtime = _runtimes.setdefault(pid, Runtime())
    return runtime


def _wake_workers_at_exit() -> None:
    runtime = _runtimes.get(os.getpid())
    if runtime is not None:
        runtime.cancellation.cancel()


def _close_at_exit() -> None:
    runtime = _runtimes.get(os.getpid())
    if runtime is not None:
        runtime.close()


def _after_fork() -> None:
    """Should the child have got the id of a dead ancestor, that one's runtime is not its own."""
    ancestor = _runtimes.pop(os.getpid(), None)
    if ancestor is not None:
        _runtimes[-len(_runtimes) - 1] = ancestor


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

# A pool's own exit step joins its workers, and plain atexit functions run after it: too late to
# wake a worker that waits. Steps registered here run before, the last registered first. The
# function is private, hence the guard. Sockets are closed later, in a plain atexit function: until
# then threads of the user's own, which outlive main, may go on calling.
_register = cast(
    "Callable[[Callable[[], None]], object]",
    getattr(threading, "_register_atexit", atexit.register),
)
_register(_wake_workers_at_exit)
atexit.register(_close_at_exit)
