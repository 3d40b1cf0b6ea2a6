"""What is done with a batch job at its provider, each step written down before and after it.

A process may be killed between any two lines here. Whoever goes on with the job finds in the ledger
what was begun, and looks at the provider whether it was done, before it is done again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from functools import partial
from typing import Any

from ..adapters.base import BatchAdapter
from ..engine.cancellation import Cancellation
from ..engine.clock import Clock, monotonic
from ..errand import Errand
from ..notices import warn_once
from ..outlay import is_free
from ..route import Route
from ..values.batch import BatchState
from ..values.errors import (
    BatchError,
    CallCancelledError,
    CallError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    NotFoundError,
    ThrottledError,
)
from ..values.wire import HttpRequest
from .ledger import (
    CREATING,
    ENDED,
    FETCHED,
    READY,
    SUBMITTED,
    UNSURE,
    UPLOADED,
    UPLOADING,
    Ledger,
    Part,
    Record,
    new_file,
    settle,
    sync_folder,
)
from .spool import lines_of

logger = logging.getLogger(__name__)

LAG = 30.0
"""Seconds that a provider's lists may lag behind what it has done."""

MISSING = 600.0
"""Seconds that the provider must not find a batch, or its outcomes, until they are given up: a
gateway's 404 passes, and lists lag."""

FIRST_LOOK, SLOWEST_LOOK = 0.5, 2.0
"""Seconds between looks at such a list."""

MOST_SILENT = 3
"""Looks in a row without any answer, after which the other batches are not looked at."""

QUEUE_PAUSE = 600.0
"""Seconds until a batch that the provider's queue had no room for is tried again, while as many of
the job's own are still under way."""

LARGEST_RESULTS = 8 << 30
"""Bytes of one batch's outcomes."""

REFUSED = "refused"
"""An event that puts a part back where it was before it was submitted."""

STEPS_TOLD = 50
"""How often the progress of a batch is written down, at most."""

WAITING = frozenset((READY, UPLOADING, UPLOADED, CREATING))
UNDER_WAY = frozenset((UNSURE, SUBMITTED))
LOOKED_AT = UNDER_WAY | {ENDED}


class Steps:
    """Takes one job further, while its ledger is locked. `record` is how far it is."""

    def __init__(
        self,
        ledger: Ledger,
        adapter: BatchAdapter,
        route: Route[Any],
        *,
        deadline: float,
        cancellation: Cancellation,
        clock: Clock = monotonic,
        wall_clock: Clock = time.time,
    ) -> None:
        self._ledger = ledger
        self._adapter = adapter
        self._route = route
        self._model = route.model
        self._deadline = deadline
        self._cancellation = cancellation
        self._wall_clock = wall_clock
        self._errand = Errand(route, deadline=deadline, cancellation=cancellation, clock=clock)
        self.record: Record = ledger.read()

    # Submitting

    def submit(self) -> None:
        """Submit what the provider has room for; the rest stays in line.

        What fails in a way that may pass is tried again, and in the end left for later, with a
        warning. Raises what will not pass. Ends what is left once the job is called off.
        """
        for number in range(len(self.record.parts)):
            part = self.record.parts[number]
            if part.state not in WAITING:
                continue
            if self._ledger.is_called_off():
                self._call_off()
            if self.record.cancelling and part.state != CREATING:
                self._end_unsent(number)
                continue
            if not self._has_room(part):
                break
            try:
                self._errand.tried(partial(self._submit, number))
            except _NoRoomError as error:
                self._tell_no_room(part, error.message)
                break
            except CallError as error:
                if not error.retryable or isinstance(error, DeadlineExceededError):
                    raise
                logger.warning("%s is not submitted yet: %s", self._name(part), error)
                if _is_unreachable(error):
                    break  # each of the others would take as long to say so

    def _has_room(self, part: Part) -> bool:
        """Whether the provider's queue has room for a part, as far as we know."""
        under_way = self._under_way()
        if not under_way:
            return True
        if len(under_way) >= part.behind > 0:
            return self._wall_clock() >= part.tried_at + QUEUE_PAUSE
        most_tokens = self.record.limits[2]
        if most_tokens is None:
            return True
        return bool(sum(other.tokens for other in under_way) + part.tokens <= most_tokens)

    def _tell_no_room(self, before: Part, problem: str | None) -> None:
        """Say that a part goes back in line. One that does so again and again, though nothing of
        the job is in its way, may never have room.
        """
        part = self.record.parts[before.number]
        logger.info("%s goes back in line: %s", self._name(part), problem)
        if part.attempt > 1 and before.behind == 0 and not self._under_way():
            warn_once(
                f"{self._name(part)} goes back in line again ({problem}) with no other batch of it "
                "under way: unless other jobs fill the provider's queue, its about "
                f"{part.tokens:,} tokens are more than that takes; submit the prompts as another "
                "job, with max_enqueued_tokens"
            )

    def _under_way(self) -> list[Part]:
        return [part for part in self.record.parts if part.state in UNDER_WAY]

    def _submit(self, number: int) -> None:
        if self._adapter.UPLOADS:
            self._upload(number)
        self._create(number)

    def _upload(self, number: int) -> None:
        part = self.record.parts[number]
        if part.file_id is not None:
            return
        name = self._name(part)
        if part.state == UPLOADING:
            found = self._errand.once(self._adapter.find_upload(name, self._model))
            if found is not None:
                self._note(number, UPLOADED, file_id=found)
                return
        self._note(number, UPLOADING, tried_at=self._wall_clock())
        requests = self._ledger.requests(part)
        file_id = self._errand.once(self._adapter.upload(requests, name, self._model))
        self._note(number, UPLOADED, file_id=file_id)

    def _create(self, number: int) -> None:
        part = self.record.parts[number]
        if part.state == CREATING:
            if self._found(number):
                return
            if self.record.cancelling:
                self._end_unsent(number)
                return
        else:
            now = self._wall_clock()
            self._note(number, CREATING, attempt=part.attempt + 1, since=now, tried_at=now)
        part = self.record.parts[number]
        flow = self._adapter.create(
            self._ledger.requests(part),
            part.file_id,
            f"{self._name(part)}-{part.attempt}",
            self.record.shared,
            self._model,
        )
        try:
            state = self._errand.once(flow, pauses=False)  # looks go on: the queue is full
        except CallError as error:
            if is_free(error, error.status is not None) and not _is_servers(error):
                self._refused(number, error)
            if isinstance(error, ThrottledError):
                raise _NoRoomError(error.message) from error
            raise
        self._submitted(number, state.id)

    def _refused(self, number: int, error: CallError) -> None:
        """Put a part back in line. Its file is uploaded anew, unless only the queue was full: it
        may be what the provider does not have any more (Google keeps files for 48 hours).
        """
        if isinstance(error, ThrottledError):
            behind = len(self._under_way())
            self._note(number, REFUSED, problem=error.message, behind=behind)
        else:
            self._note(number, REFUSED, problem=error.message, behind=0, file_id=None)

    def _found(self, number: int) -> bool:
        """Whether a batch that was begun to be created is there; looks until lists are sure to
        show it. Where batches have no names, one that shows sooner may be somebody else's.
        """
        part = self.record.parts[number]
        until = min(part.tried_at, self._wall_clock()) + LAG  # the clock may have been set back
        pause = FIRST_LOOK
        while True:
            left = until - self._wall_clock()
            found = self._candidates(part)
            if found and self._adapter.NAMED:
                self._submitted(number, found[0].id)
                return True
            if found and left <= 0:
                self._note(number, UNSURE, candidates=[state.id for state in found])
                return True
            if left <= 0:
                self._note(number, CREATING, tried_at=self._wall_clock())
                return False
            self._errand.pause(min(pause, left), "a batch was looked for at the provider")
            pause = min(pause * 2, SLOWEST_LOOK)

    def _candidates(self, part: Part) -> list[BatchState]:
        """The batches at the provider that may be this part's."""
        name = f"{self._name(part)}-{part.attempt}"
        found = self._errand.once(self._adapter.find(name, part.since, self._model))
        if self._adapter.NAMED:
            return found
        known = {other.batch_id for other in self.record.parts}
        return [
            state
            for state in found
            if state.id not in known and state.counts.total in (0, part.requests)
        ]

    def _submitted(self, number: int, batch_id: str) -> None:
        self._note(number, SUBMITTED, batch_id=batch_id, problem=None, missing_since=None)
        logger.info("%s is submitted: %s", self._name(self.record.parts[number]), batch_id)

    def _end_unsent(self, number: int) -> None:
        self._note(number, ENDED, status="cancelled", problem="cancelled before it was submitted")

    # Looking

    def look(self) -> CallError | None:
        """Look at all batches under way, and get the outcomes of those that have ended.

        A look that fails in a way that may pass changes nothing, and is given back. Raises what
        will not pass, having looked at all others. A server that is silent is not asked on, nor one
        to which there is no connection.
        """
        failure: CallError | None = None
        silent = 0
        for part in [part for part in self.record.parts if part.state in LOOKED_AT]:
            if silent >= MOST_SILENT:
                break
            try:
                self._look_at(part.number)
                silent = 0
            except (DeadlineExceededError, CallCancelledError):
                raise
            except CallError as error:
                logger.debug("%s: a look failed: %s", self._name(part), error)
                silent = silent + 1 if error.status is None else 0
                if failure is None or failure.retryable:
                    failure = error
                if _is_unreachable(error):
                    break
        if failure is not None and not failure.retryable:
            raise failure
        return failure

    def _look_at(self, number: int) -> None:
        if self.record.cancelling:
            self._stop(number)
        if self.record.parts[number].state == UNSURE:
            self._identify(number)
        if self.record.parts[number].state == SUBMITTED:
            self._look(number)
        if self.record.parts[number].state == ENDED:
            self._fetch(number)

    def _look(self, number: int) -> None:
        part = self.record.parts[number]
        try:
            state = self._state_of(part.batch_id or "")
        except NotFoundError as error:
            if self._is_gone(number):
                problem = f"the provider does not have it (any more): {error.message}"
                self._note(number, ENDED, status="lost", problem=problem)
            return
        if state.ended and state.queue_full and not self.record.cancelling:
            behind = len(self._under_way()) - 1
            self._note(number, REFUSED, batch_id=None, problem=state.problem, behind=behind)
            self._tell_no_room(part, state.problem)
        elif state.ended:
            self._ended(number, state)
        else:
            self._progress(number, state)

    def _progress(self, number: int, state: BatchState) -> None:
        """Know how far a batch is. Of a day's looks, not each is worth a line on the disk."""
        part = self.record.parts[number]
        fields: dict[str, Any] = {"status": state.status, "counts": list(state.counts)}
        fields["expires_at"] = state.expires_at
        fields["missing_since"] = None
        done = sum(state.counts[1:]) - sum(part.counts[1:])
        told = part.status == state.status and part.missing_since is None
        if not told or done * STEPS_TOLD >= part.requests:
            self._note(number, SUBMITTED, **fields)
        else:
            self.record = self.record.after({"event": SUBMITTED, "part": number, **fields})

    def _is_gone(self, number: int) -> bool:
        """Whether what was not found is to be given up: it was not found for some time."""
        part = self.record.parts[number]
        self._check_owner(part)
        now = since = self._wall_clock()
        if part.missing_since is None:
            self._note(number, part.state, missing_since=now)
        else:
            since = part.missing_since
        return abs(now - since) >= MISSING  # the clock may have been set back

    def _check_owner(self, part: Part) -> None:
        """Raise `BatchError` where it may be another account that is asked."""
        if self._route.keys.owner != self.record.header.owner:
            raise BatchError(
                f"the provider does not know {part.batch_id}, and this client has another key "
                f"(or cache_owner) than the one that submitted {self.record.header.job!r}"
            )

    def _ended(self, number: int, state: BatchState) -> None:
        self._note(
            number,
            ENDED,
            status=state.status,
            counts=list(state.counts),
            problem=state.problem,
            results=list(state.results),
            expires_at=state.expires_at,
            missing_since=None,
        )

    def _state_of(self, batch_id: str) -> BatchState:
        return self._errand.once(self._adapter.look(batch_id, self._model))

    def _identify(self, number: int) -> None:
        """See which of the batches that a part may be is its own: the outcomes tell."""
        part = self.record.parts[number]
        left = []
        for candidate in part.candidates:
            try:
                state = self._state_of(candidate)
                if state.ended and self._is_of(state, part):
                    self._submitted(number, candidate)
                    return
                over = state.ended
            except NotFoundError:
                over = self._is_gone(number)
            if not over:
                left.append(candidate)
        if not left:
            self._note(number, REFUSED, candidates=[], problem="it was never created")
        elif tuple(left) != part.candidates:
            self._note(number, UNSURE, candidates=left)

    def _is_of(self, state: BatchState, part: Part) -> bool:
        """Whether a batch holds the requests of a part: other parts may be lost as well."""
        for result in state.results:
            line = self._first_line(self._adapter.download(result, self._model))
            with contextlib.suppress(DecodeError):  # ours can be read
                custom_id = self._adapter.result(line, self._model).custom_id
                lines = lines_of(self._ledger.requests_path(part.number), self._adapter.BETWEEN)
                return any(self._adapter.custom_id(each) == custom_id for each in lines)
        return False

    def _first_line(self, request: HttpRequest) -> bytes:
        start = b""
        body = self._opened(request)
        try:
            while b"\n" not in start:
                piece = body.read()
                if not piece:
                    break
                start += piece
        finally:
            body.close()
        return start.partition(b"\n")[0]

    # Outcomes

    def _fetch(self, number: int) -> None:
        """Get the outcomes of a batch that has ended, whatever there is of them."""
        part = self.record.parts[number]
        path = self._ledger.results_path(number)
        with new_file(path + ".new") as to:
            problem = part.problem
            for result in part.results:
                try:
                    self._errand.tried(partial(self._download, result, to))
                except NotFoundError as error:
                    if not self._is_gone(number):
                        return
                    problem = f"its results are gone at the provider: {error.message}"
            settle(to)
        succeeded = min(self._succeeded(path + ".new"), part.requests)
        os.replace(path + ".new", path)
        sync_folder(path)
        counts = (part.requests, succeeded, part.requests - succeeded)
        self._note(number, FETCHED, problem=problem, counts=counts)

    def _succeeded(self, path: str) -> int:
        """Requests of the job with an answer: not every provider counts them, or tells what it has
        kept.
        """
        answered = set()
        with open(path, "rb") as lines:
            for line in lines:
                with contextlib.suppress(DecodeError):
                    name, response, _ = self._adapter.result(line.rstrip(b"\n"), self._model)
                    if response is not None and 200 <= response.status <= 299:
                        answered.add(name)
        return sum(name.startswith(f"{self.record.header.tag}-") for name in answered)

    def _download(self, result: str, to: Any) -> None:
        start = to.tell()
        body = self._opened(self._adapter.download(result, self._model))
        try:
            for piece in iter(body.read, b""):
                to.write(piece)
            to.write(b"\n")
        except BaseException:
            to.seek(start)
            to.truncate()
            raise
        finally:
            body.close()

    def _opened(self, request: HttpRequest) -> Any:
        body = self._route.open(
            request,
            deadline=self._deadline,
            cancellation=self._cancellation,
            max_bytes=LARGEST_RESULTS,
        )
        if 200 <= body.head.status <= 299:
            return body
        try:
            refusal = body.head._replace(body=b"".join(iter(body.read, b"")))
        finally:
            body.close()
        raise self._adapter.failure(refusal, self._model)

    # Cancelling

    def cancel(self) -> None:
        """Submit nothing more, and have the provider stop; what is done by then is kept. A batch
        that cannot be stopped leaves the others stopped.
        """
        self._call_off()
        self.look()
        self.submit()
        for number in range(len(self.record.parts)):
            self._stop(number)

    def _call_off(self) -> None:
        if not (self.record.cancelling or self.record.done):
            self.add("cancelling")
        self._ledger.forget_calling_off()

    def _stop(self, number: int) -> None:
        part = self.record.parts[number]
        if part.state != SUBMITTED or part.stopping:
            return
        with contextlib.suppress(NotFoundError):  # a look will say so
            state = self._errand.flow(
                partial(self._adapter.cancel, part.batch_id or "", self._model)
            )
            self._note(number, SUBMITTED, status=state.status, stopping=True)

    # The ledger

    def add(self, event: str, **fields: Any) -> None:
        """Write down an event of the job."""
        self.record = self.record.after(self._ledger.add(event, **fields))

    def _note(self, number: int, event: str, **fields: Any) -> None:
        """Write down what has happened to a part. One that was refused is where it was before."""
        if event == REFUSED:
            uploaded = fields.get("file_id", self.record.parts[number].file_id) is not None
            event = UPLOADED if uploaded else READY
        self.add(event, part=number, **fields)

    def _name(self, part: Part) -> str:
        header = self.record.header
        return f"{header.job[:40]}-{header.tag}-{part.number}"


def _is_servers(error: CallError) -> bool:
    """Whether it is an error of the server's own, which may have done it all the same."""
    return error.status is not None and error.status >= 500


def _is_unreachable(error: CallError) -> bool:
    """Whether there was no connection at all, which says the same of every other request."""
    return isinstance(error, ConnectionFailedError) and not error.may_have_been_sent


class _NoRoomError(CallError):
    """The provider's queue is full."""
