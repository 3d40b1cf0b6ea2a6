"""Agent loops in threads of their own: one that was submitted, or many at once.

None of them is a thread of the client's pool: loops wait for tools, and what tools send waits for
the pool.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import Any, Callable, Union

from .agent import AgentLoop, AgentLoops, LoopResult
from .engine import daemons
from .engine.cancellation import Cancellation
from .engine.crew import Crew
from .engine.window import Window
from .futures import OwnFuture
from .tool_runs import told
from .values.errors import CallCancelledError, CallError, ConfigError, DelugeError, PromptError
from .values.prompt import Conversation
from .values.response import Response

logger = logging.getLogger(__name__)

DEPTH: ContextVar[int] = ContextVar("deluge_sync_loop_depth", default=0)
"""How many submitted loops the running code is inside of: a loop that a tool submits must not wait
in line behind the one that waits for the tool."""

Outcome = Union[LoopResult, BaseException]


class LoopJob:
    """A loop that a thread is to run: run, or failed before that, whichever comes first."""

    def __init__(self, loop: AgentLoop) -> None:
        self.future: OwnFuture[LoopResult] = OwnFuture()
        self._loop = loop

    def run(self) -> None:
        """Run the loop and fulfil the future; called by a thread of its own."""
        if not self.future.claim():
            return
        try:
            DEPTH.set(DEPTH.get() + 1)
            result = self._loop.run()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def expire(self) -> None:
        """The deadline has passed; nothing to do if the loop is under way: it has its own."""
        self.fail(self._loop.expired())

    def fail(self, error: DelugeError) -> None:
        """Fail it with `error` if it did not begin."""
        if self.future.claim():
            self.future.set_exception(error)


def begin(job: LoopJob, crew: Crew) -> None:
    """Have a thread of `crew` run `job`; where there is none to be had, it fails."""
    try:
        crew.do(functools.partial(copy_context().run, job.run))
    except CallCancelledError as error:
        job.fail(error)


class LoopsRun:
    """One `map_agent_loops`: at most `width` loops at a time, each with `timeout` seconds.

    `model` is what a response names where no call was made.
    """

    def __init__(
        self,
        loops: AgentLoops,
        *,
        width: int,
        timeout: float | None,
        cancellation: Cancellation,
        model: str,
    ) -> None:
        self._loops = loops
        self._width = width
        self._timeout = timeout
        self._cancellation = Cancellation(cancellation)
        self._model = model
        self._crew = Crew(daemons.start, size=width)

    def results(self, conversations: Iterable[Any]) -> list[LoopResult]:
        """The results in the order of `conversations`. Leaving early cancels what is under way."""
        window: Window[Outcome]
        window = Window(iter(conversations), self._start, width=self._width)
        found: dict[int, LoopResult] = {}
        try:
            for index, result in window.in_bulk():
                if isinstance(result, BaseException):
                    raise result
                found[index] = result
        finally:
            self._cancellation.cancel()
        return [found[index] for index in sorted(found)]

    def _start(
        self,
        index: int,
        conversation: Any,
        put: Callable[[tuple[int, Outcome]], None],
    ) -> None:
        try:
            start = Conversation.of(conversation)
        except PromptError as error:
            put((index, (Conversation(), Response(self._model, index=index, error=error))))
            return
        loop = self._loops.loop(
            start, cancellation=self._cancellation, timeout=self._timeout, index=index
        )
        job = LoopJob(loop)

        def finish(_: Future[LoopResult]) -> None:
            put((index, outcome(loop, job.future, self._model)))

        job.future.add_done_callback(finish)
        begin(job, self._crew)


def outcome(loop: AgentLoop, future: OwnFuture[LoopResult], model: str) -> Outcome:
    """What a finished loop came to: its failure as a response with `error`, but what every loop
    would fail with, and what ends a program, as the exception that is to be raised.
    """
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, ConfigError) or not isinstance(error, Exception):
        return error
    if not isinstance(error, DelugeError):
        logger.error("an agent loop ended with an unexpected error", exc_info=error)
        cause, error = error, CallError(f"unexpected {told(error)}")
        error.__cause__ = cause
    error.__traceback__ = None  # its frames hold the whole loop in memory
    response = error.response or Response(model=model)
    return loop.conversation, response.replace(error=error, index=loop.index)
