"""A batch job in the hands of its user: any process that has its folder."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

from ..adapters.base import BatchAdapter
from ..engine.cancellation import Cancellation
from ..engine.clock import monotonic
from ..progress import Progress, resolved
from ..route import Route
from ..settings import check_seconds
from ..stats import Report
from ..values.errors import BatchError, CallError, DeadlineExceededError
from .ledger import (
    ENDED,
    FETCHED,
    SUBMITTED,
    UNSURE,
    BusyError,
    Header,
    Ledger,
    Part,
    Record,
    read_errors,
)
from .results import Outcomes, Reader
from .spool import Entries, Limits, Parts, digest_of, written_down
from .steps import Steps

logger = logging.getLogger(__name__)

FIRST_LOOK, SLOWEST_LOOK = 1.0, 60.0
"""Seconds between looks at a job that somebody waits for."""

WORRYING = 5
"""Looks that fail in a row before it is said."""

LONGEST_PASS = 86_400.0
"""Seconds that uploading all there is, or getting all outcomes, may take."""

LONGEST_TURN = 900.0
"""Seconds to wait for another process that works on the job: one may be stopped, not dead."""

PATIENCE = 1.0
"""Seconds that `status()` waits for another process that works on the job."""


@dataclass(frozen=True)
class BatchPart:
    """One batch of a job. `state` is ours ("ready", "uploaded", "submitted", "ended", "fetched",
    ...), `status` the provider's word; `problem` says why it did not end well, or waits.
    """

    number: int
    batch_id: str | None
    state: str
    status: str
    requests: int
    succeeded: int
    failed: int
    problem: str | None
    expires_at: float | None


@dataclass(frozen=True)
class BatchStatus:
    """How a job is doing.

    `state` is "unfinished" (its prompts were not all written down: nothing is submitted), "queued",
    "in_progress", "cancelling" or "done". Of `total` prompts the cache answered `cached`,
    `rejected` could not be sent, and `succeeded` and `failed` are done at the provider, as far as
    it tells; the others are `waiting`. What was submitted again counts once.
    """

    job_id: str
    model: str
    state: str
    total: int
    cached: int
    rejected: int
    succeeded: int
    failed: int
    parts: tuple[BatchPart, ...]

    @property
    def done(self) -> bool:
        """Whether all outcomes are here."""
        return self.state == "done"

    @property
    def waiting(self) -> int:
        """Prompts without an outcome."""
        return self.total - self.cached - self.rejected - self.succeeded - self.failed


class Desk(NamedTuple):
    """What a job is worked on with, in this process."""

    route: Route[Any]
    adapter: BatchAdapter
    reader: Reader
    cancellation: Cancellation


class BatchJob:
    """A job of many prompts that the provider answers within a day or so, at half the price.

    What it is, and how far it is, lies in a folder on disk: any process, on any day, goes on with
    it through `client.attach_batch_job(job_id)`. Nothing runs by itself: batches for which the
    provider had no room are submitted by `status()`, `wait()` and `results()`.
    """

    def __init__(
        self, ledger: Ledger, desk: Callable[[Header], Desk], *, style: str = "none"
    ) -> None:
        self._ledger = ledger
        self._make_desk = desk
        self._style = style

    @property
    def job_id(self) -> str:
        """What `attach_batch_job` finds it by."""
        return self._ledger.job

    @property
    def batch_ids(self) -> list[str]:
        """The provider's ids of the batches submitted so far."""
        return [part.batch_id for part in self._ledger.read().parts if part.batch_id]

    def check_provider(self, name: str) -> None:
        """Raise `BatchError` where it is another provider's."""
        model = self._ledger.header().model
        if model.partition("/")[0] != name:
            raise BatchError(f"the batch job {self.job_id} is of {model}, not of {name!r}")

    def status(self) -> BatchStatus:
        """How it is doing, asked anew; submits what the provider has room for by now.

        A provider that cannot be reached changes nothing. While another process works on the job,
        this is what that one has written down.
        """
        return status_of(self._looked_at(monotonic() + LONGEST_PASS)[0])

    def wait(self, timeout: float | None = None, *, progress: str | None = None) -> BatchStatus:
        """Wait until all outcomes are here, for `timeout` seconds at most.

        Looks less and less often, once a minute in the end; a look that fails is repeated. Raises
        `DeadlineExceededError` when the time is up: the job goes on. `progress` is as in a client.
        """
        check_seconds("timeout", timeout)
        deadline = math.inf if timeout is None else monotonic() + timeout
        pause, in_vain = FIRST_LOOK, 0
        with _Watch(self.job_id, self._style if progress is None else progress) as watch:
            while True:
                record, failure = self._looked_at(deadline)
                in_vain = 0 if failure is None else in_vain + 1
                if in_vain == WORRYING:
                    logger.warning("%s: the last %d looks failed: %s", self, in_vain, failure)
                status = status_of(record)
                watch.show(status)
                if status.done:
                    return status
                left = deadline - monotonic()
                if left <= 0:
                    raise DeadlineExceededError(
                        f"the batch job {self.job_id} was not done within {timeout:g} s; it goes on"
                    )
                self._desk().cancellation.sleep(min(pause, left))
                pause = min(pause * 1.5, SLOWEST_LOOK)

    def results(self, timeout: float | None = None, *, partial: bool = False) -> Iterator[Any]:
        """The responses, in the order of the prompts, as soon as the job is done; see `wait`.

        Whatever there is is given: of a batch that expired, was cancelled or failed in part, too.
        A prompt without an answer has a response with `error`. Good answers go into the client's
        cache. It may be called again, by any process, as long as the job's folder is there. With
        `partial` it neither waits nor asks the provider: whatever is on disk by now is given, and
        the other prompts' responses have an error that says so.
        """
        if partial:
            self._check_written(self._ledger.read())
        else:
            self.wait(timeout)
        record = self._ledger.read()
        desk = self._make_desk(record.header)
        return self._outcomes(record, desk).responses(desk.reader)

    def cancel(self) -> BatchStatus:
        """Submit nothing more, and have the provider stop. What is done by then is kept, and paid
        for: `results()` has it, once the provider has stopped. Another process that is submitting
        ends with the batch at hand.
        """
        self._ledger.call_off()
        with self._steps() as steps:
            steps.cancel()
            return status_of(steps.record)

    def resubmit_failed(self) -> BatchJob:
        """Submit once more all that has no answer, and nothing else; gives this job.

        `results()` then has the old answers and the new ones. For a job that is done: others raise
        `BatchError`.
        """
        with self._steps() as steps:
            if not steps.record.done:
                raise BatchError(f"the batch job {self.job_id} is not done: wait() for it first")
            self._ledger.forget_calling_off()
            parts = self._failed(steps.record)
            if parts:
                steps.add("spooled", generation=steps.record.generation + 1, parts=parts)
            steps.submit()
        return self

    def begin(self, entries: Entries, prompts: Iterable[Any], limits: Limits) -> BatchJob:
        """Write the prompts down, and submit what the provider has room for; gives this job.

        A job that was begun before goes on; its prompts must be the same, else it is a
        `BatchError`. What an error leaves undone is done when the job is gone on with; where it
        leaves prompts unwritten, there is no job.
        """
        with self._steps() as steps:
            if steps.record.prompts is not None:
                if digest_of(prompts) != steps.record.digest:
                    raise BatchError(
                        f"there is a batch job {self.job_id!r} of other prompts: give this one "
                        "another job_id, or use attach_batch_job"
                    )
            else:
                try:
                    parts = Parts(self._ledger, limits, self._desk().adapter.BETWEEN)
                    spooled = written_down(self._ledger, entries, prompts, parts)
                    steps.add("spooled", generation=0, limits=list(limits), **spooled)
                except BaseException:
                    self._ledger.remove()
                    raise
            steps.submit()
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.job_id}>"

    def _failed(self, record: Record) -> list[dict[str, int]]:
        """Parts of all that has no answer, written down."""
        desk = self._make_desk(record.header)
        reader = desk.reader.alone()
        with Parts(
            self._ledger,
            Limits(*record.limits),
            desk.adapter.BETWEEN,
            first=len(record.parts),
            generation=record.generation + 1,
        ) as parts:
            for line, part in self._outcomes(record, desk).unanswered(reader):
                parts.add(line, part.tokens / part.requests)
            return parts.close()

    def _outcomes(self, record: Record, desk: Desk) -> Outcomes:
        with read_errors(self.job_id):
            return Outcomes(self._ledger, record, desk.adapter, desk.route.model)

    def _looked_at(self, deadline: float) -> tuple[Record, CallError | None]:
        """The job after a look at all that is under way, and what that failed with; as it is
        written down where another process works on it, or the time is up.
        """
        record = self._ledger.read()
        if record.done:
            return record, None
        try:
            with self._steps(deadline, patience=PATIENCE) as steps:
                self._check_written(steps.record)
                failure = steps.look()
                steps.submit()
                return steps.record, failure
        except (BusyError, DeadlineExceededError) as error:
            logger.debug("%s was not looked at: %s", self.job_id, error)
        return self._ledger.read(), None

    def _check_written(self, record: Record) -> None:
        """Raise `BatchError` where whoever wrote the prompts down has not come to their end."""
        if record.prompts is None:
            raise BatchError(
                f"the prompts of the batch job {self.job_id!r} were never all written down, and "
                "nothing was submitted: submit it again, with that job_id"
            )

    def _desk(self) -> Desk:
        return self._make_desk(self._ledger.header())

    @contextlib.contextmanager
    def _steps(self, deadline: float = math.inf, patience: float = LONGEST_TURN) -> Iterator[Steps]:
        """Be the one who works on the job: until `deadline`, having waited for `patience` seconds
        for others who do; raises `BusyError` where these do not come to an end.
        """
        desk = self._desk()
        began = monotonic()
        limit = min(deadline, began + patience)
        with self._ledger.locked(limit, desk.cancellation, monotonic):
            yield Steps(
                self._ledger,
                desk.adapter,
                desk.route,
                deadline=min(deadline, began + LONGEST_PASS),
                cancellation=desk.cancellation,
            )


class _Watch:
    """Shows how a job is doing while somebody waits: a bar, or a log line for each change."""

    def __init__(self, name: str, style: str) -> None:
        self._name = name
        self._style = resolved(style)
        self._shown: BatchStatus | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, status: BatchStatus) -> None:
        """Show it, if there is anything new."""
        changed = status != self._shown
        self._shown = status
        if self._style == "bar":
            self._show_bar(status)
        elif changed and self._style == "log":
            logger.info("%s: %s", self._name, summary_of(status))

    def _show_bar(self, status: BatchStatus) -> None:
        if self._bar is None:
            self._bar = Progress(
                "bar",
                name=self._name,
                total=status.total,
                numbers=self._report,
                status=lambda: "" if self._shown is None else words_of(self._shown),
            )
        self._bar.tick()

    def _report(self) -> Report:
        status = self._shown
        assert status is not None
        failed = status.failed + status.rejected
        done = status.total - status.waiting
        return Report(prompts=done, answered=done - failed, failed=failed)


def status_of(record: Record) -> BatchStatus:
    """How a job is doing, as its ledger has it."""
    latest = [part for part in record.parts if part.generation == record.generation]
    settled = sum(part.requests for part in record.parts if part.generation == 0)
    redone = 0 if not record.generation else settled - sum(part.requests for part in latest)
    counts = [_counts(part) for part in latest]
    return BatchStatus(
        job_id=record.header.job,
        model=record.header.model,
        state=_state(record),
        total=record.prompts or 0,
        cached=record.cached,
        rejected=record.rejected,
        succeeded=redone + sum(succeeded for succeeded, _ in counts),
        failed=sum(failed for _, failed in counts),
        parts=tuple(_shown(part) for part in record.parts),
    )


def words_of(status: BatchStatus) -> str:
    """The provider's words for the batches under way, each once."""
    states = (part.status or part.state for part in status.parts if part.state != FETCHED)
    return ", ".join(dict.fromkeys(states))


def summary_of(status: BatchStatus) -> str:
    """A job in one line."""
    done = status.total - status.waiting
    failed = status.failed + status.rejected
    line = f"{status.state}: {done:,} of {status.total:,} done, {failed:,} failed"
    words = words_of(status)
    return f"{line} ({words})" if words else line


def _state(record: Record) -> str:
    if record.prompts is None:
        return "unfinished"
    if record.done:
        return "done"
    if record.cancelling:
        return "cancelling"
    begun = any(part.state in (UNSURE, SUBMITTED, ENDED, FETCHED) for part in record.parts)
    return "in_progress" if begun else "queued"


def _counts(part: Part) -> tuple[int, int]:
    """Requests that are done, well or not. Of a batch that is over, all are."""
    succeeded, failed = part.counts[1], part.counts[2]
    if part.state in (ENDED, FETCHED):  # what expired or was cancelled is in no provider's count
        failed = part.requests - succeeded
    return succeeded, failed


def _shown(part: Part) -> BatchPart:
    succeeded, failed = _counts(part)
    return BatchPart(
        number=part.number,
        batch_id=part.batch_id,
        state=part.state,
        status=part.status,
        requests=part.requests,
        succeeded=succeeded,
        failed=failed,
        problem=part.problem,
        expires_at=part.expires_at,
    )
