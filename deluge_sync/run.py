"""One `map`: prompts in, responses out, with the numbers in between."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Generator, Hashable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, Callable, Protocol

from .cache import Answers
from .call import AnyCall
from .engine.budget import Budget
from .engine.cancellation import Cancellation
from .engine.crew import Crew
from .engine.vanguard import Vanguard
from .engine.window import Window
from .journal import JournalFile
from .progress import Progress
from .stats import Report, Tally
from .values.errors import CallCancelledError, CallError, DelugeError, OutputError, PromptError
from .values.response import Response

logger = logging.getLogger(__name__)

Put = Callable[[tuple[int, Response]], None]


class Prepare(Protocol):
    """What makes a call of a prompt."""

    def __call__(self, prompt: Any, *, cancellation: Cancellation, index: int) -> AnyCall:
        """See `Plan.call`."""


LOOKUPS = 64
"""Prompts looked up in the cache at once, where the source is known not to wait between them."""


class Run:
    """The calls of one `map` or `imap`, from the first prompt read to the last answer.

    `prepare(prompt, index=, cancellation=)` makes a `Call`; what it raises becomes that row's
    response, except for a `ConfigError`, which ends the run: all rows would have it.
    `execute(function)` has a worker run a function. `answers` is the cache; `lookups` prompts are
    looked up in it at once, in the caller's thread: what is there needs no worker. `journal` has
    the answers of a run that was begun before, and gets those of this one as they arrive; what
    those have cost counts against `budget`, the run's own. With `warm_first`, of calls whose
    prompts begin alike one is sent first: the others then find that beginning in the vendor's
    cache. `parse` makes the objects of answers that the journal has as texts.
    """

    def __init__(
        self,
        prompts: Iterator[Any],
        *,
        prepare: Prepare,
        execute: Callable[[Callable[[], None]], object],
        model: str,
        width: int,
        cancellation: Cancellation,
        tally: Tally,
        progress: Callable[[Run], Progress],
        keep: bool,
        answers: Answers | None = None,
        lookups: int = 1,
        journal: JournalFile | None = None,
        budget: Budget | None = None,
        warm_first: bool = False,
        parse: Callable[[str], Any] | None = None,
    ) -> None:
        self.tally = tally
        self.cancellation = Cancellation(cancellation)
        self._prepare = prepare
        self._crew = Crew(execute, size=width)
        self._model = model
        self._kept: dict[int, Response] | None = {} if keep else None
        self._progress = progress
        self._source = prompts
        self._width = width
        self._answers = answers
        self._lookups = lookups
        self._journal = journal
        self._budget = budget
        self._parse = parse
        self._vanguard = Vanguard() if warm_first else None
        self._waiting: list[tuple[AnyCall, int, Put]] = []

    def responses(self, *, ordered: bool) -> Generator[Response, None, None]:
        """The responses as they come, or in the order of the prompts.

        Leaving early, by an exception or by closing the generator, cancels what is under way.
        """
        progress = self._progress(self)
        window: Window[Response] = Window(
            self._source,
            self._start,
            width=self._width,
            started=self._look_up,
            tick=progress.tick,
        )
        if self._kept is not None:
            arrivals = window.in_bulk()
        else:
            arrivals = window.in_order() if ordered else window.as_completed()
        try:
            if self._journal is not None:
                self._journal.open()
                if self._budget is not None:
                    self._budget.charge(self._journal.spent)
            for _, response in arrivals:
                yield response
            if self._journal is not None:
                self._journal.finish()
        finally:
            self._end(progress)

    def report(self) -> Report:
        """The numbers so far, with the responses kept, in the order of their prompts."""
        kept = dict(self._kept or {})
        responses = (kept[index] for index in sorted(kept))
        return self.tally.report(
            response for response in responses if not isinstance(response.error, CallCancelledError)
        )

    def _end(self, progress: Progress) -> None:
        """Leave nothing under way, and no answer unwritten."""
        try:
            self.cancellation.cancel()
            progress.close()
        finally:
            if self._journal is not None:
                self._journal.close()

    def _start(self, index: int, prompt: Any, put: Put) -> None:
        """Prepare one prompt in the caller's thread, and see where its answer is to come from."""
        if self._journal is not None:
            known = self._journal.begin(index, prompt)
            if known is not None:
                put((index, self._restored(known)))
                return
        try:
            call = self._prepared(prompt, index)
        except CallCancelledError:
            raise
        except (PromptError, CallError) as error:  # a CallError from fetching a file
            bad = Response(model=self._model, prompt=prompt, index=index, error=error)
            put((index, self._finished(index, bad)))
            return
        if self._answers is None or not call.keys:
            self._send(call, index, put)
            return
        self._waiting.append((call, index, put))
        if len(self._waiting) >= self._lookups:
            self._look_up()

    def _look_up(self) -> None:
        """Answer from the cache what waits for it; the rest goes to the workers."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self._answers is None:
            return
        found = self._answers.find([key for call, _, _ in waiting for key in call.keys])
        for call, index, put in waiting:
            answer = call.find_in(found)
            if answer is None:
                self._send(call, index, put)
            else:
                put((index, self._finished(index, call.found(answer))))

    def _send(self, call: AnyCall, index: int, put: Put) -> None:
        """Hand a call to a worker."""
        context = copy_context()
        if self._journal is not None:
            self._journal.expect(index)
        piece = functools.partial(self._answer, call, index, context, put)
        beginning = None if self._vanguard is None else call.beginning
        if self._vanguard is None or beginning is None:
            self._crew.do(piece)
        elif self._vanguard.goes_first(beginning):
            self._crew.do(functools.partial(self._lead, beginning, piece))
        elif not self._vanguard.holds(beginning, piece):
            self._crew.do(piece)

    def _answer(self, call: AnyCall, index: int, context: Context, put: Put) -> None:
        put((index, self._work(call, index, context)))

    def _lead(self, beginning: Hashable, piece: Callable[[], None]) -> None:
        """Do `piece`, and then have those done that waited for it; called by a worker."""
        assert self._vanguard is not None
        piece()
        for held in self._vanguard.arrived(beginning):
            # Once the pool is closed, this very worker does what is left.
            with contextlib.suppress(CallCancelledError):
                self._crew.do(held)

    def _prepared(self, prompt: Any, index: int) -> AnyCall:
        try:
            return self._prepare(prompt, index=index, cancellation=self.cancellation)
        except DelugeError:
            raise
        except Exception as cause:  # a prompt so odd that no check of ours thought of it
            raise PromptError(f"this prompt cannot be used: {cause!r}") from cause

    def _work(self, call: AnyCall, index: int, context: Context) -> Response:
        """Run one call; called by a worker. Whatever happens, the row gets its response."""
        try:
            return self._finished(index, context.run(call.run), call.retries)
        except BaseException as bug:
            logger.exception("a call ended with an unexpected error")
            error = CallError(f"unexpected {type(bug).__name__}: {bug}")
            error.__cause__ = bug
            return self._finished(index, call.failed(error))

    def _finished(self, index: int, response: Response, retries: Iterable[str] = ()) -> Response:
        """Count the response, write and keep it, before anybody is told: nothing may lose it."""
        self.tally.add(response, retries)
        if self._journal is not None:
            self._journal.record(index, response)
        return self._keep(response)

    def _restored(self, response: Response) -> Response:
        """A response that the journal had."""
        self.tally.restore()
        called = response.content is not None and response.content.tool_calls
        if self._parse is not None and response.completion is not None and not called:
            try:
                response = response.replace(parsed=self._parse(response.completion))
            except OutputError as error:
                response = response.replace(error=error)
        return self._keep(response)

    def _keep(self, response: Response) -> Response:
        if self._kept is not None and response.index is not None:
            self._kept[response.index] = response
        return response
