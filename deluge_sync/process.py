"""What one client has in one process: threads, routes, futures and numbers.

A fork shares none of it: `Client` keeps one `ClientProcess` for each process id.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Callable

from .call import AnyCall
from .engine import daemons
from .engine.budget import Budget
from .engine.cancellation import Cancellation
from .engine.crew import Crew
from .engine.daemons import Stragglers
from .engine.deadlines import Deadlines
from .engine.runtime import current
from .futures import OwnFuture
from .pieces import end_dropped
from .progress import Progress
from .routes import Routes
from .run import Run
from .settings import Settings
from .stats import Tally
from .values.errors import CallCancelledError, DeadlineExceededError
from .values.model import Model
from .values.response import Answer, Response

Finish = Callable[[Response, Iterable[str]], None]


class ResponseFuture(OwnFuture[Response]):
    """What `submit` gives."""


class ClientProcess:
    """One client's state in one process. The lock guards `workers` and the two tables of futures.

    `kept` holds the futures submitted between `open()` and `close()`; others only as long as
    somebody else does.
    """

    def __init__(self, max_cost: float | None = None) -> None:
        self.tally = Tally()
        self.budget = None if max_cost is None else Budget(max_cost)
        self.opened: Progress | None = None
        self.last_run: Run | None = None
        self.stragglers = Stragglers()
        self.futures: weakref.WeakKeyDictionary[ResponseFuture, None] = weakref.WeakKeyDictionary()
        self.kept: dict[ResponseFuture, None] = {}
        self._workers: Workers | None = None
        self._all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()
        self._lock = threading.Lock()

    def workers(self, settings: Settings, models: tuple[Model, ...]) -> Workers:
        """The threads and routes in use; made when first asked for."""
        workers = self._workers
        if workers is None:
            with self._lock:
                workers = self._workers
                if workers is None:
                    workers = self._workers = Workers(settings, models)
                    self._all_workers.add(workers)
        return workers

    def change_workers(self) -> None:
        """Have new ones made for new calls; what is under way goes on with the old."""
        with self._lock:
            self._workers = None

    def close(self) -> None:
        """Cancel all that is under way."""
        end_dropped()
        with self._lock:
            self._workers = None
            every = tuple(self._all_workers)
            self.kept.clear()
        for workers in every:
            workers.close()

    def remember(self, future: ResponseFuture) -> None:
        """Know `future` for `as_completed()` and `wait_for_all()`."""
        with self._lock:
            self.futures[future] = None
            if self.opened is not None:
                self.kept[future] = None

    def known(self) -> list[ResponseFuture]:
        """The futures known, in the order of their submission."""
        with self._lock:
            return list(self.kept) if self.opened is not None else list(self.futures)

    def forget(self) -> None:
        """Let go of the futures that were kept."""
        with self._lock:
            self.kept.clear()

    def finish(self, response: Response, retries: Iterable[str]) -> None:
        """Count a finished call."""
        self.tally.add(response, retries)
        opened = self.opened
        if opened is not None:
            opened.tick()


class Workers:
    """Threads, and the routes of what they call.

    `cancellation` is the client's `close()`; `pool_cancellation` is that or the end of the program,
    for what runs in the pool's threads, which the interpreter waits for.
    """

    def __init__(self, settings: Settings, models: tuple[Model, ...]) -> None:
        runtime = current()
        self.cancellation = Cancellation()
        self.pool_cancellation = Cancellation(self.cancellation, runtime.cancellation)
        self.routes = Routes(settings, models, runtime)
        self.width = settings.max_concurrent_requests
        self._deadlines = Deadlines()
        self._crews: dict[int, Crew] = {}
        self._started: list[int] = []
        self._pool = ThreadPoolExecutor(
            self.width,
            thread_name_prefix="deluge-sync",
            initializer=lambda: self._started.append(1),
        )

    def execute(self, function: Callable[[], object]) -> None:
        """Have a worker run `function`."""
        try:
            self._pool.submit(function)
        except RuntimeError as error:
            # The pool queues first and starts a thread then: where the system has no more threads
            # to give, those that run will come to it.
            if "start new thread" in str(error) and self._started:
                return
            raise CallCancelledError(
                f"the client was closed, or the program is ending ({error})"
            ) from error

    def enqueue(self, job: Job, deadline: float | None) -> None:
        """Have a worker run `job`; at `deadline` it expires if none was free until then."""
        self.expire(job.expire, deadline)
        self.execute(functools.partial(copy_context().run, job.run))

    def crew(self, depth: int) -> Crew:
        """Threads for agent loops that were begun at that `depth`, none of the pool's: what a
        loop's tools send waits for those.
        """
        crew = self._crews.get(depth)
        return crew or self._crews.setdefault(depth, Crew(self._start_loop, size=self.width))

    def _start_loop(self, function: Callable[[], None]) -> None:
        # A method, so that what `close()` cancels lives as long as a loop does.
        daemons.start(function)

    def expire(self, method: Callable[[], None], deadline: float | None) -> None:
        """Have the bound `method` called at `deadline`, as long as its object lives."""
        if deadline is not None:
            self._deadlines.add(deadline, method)

    def close(self) -> None:
        """Cancel what is under way and let the threads end."""
        self.cancellation.cancel()
        self._deadlines.close()
        self._pool.shutdown(wait=False)


class Job:
    """A submitted call: run by a worker, or expired before one was free, whichever comes first."""

    def __init__(self, call: AnyCall, future: ResponseFuture, finish: Finish) -> None:
        self._call = call
        self._future = future
        self._finish = finish

    def run(self) -> None:
        """Run the call and fulfil the future; called by a worker."""
        if self._future.claim():
            with self._failing_with_it():
                self._fulfil(self._call.run())

    def answer(self, found: Answer) -> None:
        """Fulfil the future with an answer of the cache."""
        if self._future.claim():
            with self._failing_with_it():
                self._fulfil(self._call.found(found))

    def expire(self) -> None:
        """The deadline has passed; nothing to do if the call is under way: it has its own."""
        if self._future.claim():
            error = DeadlineExceededError("the call's time was up before a worker was free")
            with self._failing_with_it():
                self._fulfil(self._call.failed(error))

    def _fulfil(self, response: Response) -> None:
        try:
            self._finish(response, self._call.retries)
        finally:
            if response.error is not None:
                self._future.set_exception(response.error)
            else:
                self._future.set_result(response)

    @contextlib.contextmanager
    def _failing_with_it(self) -> Iterator[None]:
        """Whatever goes wrong, nobody waits for the future for ever."""
        try:
            yield
        except BaseException as error:
            if not self._future.done():
                self._future.set_exception(error)
            raise
