"""A call whose answer the vendor may work on in the background, for hours."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, cast

from .call import Call, Steps, has_events, rest_of
from .engine.cancellation import Cancellation
from .engine.retry import Attempts, RetryPolicy, drained
from .values.errors import (
    CallError,
    DeadlineExceededError,
    DecodeError,
    DelugeError,
    TransientError,
)
from .values.response import Answer
from .values.wire import HttpRequest

if TYPE_CHECKING:
    from .adapters.base import BackgroundAdapter, Fold, ResumableFold
    from .engine.budget import Purse
    from .engine.transport import BodyStream

logger = logging.getLogger(__name__)

LONGEST_BACKGROUND = 36_000.0
"""Seconds such a call without a `timeout` may take: OpenAI's slowest lane promises eight hours."""

FIRST_POLL, SLOWEST_POLL = 0.5, 30.0
"""Seconds between looks at an answer in the background."""

FAREWELL = 5.0
"""Seconds to tell the vendor that nobody waits any more."""

_LOOK = {"requests": 1}
"""What a look draws from the limits."""


class BackgroundCall(Call):
    """A call by an adapter that can look at an answer again: a `BackgroundAdapter`.

    The answer is begun, and looked at until it is done; or its events are followed, over as many
    connections as that takes. Whoever gives up has the vendor stop working on it, unless another
    process began it.
    """

    def _first(self) -> HttpRequest:
        if self._options.resume is None:
            return super()._first()
        return self._adapter.poll(self._options.resume, self._request, self._route.model)

    @property
    def _adapter(self) -> BackgroundAdapter:
        return cast("BackgroundAdapter", self._route.adapter)

    @property
    def _seconds(self) -> float:
        if self._options.timeout is not None:
            return self._options.timeout
        if self._request.background or self._options.resume is not None:
            return LONGEST_BACKGROUND
        return super()._seconds

    def _to_its_end(self, purse: Purse | None = None) -> Steps:
        """The answer, waited for where the vendor works on it in the background."""
        answer = yield from super()._to_its_end(purse)
        if answer.pending is None or answer.response_id is None or self._options.detach:
            return answer
        self._attempts.final = True  # it is under way: begun again it would be paid twice
        self._response_id = answer.response_id
        try:
            return self._awaited(answer.response_id)
        except BaseException as error:
            if self._options.resume is None and not _is_verdict(error):
                self._cancel_there(answer.response_id)
            raise

    def _awaited(self, response_id: str) -> Answer:
        """Look at an answer in the background until it is done; a look that fails is repeated."""
        self._http = self._adapter.poll(response_id, self._request, self._route.model)
        pause = FIRST_POLL
        while True:
            left = self._attempts.deadline - self._clock()
            if left <= 0:
                raise DeadlineExceededError(
                    f"the call's time was up while {response_id} was worked on in the background"
                )
            self._cancellation.sleep(min(pause, left))
            pause = min(pause * 1.5, SLOWEST_POLL)
            answer = self._look()
            if answer.pending is None:
                return answer

    def _look(self) -> Answer:
        looks = self._looks()

        def attempt() -> Steps:
            try:
                return (yield from self._within_limits(_LOOK))
            except CallError as error:
                looks.final = _is_verdict(error)
                raise

        return drained(looks.run(attempt))

    def _looks(self) -> Attempts:
        """The attempts of one look at an answer in the background: more than one, whatever the
        client says of calls. The answer is under way, and paid for.
        """
        least = RetryPolicy()
        policy = max(self._route.policy, least, key=lambda policy: policy.max_attempts)
        return self._attempts_until(self._attempts.deadline, policy)

    def _folded(self, fold: Fold, body: BodyStream) -> Steps:
        if self._request.background:
            return self._followed(cast("ResumableFold", fold), body)
        return super()._folded(fold, body)

    def _followed(self, fold: ResumableFold, body: BodyStream) -> Steps:
        """Those of a run in the background, which goes on after its connection broke; whoever gives
        up cancels it at the server.
        """
        failures = 0
        try:
            while True:
                seen = fold.sequence_number
                try:
                    return (yield from self._events(fold, body))
                except CallError as error:
                    self._response_id = fold.response_id
                    if fold.done or fold.response_id is None or not error.retryable:
                        raise
                    self._attempts.final = True  # it is under way: begun again it is paid twice
                    failures = failures + 1 if fold.sequence_number == seen else 0
                    if failures >= self._route.policy.max_attempts:
                        raise
                    logger.debug("%s: going on after %s", self._route.model.name, error)
                finally:
                    body.close()
                self._cancellation.sleep(FIRST_POLL)
                body = self._reopened(fold)
        except BaseException:
            if fold.response_id is not None and not fold.done:
                self._cancel_there(fold.response_id)
            raise
        finally:
            body.close()

    def _reopened(self, fold: ResumableFold) -> BodyStream:
        """The rest of a run's events, over another connection."""
        model = self._route.model
        http = self._adapter.follow(
            fold.response_id or "", fold.sequence_number, self._request, model
        )

        def attempt() -> Generator[None, None, BodyStream]:
            yield from ()  # a generator without steps, as `Attempts` takes it
            self._head = None
            failure: CallError | None = None
            reservations = self._reserve(_LOOK)
            try:
                body = self._opened(http)
                self._saw(body.head)
                if has_events(body.head):
                    return body
                with contextlib.closing(body):
                    self._adapter.decode(body.head._replace(body=rest_of(body)), model)
                raise TransientError("the server had no events to go on with")
            except CallError as error:
                failure = error
                raise
            finally:
                self._settle(reservations, None, failure)

        return drained(self._looks().run(attempt))

    def _cancel_there(self, response_id: str) -> None:
        """Have the vendor stop working on an answer that nobody waits for any more.

        In a time of its own: the call's is up, or the call was cancelled.
        """
        http = self._adapter.cancel(response_id, self._request, self._route.model)
        deadline, cancellation = self._clock() + FAREWELL, Cancellation()
        try:
            self._route.transport.send(
                http,
                credentials=self._route.credentials_for(http, deadline, cancellation),
                deadline=deadline,
                cancellation=cancellation,
            )
        except DelugeError as error:
            logger.warning("%s could not be cancelled at the server: %s", response_id, error)


def _is_verdict(error: BaseException) -> bool:
    """Whether an error is what the vendor says of a run, in a good answer to a look at it."""
    if not isinstance(error, CallError) or isinstance(error, DecodeError):
        return False
    return error.status is not None and 200 <= error.status <= 299
