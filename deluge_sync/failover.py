"""A call that several models may answer: one is asked after the other, until one answers."""

from __future__ import annotations

import logging
from collections.abc import Generator, Hashable, Mapping, Sequence
from typing import Callable, NamedTuple, Optional

from .call import Call, CallRoute, Switch
from .engine.breaker import Entry
from .engine.lane import Lane
from .engine.retry import drained
from .notices import warn_once
from .values.deltas import Delta
from .values.errors import CallError, ConfigError, DelugeError, PromptError
from .values.response import Answer, Response, RouteStep

logger = logging.getLogger(__name__)

Make = Callable[[CallRoute, Switch], Call]
"""Makes the call of the prompt to one model; `ConfigError` or `PromptError` where it cannot."""

FREE_WITHIN = 1.0
"""Seconds of waiting at another model that are better than one more attempt at this one, and
seconds of a server's pause for which a model is not passed over."""

WORKS, FAILS, SHUT = "works", "fails", "shut"


class Effect(NamedTuple):
    """What one kind of error means where there are several models.

    `moves`: another model may do better, so it is asked. `account` is what the error says of the
    model at this account and server: it WORKS, it FAILS (repeated, that opens its breaker), it is
    SHUT (that opens it at once), or nothing (None). Others of its limit group have their own.
    """

    moves: bool = False
    account: Optional[str] = None


EFFECTS: Mapping[str, Effect] = {
    "auth": Effect(moves=True, account=SHUT),
    "not_found": Effect(moves=True, account=SHUT),
    "quota_exhausted": Effect(moves=True, account=SHUT),
    "throttled": Effect(moves=True),  # its lane is paused, which says it all
    "transient": Effect(moves=True, account=FAILS),
    "connection": Effect(moves=True, account=FAILS),
    "decode": Effect(moves=True, account=FAILS),
    "too_long": Effect(moves=True, account=WORKS),  # to a model with a larger window
    "deadline": Effect(account=FAILS),
    "bad_request": Effect(account=WORKS),
    "refusal": Effect(account=WORKS),
    "output": Effect(account=WORKS),
    "too_large": Effect(account=WORKS),
    "postprocess": Effect(account=WORKS),
}
"""By `DelugeError.kind`. What is not here moves nothing and says nothing: a call that was cancelled
or has no budget, a prompt or an option that is wrong."""

NO_EFFECT = Effect()


class _Candidate:
    """One model that the call may go to, and the call to it, once it is made."""

    __slots__ = ("breaker", "call", "route", "was_throttled")

    def __init__(self, route: CallRoute) -> None:
        self.route = route
        self.breaker = self.lane.breaker(route.model.id)
        self.call: Call | None = None
        self.was_throttled = False

    @property
    def lane(self) -> Lane:
        """The account's, for all models of the limit group."""
        return self.route.lanes[-1]

    @property
    def seconds_shut(self) -> float:
        """Seconds until it should be asked again: of its breaker, and of a pause that is long."""
        paused = self.lane.seconds_paused
        return max(self.breaker.seconds_shut(), paused if paused > FREE_WITHIN else 0.0)


class Failover:
    """One prompt on its way to its answer, by whichever of `routes` gives one; see `AnyCall`.

    `routes` are in the order of preference. Each call is made by `make` when its model is chosen,
    and that is when the prompt is about to be sent. `dynamic` chooses the one that will send it
    soonest, apart from the first where that is `preferred`; otherwise the first that is up. With
    `cached`, all are made at once, as an answer in the cache may be that of any of them. Models
    that cannot be asked this are left out; where none is left, `nobody` makes the error of what is
    wrong with each (`lacking` has those that were left out before), by name.

    A call moves on at once where a failure may be retried and another model is free. Who was left
    that way is asked again, and with all its attempts, when nobody else is left; one that was only
    throttled also as soon as it is free. `by_id` says that the prompt names what one account keeps:
    not finding that says nothing of the model.
    """

    def __init__(
        self,
        routes: Sequence[CallRoute],
        make: Make,
        *,
        dynamic: bool = False,
        preferred: bool = False,
        cached: bool = False,
        by_id: bool = False,
        lacking: Mapping[str, DelugeError],
        nobody: Callable[[Mapping[str, DelugeError]], DelugeError],
    ) -> None:
        self._fresh = [_Candidate(route) for route in routes]
        self._again: list[_Candidate] = []
        self._make = make
        self._dynamic = dynamic
        self._preferred = self._fresh[0] if preferred and self._fresh else None
        self._by_id = by_id
        self._lacking = dict(lacking)
        self._nobody = nobody
        self._current: _Candidate | None = None
        self._entry: Entry | None = None
        self._announced: Lane | None = None
        self._moving = False
        self._patience = FREE_WITHIN
        self._steps: list[RouteStep] = []
        self._retries: list[str] = []
        for candidate in tuple(self._fresh):
            if self._made(candidate) is not None and not cached:
                break
        self._check_any()

    # The face of a call

    @property
    def keys(self) -> Sequence[str]:
        """Of the cache, the best model's first."""
        return [key for call in self._calls() for key in call.keys]

    @property
    def beginning(self) -> Hashable | None:
        """That of the call to the best model."""
        return self._calls()[0].beginning

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made, at whatever model."""
        call = None if self._current is None else self._current.call
        return self._retries if call is None else call.retries

    def find_in(self, answers: Mapping[str, Answer]) -> Answer | None:
        """The answer among those that the cache gave for `keys`: the best model's."""
        for candidate in self._fresh:
            answer = None if candidate.call is None else candidate.call.find_in(answers)
            if answer is not None:
                self._current = candidate
                return answer
        return None

    def found(self, answer: Answer) -> Response:
        """The response when the cache holds `answer`."""
        return self._over(self._latest().found(answer))

    def run(self) -> Response:
        """Send until answered or given up by all."""
        return drained(self._until_answered(_whole))

    def stream(self, *wanted: type) -> Generator[Delta, None, Response]:
        """The deltas as they come; once one was given out the call stays where it is."""
        for candidate in tuple(self._fresh):
            model = candidate.route.model
            if not model.streams:
                self._leave_out(
                    candidate, ConfigError(f"{model.name} gives its answers whole: use complete()")
                )
        self._check_any()
        return self._until_answered(lambda call: call.stream(*wanted))

    def replay(self, answer: Answer, *wanted: type) -> Generator[Delta, None, Response]:
        """The same when the cache holds `answer`."""
        return self._latest().replay(answer, *wanted)

    def cut(self) -> None:
        """Cut the connection, taking no lock."""
        current = self._current
        if current is not None and current.call is not None:
            current.call.cut()

    def failed(self, error: DelugeError) -> Response:
        """The response with `error`."""
        return self._latest().failed(error)

    # What the call under way tells and asks

    def sent(self) -> None:
        """See `Switch`."""
        self._withdraw()
        if self._current is not None and self._entry is not None:
            self._current.breaker.sent(self._entry)

    def takes_over(self, error: CallError) -> bool:
        """Where the error may be retried, and another model is free to."""
        if not error.retryable or not _effect(error).moves:
            return False
        self._patience = max(FREE_WITHIN, error.retry_after or 0.0)
        self._moving = any(
            self._made(candidate) is not None and self._is_free(candidate)
            for candidate in self._for_moving()
        )
        return self._moving

    def route(self, error: DelugeError | None) -> tuple[RouteStep, ...]:
        """See `Switch`."""
        if self._current is None:
            return tuple(self._steps)
        outcome = "answered" if error is None else error.kind
        return (*self._steps, RouteStep(self._current.route.model.name, outcome))

    # One model after the other

    def _until_answered(
        self, ask: Callable[[Call], Generator[Delta, None, Response]]
    ) -> Generator[Delta, None, Response]:
        try:
            self._go_to_next()
            while True:
                response = yield from ask(self._latest())
                self._report(response)
                if not self._goes_on(response.error):
                    return self._over(response)
        finally:
            self._report(None)  # of a call that was broken off; else there is nothing to tell

    def _goes_on(self, error: DelugeError | None) -> bool:
        """Whether another model is asked now; it is the current one then."""
        failed = self._current
        if error is None or failed is None:
            return False
        if not self._moving and (self._latest().is_final or not _moves(error)):
            return False
        if error.kind == "too_long":
            self._fresh = [other for other in self._fresh if _is_larger(other, failed)]
            self._again = [other for other in self._again if _is_larger(other, failed)]
        step = RouteStep(failed.route.model.name, error.kind)
        moving = self._moving
        if not self._go_to_next():
            return False
        logger.debug("%s after %s: %s", self._latest_name(), step.model, error)
        self._steps.append(step)
        if moving:
            failed.was_throttled = error.kind == "throttled"
            self._again.append(failed)
        failed.call = None
        return True

    def _go_to_next(self) -> bool:
        """Choose a model and have its call ready; False where nobody is left."""
        previous = self._current
        chosen = self._chosen()
        self._moving = False
        if chosen is None:
            return False
        candidate, self._entry = chosen
        (self._fresh if candidate in self._fresh else self._again).remove(candidate)
        self._current = candidate
        self._announced = candidate.lane
        candidate.lane.announce()
        if previous is not None and previous.call is not None:
            self._latest().go_on_from(previous.call)
        return True

    def _chosen(self) -> tuple[_Candidate, Entry] | None:
        while True:
            pool = self._pool()
            up = [candidate for candidate in pool if not candidate.seconds_shut]
            if up:
                candidate = self._best(up)
            elif pool:
                candidate = min(pool, key=lambda one: one.seconds_shut)
            else:
                return None
            if self._made(candidate) is None:
                continue
            breaker = candidate.breaker
            entry = breaker.enter() if up else breaker.pass_anyway()
            if entry is not None:  # else another call is the probe, a moment ago
                return candidate, entry

    def _pool(self) -> list[_Candidate]:
        free = []
        if self._moving:
            free = [candidate for candidate in self._for_moving() if self._is_free(candidate)]
        return free or self._fresh or self._again

    def _best(self, up: list[_Candidate]) -> _Candidate:
        if not self._dynamic or len(up) == 1 or up[0] is self._preferred:
            return up[0]
        weights = self._calls()[0].weights
        return min(up, key=lambda candidate: candidate.lane.outlook(weights))

    def _for_moving(self) -> list[_Candidate]:
        return [*self._fresh, *(candidate for candidate in self._again if candidate.was_throttled)]

    def _is_free(self, candidate: _Candidate) -> bool:
        if candidate.seconds_shut:
            return False
        seconds, _ = candidate.lane.outlook(self._calls()[0].weights)
        return seconds <= self._patience

    def _made(self, candidate: _Candidate) -> Call | None:
        """The call to that model; None, and it is left out, where it cannot be asked this."""
        if candidate.call is None:
            try:
                candidate.call = self._make(candidate.route, self)
            except (ConfigError, PromptError) as error:
                self._leave_out(candidate, error)
        return candidate.call

    def _leave_out(self, candidate: _Candidate, error: DelugeError) -> None:
        name = candidate.route.model.name
        if isinstance(error, ConfigError):  # of all calls, and not of this prompt only
            warn_once(f"{name} is left out of the calls that it cannot serve: {error.message}")
        self._lacking[name] = error
        self._fresh.remove(candidate)

    def _check_any(self) -> None:
        if not self._fresh:
            raise self._nobody(self._lacking)

    def _report(self, response: Response | None) -> None:
        """Tell the breaker what became of the call; None is one that was broken off."""
        self._withdraw()
        entry, self._entry = self._entry, None
        if entry is None or self._current is None:
            return
        breaker = self._current.breaker
        error = None if response is None else response.error
        account = WORKS if error is None else _effect(error).account
        unsent = entry.sent_at < 0 or response is None
        if unsent or account is None or self._is_of_an_id(error):
            breaker.abandoned(entry)
        elif account is WORKS:
            breaker.succeeded(entry)
        elif entry.is_probe and _names(error, "deadline"):
            breaker.abandoned(entry)
        else:
            retry_after = None if error is None else error.retry_after
            breaker.failed(entry, at_once=account is SHUT, retry_after=retry_after)

    def _is_of_an_id(self, error: DelugeError | None) -> bool:
        """Whether it is not the model that was not found, but what was asked for by its id: an
        answer in the background, once begun, too.
        """
        return _is_of_id(error) and (self._by_id or self._latest().is_final)

    def _withdraw(self) -> None:
        lane, self._announced = self._announced, None
        if lane is not None:
            lane.withdraw()

    def _over(self, response: Response) -> Response:
        """Let go of the calls: they hold this, and would be kept in memory with it."""
        self._retries = self.retries
        for candidate in (self._current, *self._fresh, *self._again):
            if candidate is not None:
                candidate.call = None
        return response

    def _calls(self) -> list[Call]:
        every = (self._current, *self._fresh, *self._again)
        return [one.call for one in every if one is not None and one.call is not None]

    def _latest(self) -> Call:
        """The call under way, or the one that would be."""
        return self._calls()[0]

    def _latest_name(self) -> str:
        return "" if self._current is None else self._current.route.model.name


def _whole(call: Call) -> Generator[Delta, None, Response]:
    yield from ()  # a generator without steps
    return call.run()


def _effect(error: DelugeError) -> Effect:
    return EFFECTS.get(error.kind, NO_EFFECT)


def _names(error: DelugeError | None, kind: str) -> bool:
    return error is not None and error.kind == kind


def _is_of_id(error: DelugeError | None) -> bool:
    """Whether it may be about what the prompt names: Google says 403 of another account's file."""
    if error is None:
        return False
    return error.kind == "not_found" or (error.kind == "auth" and error.status == 403)


def _moves(error: DelugeError) -> bool:
    """Whether another model is to be asked, now that this one has given up.

    A lane that is paused for longer than the call has is out of time for this call; others are not.
    """
    return _effect(error).moves or (error.kind == "deadline" and error.retry_after is not None)


def _is_larger(candidate: _Candidate, than: _Candidate) -> bool:
    window, small = candidate.route.model.context_window, than.route.model.context_window
    return window is None or small is None or window > small
