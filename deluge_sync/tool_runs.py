"""Running what a model asked for: each tool in a thread of its own, and none beyond its time."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Union

from .engine import daemons
from .engine.alarm import Alarm
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.daemons import Stragglers
from .values.errors import CallCancelledError, DeadlineExceededError
from .values.prompt import ToolCall, ToolResult
from .values.tool import result_of

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 32
"""Tools that one round runs at the same time; the others wait for their turn."""

MOST_LEFT_BEHIND = 64
"""Threads of tools that timed out and still run, in one client's process. While there are so many,
no tool is run: the model is told so."""

LONGEST_COMPLAINT = 2_000
"""Characters of an exception's message that the model gets to see."""


@dataclass(frozen=True)
class Task:
    """One call of a tool: `work()` does it, and may take `timeout` seconds."""

    call: ToolCall
    work: Callable[[], Any]
    timeout: float


Job = Union[Task, ToolResult]
"""Something to do, or what came of it before it was begun."""


def failed(call: ToolCall, text: str) -> ToolResult:
    """The result of a call that came to nothing. What UTF-8 cannot hold of `text` is "?": the names
    of files in exceptions may have it, and no request could be sent with it.
    """
    text = text.encode("utf-8", "replace").decode()
    if len(text) > LONGEST_COMPLAINT:
        text = text[:LONGEST_COMPLAINT] + " [cut]"
    return ToolResult(call.id, text, call.name, is_error=True, kind=call.kind)


def capped(result: ToolResult, most: int) -> ToolResult:
    """With at most `most` characters of text, and a remark where that is not all."""
    total = len(result.content)
    if total <= most:
        return result
    remark = f"\n[cut: these are the first {most:,} of {total:,} characters]"
    return replace(result, content=result.content[:most] + remark)


@dataclass
class _Running:
    """A task under way. Its thread appends the result to `results`, which is atomic."""

    task: Task
    context: Context
    due: float
    finished: Callable[[], None]
    results: list[ToolResult] = field(default_factory=list)
    thread: threading.Thread | None = None

    def work(self) -> None:
        try:
            self.results.append(self.context.run(_result, self.task))
        finally:
            self.finished()


class ToolRuns:
    """Runs the tasks of one loop.

    `deadline` is the loop's, a monotonic instant. What is left behind when the loop ends, or when a
    tool's time is up, goes to `stragglers`, and what it gives later to nobody.
    """

    def __init__(
        self,
        *,
        deadline: float,
        cancellation: Cancellation,
        stragglers: Stragglers,
        clock: Clock = monotonic,
    ) -> None:
        self._deadline = deadline
        self._cancellation = cancellation
        self._stragglers = stragglers
        self._clock = clock

    def together(self, jobs: Iterable[Job]) -> list[ToolResult]:
        """The results of `jobs`, in their order; tasks run at the same time.

        Raises `DeadlineExceededError` and `CallCancelledError`; nothing that a tool raises.
        """
        waiting = deque(enumerate(jobs))
        results: dict[int, ToolResult] = {}
        running: dict[int, _Running] = {}
        alarm = Alarm()
        self._cancellation.add(alarm.ring)
        try:
            while waiting or running:
                while waiting and len(running) < MOST_AT_ONCE:
                    at, job = waiting.popleft()
                    begun = self._begun(job, alarm)
                    if isinstance(begun, ToolResult):
                        results[at] = begun
                    else:
                        running[at] = begun
                self._wait(running, alarm)
                self._collect(running, results)
        finally:
            self._cancellation.discard(alarm.ring)
            self._leave(running.values())
        return [results[at] for at in sorted(results)]

    def in_turn(
        self, calls: Iterable[ToolCall], prepare: Callable[[ToolCall], Job]
    ) -> list[ToolResult]:
        """The same one after the other, each prepared when it is its turn; what follows a failure
        is not done, and says so.
        """
        results: list[ToolResult] = []
        for call in calls:
            if results and results[-1].is_error:
                results.append(failed(call, "not done, as an action before it failed"))
            else:
                results += self.together([prepare(call)])
        return results

    def _begun(self, job: Job, alarm: Alarm) -> _Running | ToolResult:
        if isinstance(job, ToolResult):
            return job
        self._check(())
        name = job.call.name
        if self._stragglers.count() >= MOST_LEFT_BEHIND:
            logger.error("tool %s not run: %d that timed out still run", name, MOST_LEFT_BEHIND)
            return failed(job.call, "not run: too many tools that timed out still run")
        one = _Running(job, copy_context(), self._clock() + job.timeout, alarm.ring)
        try:
            one.thread = daemons.start(one.work, name=f"deluge-sync-tool-{name[:64]}")
        except CallCancelledError as error:
            logger.error("tool %s not run: %s", name, error.message)
            return failed(job.call, f"not run: {error.message}")
        return one

    def _wait(self, running: dict[int, _Running], alarm: Alarm) -> None:
        """Until something has finished or is due."""
        self._cancellation.check()
        if not running or any(one.results for one in running.values()):
            return
        due = min(self._deadline, *(one.due for one in running.values()))
        alarm.wait(due - self._clock())
        if not any(one.results for one in running.values()):
            self._check(one.task.call.name for one in running.values())

    def _check(self, names: Iterable[str]) -> None:
        self._cancellation.check()
        if self._clock() >= self._deadline:
            what = ", ".join(sorted(set(names))) or "its tools"
            raise DeadlineExceededError(f"the agent loop's time was up while it ran {what}")

    def _collect(self, running: dict[int, _Running], results: dict[int, ToolResult]) -> None:
        """Take what is there, and give up what is due."""
        now = self._clock()
        for at, one in list(running.items()):
            if one.results:
                results[at] = one.results[0]
            elif now >= one.due:
                text = f"the tool did not finish within {one.task.timeout:g} s"
                logger.warning("tool %s timed out after %g s: its thread is left behind",
                               one.task.call.name, one.task.timeout)  # fmt: skip
                results[at] = failed(one.task.call, text)
                self._leave([one])
            else:
                continue
            del running[at]

    def _leave(self, left: Iterable[_Running]) -> None:
        self._stragglers.add(one.thread for one in left if one.thread is not None)


def _result(task: Task) -> ToolResult:
    """Called in the tool's thread. Whatever happens, there is a result."""
    try:
        return result_of(task.work(), task.call)
    except BaseException as error:
        logger.warning("tool %s failed", task.call.name, exc_info=True)
        return failed(task.call, told(error))


def told(error: BaseException) -> str:
    """An exception's type and message, for a model to read."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ may be anybody's
        return type(error).__name__
