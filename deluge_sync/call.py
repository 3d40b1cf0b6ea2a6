"""One call: the order of its steps, written here and nowhere else."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from .adapters import Adapter
from .adapters.event_stream import reader_of
from .engine.budget import Budget, Purse
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.lane import Weights
from .engine.retry import Attempts, RetryPolicy, drained
from .outcome import Parse, Postprocess, attach, parsed_of, postprocessed
from .outlay import actual, ceiling, cost_of, is_free, weights
from .route import Reservations, Route
from .values.deltas import Delta, TextDelta, replayed
from .values.errors import CallError, ConfigError, DelugeError, OutputError
from .values.plain import message_to_plain
from .values.prompt import Conversation, Message, Text
from .values.request import Request
from .values.response import Answer, Response, RouteStep, Usage, joined
from .values.wire import HttpRequest, HttpResponse, LimitHint

if TYPE_CHECKING:
    from .adapters.base import Fold
    from .engine.transport import BodyStream

logger = logging.getLogger(__name__)

CallRoute = Route[Adapter]
Steps = Generator[Delta, None, Answer]
"""What gives an answer in the end, and on the way the deltas that somebody wants to see."""

LONGEST_CALL = 900.0
"""Seconds a call without a `timeout` may take from its first send on, retries included. Its wait
for the first grant is not bounded: a big job behind a small limit is slow, it does not hang."""

LONGEST_STREAM = 3_600.0
"""The same for an answer that streams."""

MOST_PIECES = 100
"""Of an answer that the vendor breaks off: more than the longest one has. Each is paid for."""


@dataclass(frozen=True)
class Options:
    """How one call is to be made, apart from what it asks.

    `deadline` is a monotonic instant; without one the call may take `timeout` seconds from its
    first grant on: its wait in line is not its own. With `use_cache`, the route's cache answers
    where it can; `cache_salt` asks it for another sample. `budget` caps what may be spent.

    `parse` makes the object that was asked for out of an answer's text, or raises `OutputError`;
    the model is then told what is wrong with it, and asked again, up to `repair` times. `resume` is
    the id of an answer that the vendor works on already; with `detach` an answer in the background
    is not waited for.
    """

    timeout: float | None = None
    deadline: float | None = None
    postprocess: Postprocess | None = None
    use_cache: bool = True
    cache_salt: str = ""
    budget: Budget | None = None
    parse: Parse | None = None
    repair: int = 0
    resume: str | None = None
    detach: bool = False


class AnyCall(Protocol):
    """What makes one response of one prompt, whoever is asked. See `Call` for what each does."""

    @property
    def keys(self) -> Sequence[str]:
        """Of the cache: those of every request that may be sent, the best one first."""

    @property
    def beginning(self) -> Hashable | None:
        """What other prompts may have in common with this one."""

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made."""

    def find_in(self, answers: Mapping[str, Answer]) -> Answer | None:
        """The answer among those that the cache gave for `keys`."""

    def found(self, answer: Answer) -> Response:
        """The response when the cache holds `answer`."""

    def run(self) -> Response:
        """Send until answered or given up."""

    def stream(self, *wanted: type) -> Generator[Delta, None, Response]:
        """The deltas of the `wanted` types as they come, then the response."""

    def replay(self, answer: Answer, *wanted: type) -> Generator[Delta, None, Response]:
        """The same when the cache holds `answer`."""

    def cut(self) -> None:
        """Cut the connection, taking no lock."""

    def failed(self, error: DelugeError) -> Response:
        """The response of this call with `error`."""


class Switch(Protocol):
    """Who makes calls to one model after the other: what the call under way tells and asks it."""

    def sent(self) -> None:
        """The call has what it needs of its limits, and sends."""

    def takes_over(self, error: CallError) -> bool:
        """Whether another model is asked now, in place of one more attempt at this one."""

    def route(self, error: DelugeError | None) -> tuple[RouteStep, ...]:
        """Where the prompt has been, this call and its outcome included."""


class Call:
    """One prompt on its way to its answer; `prompt` is what the response will show it came from."""

    def __init__(
        self,
        route: CallRoute,
        request: Request,
        *,
        prompt: Any,
        cancellation: Cancellation,
        index: int | None = None,
        options: Options = Options(),
        clock: Clock = monotonic,
        switch: Switch | None = None,
    ) -> None:
        self._failures: list[str] = []
        self._switch = switch
        self._spent = Usage()
        self._route = route
        self._prompt = prompt
        self._index = index
        self._options = options
        self._cancellation = cancellation
        self._clock = clock
        self._sends = 0
        self._costs: list[float | None] = []
        self._latency: float | None = None
        self._request_id: str | None = None
        self._body: BodyStream | None = None
        self._before = ""
        self._said: list[str] = []
        self._wanted: tuple[type, ...] = ()
        self._parsed: Any = None
        self._paid: Answer | None = None
        self._response_id: str | None = None
        self._request = request
        self._http = self._first()
        one_answer = not (request.background or request.previous_response_id or options.resume)
        self._answers = route.answers if options.use_cache and one_answer else None
        self.key: str | None = None
        """Of the cache; None for a call that does not use it."""
        if self._answers is not None:
            self.key = route.keys.key(self._http, options.cache_salt)
        self._ceiling = 0.0
        if options.budget is not None:
            self._ceiling = ceiling(self._http, request, route.model)

    def go_on_from(self, other: Call) -> None:
        """Take the place of a call to another model that has failed: in its time, on its account.

        To be said before this one is run.
        """
        if other._attempts.deadline < math.inf:
            self._options = replace(self._options, deadline=other._attempts.deadline)
        self._failures, self._costs, self._sends = other._failures, other._costs, other._sends
        self._spent = other._spent
        if other._paid is not None:
            self._spent = self._spent.plus(other._paid.usage)

    @property
    def keys(self) -> Sequence[str]:
        """The key, if there is one."""
        return () if self.key is None else (self.key,)

    @property
    def http(self) -> HttpRequest:
        """What it sends next."""
        return self._http

    @property
    def request(self) -> Request:
        """The same, before any vendor's wire format."""
        return self._request

    @property
    def index(self) -> int | None:
        """Its position among its `map`'s."""
        return self._index

    @property
    def weights(self) -> Weights:
        """What it is expected to draw."""
        return weights(self._http, self._request, self._route.model)

    @property
    def is_final(self) -> bool:
        """Whether nothing may be sent again: somebody has seen a part of the answer, or the vendor
        works on it.
        """
        return self._attempts.final

    def find_in(self, answers: Mapping[str, Answer]) -> Answer | None:
        """The answer among those that the cache gave for `keys`."""
        return answers.get(self.key or "")

    @property
    def beginning(self) -> Hashable | None:
        """What the vendor's cache can have of this prompt from another one: all but its last
        message, at the same model. None where that is nothing.
        """
        *others, _ = self._request.conversation.messages
        if not others:
            return None
        plain = [self._route.model.name, *(message_to_plain(message) for message in others)]
        return hashlib.sha256(json.dumps(plain, default=str).encode()).digest()

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made: the failures that were followed by another send."""
        return self._failures[: max(self._sends - 1, 0)]

    def found(self, answer: Answer) -> Response:
        """The response when the cache holds `answer`: nothing is sent, nothing is paid."""
        return self._finished(answer, free=True)

    def run(self) -> Response:
        """Send until answered or given up; errors of the call come back in the response.

        With a cache, one call of all that are the same is sent, and the others wait for its answer.
        """
        if self._route.adapter.needs_stream(self._request, self._route.model):
            self._stream_from_now_on()
        self._begin()
        free = False
        try:
            if self._answers is None or self.key is None:
                answer = drained(self._steps())
            else:
                answer, free = self._answers.once(
                    self.key,
                    lambda: drained(self._steps()),
                    tags=self._tags,
                    deadline=self._attempts.deadline,
                    patience=self._seconds,
                    cancellation=self._cancellation,
                )
        except DelugeError as error:
            return self.failed(error)
        return self._finished(answer, free=free)

    def stream(self, *wanted: type) -> Generator[Delta, None, Response]:
        """The deltas of the `wanted` types as they come, then the response, errors and all.

        Once one was given out nothing is sent again: the caller has seen a part of that answer.
        Closing it early cuts the connection. The cache keeps the answer, but such calls do not wait
        for each other. A model that does not stream is a `ConfigError`, at once.
        """
        if not self._route.model.streams:
            raise ConfigError(f"{self._route.model.name} gives its answers whole: use complete()")
        self._wanted = wanted
        self._stream_from_now_on()
        return self._streamed()

    def _streamed(self) -> Generator[Delta, None, Response]:
        self._begin()
        try:
            answer = yield from self._steps()
        except DelugeError as error:
            return self.failed(error)
        if self._answers is not None and self.key is not None:
            self._answers.keep(self.key, answer, tags=self._tags)
        return self._finished(answer, free=False)

    def replay(self, answer: Answer, *wanted: type) -> Generator[Delta, None, Response]:
        """The same when the cache holds `answer`."""
        yield from (delta for delta in replayed(answer) if isinstance(delta, wanted))
        return self.found(answer)

    def cut(self) -> None:
        """Cut the connection of a stream that nobody reads any more, taking no lock."""
        body = self._body
        if body is not None:
            body.cut()

    def failed(self, error: DelugeError) -> Response:
        """The response of this call with `error`, and with what there was of an answer."""
        part = self._paid
        if self._said:
            text = self._before + "".join(self._said)
            usage = Usage() if part is None else part.usage
            part = Answer(Message("assistant", (Text(text),)), usage, None)
        return self._response(part, error=error)

    # The steps, from the outermost to the innermost

    def _begin(self) -> None:
        # Not in the constructor, as an answer out of the cache needs neither.
        self._weights = weights(self._http, self._request, self._route.model)
        deadline = math.inf if self._options.deadline is None else self._options.deadline
        self._attempts = self._attempts_until(deadline)

    def _attempts_until(self, deadline: float, policy: RetryPolicy | None = None) -> Attempts:
        return Attempts(
            policy or self._route.policy,
            deadline=deadline,
            cancellation=self._cancellation,
            may_retry=self._route.lanes[-1].may_retry,
            clock=self._clock,
        )

    def _steps(self) -> Steps:
        # What nobody asked for is no step: each costs every delta its way through it.
        return self._whole() if self._options.parse is None else self._valid()

    def _valid(self) -> Steps:
        """The answer, which is asked for again where it does not parse as it should."""
        answer = yield from self._whole()
        problem = self._problem(answer)
        for _ in range(self._options.repair):
            if problem is None or answer.finish_reason == "length":
                break
            self._paid, self._before = answer, ""
            self._ask(conversation=_with_complaint(self._request.conversation, answer, problem))
            repaired = yield from self._whole()
            answer = repaired._replace(usage=answer.usage.plus(repaired.usage))
            problem = self._problem(answer)
        if problem is not None:
            self._paid = answer
            raise problem
        return answer

    def _whole(self) -> Steps:
        """The answer, put together where the vendor breaks long ones off."""
        answer = yield from self._attempts.run(self._attempt)
        tokens: set[str] = set()
        while answer.continuation is not None:
            if answer.continuation in tokens or len(tokens) >= MOST_PIECES:
                return answer._replace(continuation=None, finish_reason="length")
            tokens.add(answer.continuation)
            self._paid, self._before = answer, answer.content.text or ""
            self._ask(continuation=answer.continuation)
            answer = joined(answer, (yield from self._attempts.run(self._attempt)))
        return answer

    def _attempt(self) -> Steps:
        budget = self._options.budget
        return self._to_its_end() if budget is None else self._paid_for(budget)

    def _paid_for(self, budget: Budget) -> Steps:
        """Money first, then the limits: who waits for money holds no slot."""
        deadline, cancellation = self._attempts.deadline, self._cancellation
        with budget.reserved(self._ceiling, deadline, cancellation) as purse:
            answer = yield from self._to_its_end(purse)
            if answer.usage.total_tokens:
                cost = cost_of(answer, self._route.model)
                purse.spent = purse.amount if cost is None else cost
            return answer

    def _to_its_end(self, purse: Purse | None = None) -> Steps:
        return self._within_limits(self._weights, purse)

    def _within_limits(self, amounts: Weights, purse: Purse | None = None) -> Steps:
        """One request and its answer, drawn from the limits."""
        self._head: HttpResponse | None = None
        answer: Answer | None = None
        failure: CallError | None = None
        reservations = self._reserve(amounts)
        try:
            self._start_clock()
            self._sends += 1
            if purse is not None:
                purse.spent = purse.amount  # what nobody knows counts as the most it can be
            if self._request.stream:
                answer = yield from self._streamed_in()
            else:
                reply = self._send()
                self._saw(reply)
                answer = self._route.adapter.decode(reply, self._route.model)
            if answer.pending is None:
                self._costs.append(cost_of(answer, self._route.model))
        except CallError as error:
            failure = error
            self._failures.append(error.kind)
            if purse is not None and is_free(error, self._head is not None):
                purse.spent = 0.0
            if self._switch is not None and not self._attempts.final:
                self._attempts.final = self._switch.takes_over(error)
            raise
        finally:
            paused = self._settle(reservations, answer, failure)
            if failure is not None:
                self._log(failure, paused)
        return answer

    def _streamed_in(self) -> Steps:
        """Send, and read the answer event by event as it comes."""
        route = self._route
        sent_at = self._clock()
        self._said.clear()
        body = self._opened(self._http)
        try:
            self._saw(body.head)
            if not has_events(body.head):
                reply = body.head._replace(body=rest_of(body))
                answer = route.adapter.decode(reply, route.model)
                yield from (d for d in replayed(answer) if isinstance(d, self._wanted))
                return answer
            for lane in route.lanes:
                lane.hear()
            return (yield from self._folded(route.adapter.fold(body.head, route.model), body))
        finally:
            body.close()
            self._latency = self._clock() - sent_at

    def _folded(self, fold: Fold, body: BodyStream) -> Steps:
        return self._events(fold, body)

    def _events(self, fold: Fold, body: BodyStream) -> Steps:
        reader = reader_of(body.head)
        wanted = self._wanted
        while not fold.done:
            data = body.read()
            for event in reader.feed(data) if data else reader.finish():
                for delta in fold.feed(event):
                    if type(delta) is TextDelta:
                        self._said.append(delta.text)
                    if type(delta) in wanted:
                        self._attempts.final = True
                        yield delta
            if not data:
                break
        return fold.answer()

    # What the steps are made of

    def _first(self) -> HttpRequest:
        return self._route.adapter.encode(self._request, self._route.model)

    def _ask(self, **changes: Any) -> None:
        """Have the next attempt send the request with `changes`."""
        self._said.clear()
        self._request = self._request._replace(**changes)
        self._http = self._route.adapter.encode(self._request, self._route.model)
        self._weights = weights(self._http, self._request, self._route.model)
        if self._options.budget is not None:
            self._ceiling = ceiling(self._http, self._request, self._route.model)

    def _stream_from_now_on(self) -> None:
        self._request = self._request._replace(stream=True)
        self._http = self._route.adapter.encode(self._request, self._route.model)

    def _log(self, failure: CallError, paused: float | None) -> None:
        name = self._route.model.name
        logger.debug("%s: attempt %d failed: %s", name, self._sends, failure)
        if paused is not None:
            logger.info("%s: throttled, paused for %.1f s", self._route.lanes[-1].name, paused)

    @property
    def _seconds(self) -> float:
        """What the call may take from its first grant on."""
        if self._options.timeout is not None:
            return self._options.timeout
        return LONGEST_STREAM if self._request.stream else LONGEST_CALL

    def _start_clock(self) -> None:
        if self._answers is not None and self.key is not None:
            self._answers.granted(self.key)
        if self._attempts.deadline == math.inf:
            self._attempts.deadline = self._clock() + self._seconds
        if self._switch is not None:
            self._switch.sent()

    def _saw(self, head: HttpResponse) -> None:
        self._head = head
        self._request_id = self._route.adapter.request_id(head)

    def _opened(self, http: HttpRequest) -> BodyStream:
        self._body = self._route.open(
            http, deadline=self._attempts.deadline, cancellation=self._cancellation
        )
        return self._body

    def _send(self) -> HttpResponse:
        sent_at = self._clock()
        reply = self._route.send(
            self._http,
            now=sent_at,
            deadline=self._attempts.deadline,
            cancellation=self._cancellation,
        )
        self._latency = self._clock() - sent_at
        return reply

    def _reserve(self, amounts: Weights) -> Reservations:
        return self._route.reserve(
            amounts, deadline=self._attempts.deadline, cancellation=self._cancellation
        )

    def _settle(
        self, reservations: Reservations, answer: Answer | None, failure: CallError | None
    ) -> float | None:
        """Settle with all lanes; gives the seconds of the account's pause where this began one."""
        head = self._head
        hints: Iterable[LimitHint] = ()
        answered = head is not None
        if head is not None:
            hints = self._route.adapter.limits(head)
            if answer is None and self._request.stream and has_events(head):
                answered = False  # it broke off: what it has used until then nobody knows
        return self._route.settle(
            reservations,
            actual(answer, failure, answered),
            hints,
            failure=failure,
            answered=answered,
            succeeded=answer is not None,
        )

    # From the answer to the response

    @property
    def _tags(self) -> tuple[str, ...]:
        return (f"model:{self._route.model.name}",)

    def _problem(self, answer: Answer) -> OutputError | None:
        """What is wrong with an answer that was to be an object; keeps the object if it is one."""
        self._parsed, problem = parsed_of(answer, self._options.parse)
        return problem

    def _finished(self, answer: Answer, *, free: bool) -> Response:
        error: DelugeError | None = answer.error
        if free or self._parsed is None:
            error = error or self._problem(answer)
        response = self._response(answer, error=error, free=free)
        return postprocessed(response, self._options.postprocess)

    def _cost(self, answer: Answer | None, *, free: bool) -> float | None:
        if free:
            return 0.0
        if len(self._costs) == 1:  # nearly always
            return self._costs[0]
        if not self._costs:
            return None
        known = [cost for cost in self._costs if cost is not None]
        return math.fsum(known) if len(known) == len(self._costs) else None

    def _response(
        self, answer: Answer | None, *, error: DelugeError | None, free: bool = False
    ) -> Response:
        model = self._route.model
        content = None
        if answer is not None:
            content = answer.content.coming_over(self._route.wire, model.name)
        if free and error is not None:
            error = copy.copy(error)  # others have the same answer; each error has its own response
        response = Response(
            model=model.name,
            prompt=self._prompt,
            index=self._index,
            content=content,
            finish_reason=(answer.finish_reason or answer.pending) if answer is not None else None,
            usage=answer.usage if answer is not None else None,
            cost=self._cost(answer, free=free),
            error=error,
            attempts=self._sends,
            latency=self._latency,
            cached=free,
            saved_cost=cost_of(answer, model) if free and answer is not None else None,
            request_id=self._request_id or (answer.response_id if answer is not None else None),
            response_id=self._response_id or (answer.response_id if answer is not None else None),
            parsed=self._parsed,
            logprobs=answer.logprobs if answer is not None else None,
            service_tier=answer.service_tier if answer is not None else None,
        )
        if self._switch is not None:
            usage = self._spent.plus(response.usage or Usage())
            known = response.usage is not None or usage.total_tokens > 0
            route = self._switch.route(error)
            response = response.replace(usage=usage if known else None, route=route)
        attach(error, response)
        return response


def has_events(head: HttpResponse) -> bool:
    """Whether events follow, as was asked for. Some hosts give the whole answer all the same."""
    return 200 <= head.status <= 299 and "json" not in head.headers.get("content-type", "")


def rest_of(body: BodyStream) -> bytes:
    """All that is left of a body."""
    return b"".join(iter(body.read, b""))


def _with_complaint(
    conversation: Conversation, answer: Answer, problem: OutputError
) -> Conversation:
    return conversation.assistant(answer.content.text or "").user(
        f"That is not what was asked for: {problem.message}. Answer again, with nothing but the "
        "corrected JSON."
    )
