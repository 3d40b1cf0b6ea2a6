"""One call: the order of its steps, written here and nowhere else."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional

from .cache import Answers, KeySpace
from .engine.budget import Budget, Purse
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.lane import Lane, Reservation, Weights
from .engine.retry import Attempts, RetryPolicy
from .values.errors import (
    CallError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    DelugeError,
    PostprocessError,
    ThrottledError,
    TransientError,
)
from .values.model import Model
from .values.params import SamplingParams
from .values.request import Request
from .values.response import Answer, Response
from .values.secret import Credential
from .values.wire import HttpRequest, HttpResponse, LimitHint

if TYPE_CHECKING:
    from .adapters import Adapter
    from .engine.transport import Transport

logger = logging.getLogger(__name__)

Postprocess = Callable[[Response], Response]

LONGEST_CALL = 900.0
"""Seconds a call without a `timeout` may take from its first send on, retries included. Its wait
for the first grant is not bounded: a big job behind a small limit is slow, it does not hang."""

OUTPUT_GUESS = 1_024
"""Output tokens to reserve where the request does not bound them; settled afterwards."""

CHOICES = ("n", "best_of", "candidatecount", "candidate_count")
"""What `extra_body` may call the number of answers to one prompt, in any vendor's words."""

PRICED_AS_USUAL: dict[str, tuple[Any, ...]] = {
    "model": (),
    "servicetier": (None, "auto", "default", "standard", "standard_only", "flex"),
    "speed": (None, "standard"),
}
"""What `extra_body` may say of these, and the catalog's prices still hold, or are too high."""

BYTES_PER_TOKEN = 4
"""Of a request's body, the usual rule of thumb; settled afterwards."""


@dataclass(frozen=True)
class Route:
    """What all calls of one client to one model share, in one process.

    `lanes` are drawn from in order; the last one is the account's. `answers` is the cache, if there
    is one, and `keys` tells its keys.
    """

    model: Model
    adapter: Adapter
    credentials: tuple[Credential, ...]
    lanes: tuple[Lane, ...]
    transport: Transport
    policy: RetryPolicy
    request_timeout: float
    keys: KeySpace
    answers: Answers | None = None


@dataclass(frozen=True)
class Options:
    """How one call is to be made, apart from what it asks.

    `deadline` is a monotonic instant; without one the call may take `timeout` seconds from its
    first grant on: its wait in line is not its own. With `use_cache`, the route's cache answers
    where it can; `cache_salt` asks it for another sample. `budget` caps what may be spent.
    """

    timeout: float = LONGEST_CALL
    deadline: float | None = None
    postprocess: Postprocess | None = None
    use_cache: bool = True
    cache_salt: str = ""
    budget: Budget | None = None


class Call:
    """One prompt on its way to its answer; `prompt` is what the response will show it came from."""

    def __init__(
        self,
        route: Route,
        request: Request,
        *,
        prompt: Any,
        cancellation: Cancellation,
        index: int | None = None,
        options: Options = Options(),
        clock: Clock = monotonic,
    ) -> None:
        self._failures: list[str] = []
        self._route = route
        self._prompt = prompt
        self._index = index
        self._options = options
        self._cancellation = cancellation
        self._clock = clock
        self._sends = 0
        self._latency: float | None = None
        self._request_id: str | None = None
        self._http = route.adapter.encode(request, route.model)
        self._params = request.params
        self._answers = route.answers if options.use_cache else None
        self.key: str | None = None
        """Of the cache; None for a call that does not use it."""
        if self._answers is not None:
            self.key = route.keys.key(self._http, options.cache_salt)
        self._ceiling = 0.0
        if options.budget is not None:
            self._ceiling = _ceiling(self._http, request, route.model)

    @property
    def retries(self) -> list[str]:
        """Why each further attempt was made: the failures that were followed by another send."""
        return self._failures[: max(self._sends - 1, 0)]

    def found(self, answer: Answer) -> Response:
        """The response when the cache holds `answer`: nothing is sent, nothing is paid."""
        return self._postprocessed(self._response(answer, error=answer.error, free=True))

    def run(self) -> Response:
        """Send until answered or given up; errors of the call come back in the response.

        With a cache, one call of all that are the same is sent, and the others wait for its answer.
        """
        # Not before, as an answer out of the cache needs neither.
        self._weights = _weights(self._http, self._params, self._route.model)
        self._attempts = Attempts(
            self._route.policy,
            deadline=math.inf if self._options.deadline is None else self._options.deadline,
            cancellation=self._cancellation,
            may_retry=self._route.lanes[-1].may_retry,
            clock=self._clock,
        )
        free = False
        try:
            if self._answers is None or self.key is None:
                answer = self._attempts.run(self._attempt)
            else:
                answer, free = self._answers.once(
                    self.key,
                    lambda: self._attempts.run(self._attempt),
                    tags=(f"model:{self._route.model.name}",),
                    deadline=self._attempts.deadline,
                    patience=self._options.timeout,
                    cancellation=self._cancellation,
                )
        except DelugeError as error:
            return self.failed(error)
        return self._postprocessed(self._response(answer, error=answer.error, free=free))

    def failed(self, error: DelugeError) -> Response:
        """The response of this call with `error` and no answer."""
        return self._response(None, error=error)

    def _attempt(self) -> Answer:
        """Money first, then the limits: who waits for money holds no slot."""
        budget = self._options.budget
        if budget is None:
            return self._attempt_within_limits()
        deadline, cancellation = self._attempts.deadline, self._cancellation
        with budget.reserved(self._ceiling, deadline, cancellation) as purse:
            answer = self._attempt_within_limits(purse)
            if answer.usage.total_tokens:
                purse.spent = self._route.model.prices.cost(answer.usage) or 0.0
            return answer

    def _attempt_within_limits(self, purse: Purse | None = None) -> Answer:
        answer: Answer | None = None
        hints: Iterable[LimitHint] = ()
        failure: CallError | None = None
        answered = False
        reservations = self._reserve()
        try:
            self._start_clock()
            self._sends += 1
            if purse is not None:
                purse.spent = purse.amount  # what nobody knows counts as the most it can be
            reply = self._send()
            answered = True
            self._request_id = self._route.adapter.request_id(reply)
            hints = self._route.adapter.limits(reply)
            answer = self._route.adapter.decode(reply, self._route.model)
        except CallError as error:
            failure = error
            self._failures.append(error.kind)
            if purse is not None and _is_free(error, answered):
                purse.spent = 0.0
            raise
        finally:
            paused = self._settle(reservations, answer, hints, failure, answered)
            if failure is not None:
                self._log(failure, paused)
        return answer

    def _log(self, failure: CallError, paused: float | None) -> None:
        name = self._route.model.name
        logger.debug("%s: attempt %d failed: %s", name, self._sends, failure)
        if paused is not None:
            logger.info("%s: throttled, paused for %.1f s", self._route.lanes[-1].name, paused)

    def _reserve(self) -> list[tuple[Lane, Reservation]]:
        taken: list[tuple[Lane, Reservation]] = []
        try:
            for lane in self._route.lanes:
                reservation = lane.reserve(
                    self._weights,
                    deadline=self._attempts.deadline,
                    cancellation=self._cancellation,
                )
                taken.append((lane, reservation))
        except BaseException:
            for lane, reservation in taken:
                lane.cancel(reservation)
            raise
        return taken

    def _start_clock(self) -> None:
        if self._answers is not None and self.key is not None:
            self._answers.granted(self.key)
        if self._attempts.deadline == math.inf:
            self._attempts.deadline = self._clock() + self._options.timeout

    def _send(self) -> HttpResponse:
        sent_at = self._clock()
        limit = sent_at + self._route.request_timeout
        try:
            reply = self._route.transport.send(
                self._http,
                credentials=self._route.credentials,
                deadline=min(limit, self._attempts.deadline),
                cancellation=self._cancellation,
            )
        except DeadlineExceededError as error:
            if limit < self._attempts.deadline:
                raise TransientError(
                    f"no answer within request_timeout={self._route.request_timeout:g} s "
                    f"({error.message})"
                ) from error
            raise
        self._latency = self._clock() - sent_at
        return reply

    def _settle(
        self,
        reservations: list[tuple[Lane, Reservation]],
        answer: Answer | None,
        hints: Iterable[LimitHint],
        failure: CallError | None,
        answered: bool,
    ) -> float | None:
        """Settle with all lanes; gives the seconds of the account's pause where this began one."""
        actual = _actual(answer, failure, answered)
        succeeded = answer is not None
        paused = None
        if isinstance(failure, ThrottledError):
            lane, reservation = reservations[-1]
            paused = lane.throttled(reservation, failure.retry_after)
        for lane, reservation in reservations[:-1]:
            lane.settle(reservation, actual, answered=answered, succeeded=succeeded)
        lane, reservation = reservations[-1]
        lane.settle(reservation, actual, hints, answered=answered, succeeded=succeeded)
        return paused

    def _response(
        self, answer: Answer | None, *, error: DelugeError | None, free: bool = False
    ) -> Response:
        model = self._route.model
        cost = model.prices.cost(answer.usage) if answer is not None else None
        if free and error is not None:
            error = copy.copy(error)  # others have the same answer; each error has its own response
        response = Response(
            model=model.name,
            prompt=self._prompt,
            index=self._index,
            content=answer.content if answer is not None else None,
            finish_reason=answer.finish_reason if answer is not None else None,
            usage=answer.usage if answer is not None else None,
            cost=0.0 if free else cost,
            error=error,
            attempts=self._sends,
            latency=self._latency,
            cached=free,
            saved_cost=cost if free else None,
            request_id=self._request_id or (answer.response_id if answer is not None else None),
        )
        if error is not None:
            error.response = response
            _forget_frames(error)
        return response

    def _postprocessed(self, response: Response) -> Response:
        if self._options.postprocess is None or response.error is not None:
            return response
        error: PostprocessError
        try:
            changed = self._options.postprocess(response)
        except Exception as cause:
            error = PostprocessError(f"postprocess raised {type(cause).__name__}: {cause}")
            error.__cause__ = cause
        else:
            if isinstance(changed, Response):
                return (
                    changed if changed.index == self._index else changed.replace(index=self._index)
                )
            error = PostprocessError(
                f"postprocess must return a Response, not {type(changed).__name__}: "
                "change one with response.replace(...)"
            )
        error.response = response
        return response.replace(error=error)


def _weights(http: HttpRequest, params: SamplingParams, model: Model) -> Weights:
    """What the call is expected to draw; tokens by the length of its body."""
    read = len(http.body) / BYTES_PER_TOKEN
    written = params.max_new_tokens or min(OUTPUT_GUESS, model.max_output_tokens or OUTPUT_GUESS)
    return {
        "requests": 1,
        "tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
    }


def _actual(answer: Answer | None, failure: CallError | None, answered: bool) -> Optional[Weights]:
    """What the call really drew; None where nobody knows.

    A request that the server refused counts as a request, but its tokens were never used; those of
    an answer that cannot be read were.
    """
    if answer is not None:
        usage = answer.usage
        if not usage.total_tokens:
            return None
        return {
            "tokens": usage.total_tokens,
            "input_tokens": usage.input_tokens - usage.cache_read_tokens,
            "output_tokens": usage.output_tokens,
        }
    if not answered or isinstance(failure, DecodeError):
        return None
    return {"tokens": 0, "input_tokens": 0, "output_tokens": 0}


def _is_free(failure: CallError, answered: bool) -> bool:
    """Whether the server surely did nothing that it could bill.

    It says so with an error of its own; a gateway's says nothing of the server behind it, nor does
    an error in an answer that began as a good one.
    """
    if not answered:
        return not failure.may_have_been_sent
    status = failure.status or 0
    return status in (500, 501, 503, 529) or (400 <= status < 500 and status != 408)


def _ceiling(http: HttpRequest, request: Request, model: Model) -> float:
    """US dollars that one attempt costs at most; `ConfigError` where that cannot be told.

    A token is at least a byte, so the body's length bounds what is read: the text of it, that is.
    What the server fetches or adds itself, and tools that it runs, cannot be told from here; the
    budget learns from the first answer that costs more than this.
    """
    extra = list(_leaves(request.extra_body))
    for name, value in extra:
        known = PRICED_AS_USUAL.get(name.replace("_", ""))
        if known is not None and value not in known:
            raise ConfigError(f"max_cost does not know what {name}={value!r} in extra_body costs")
        if ("token" in name or name in CHOICES) and type(value) is not int:
            raise ConfigError(
                f"max_cost needs whole numbers: {name}={value!r} in extra_body is none"
            )
    asked = [value for name, value in extra if "token" in name]
    written = max([request.params.max_new_tokens or model.max_output_tokens or 0, *asked])
    if not written:
        raise ConfigError(
            f"max_cost needs to know how long an answer of {model.name} can get: give "
            "max_new_tokens, or set max_output_tokens in the model's YAML entry (config=)"
        )
    choices = max([1, *(value for name, value in extra if name in CHOICES)])
    ceiling = model.prices.ceiling(len(http.body), written * choices)
    if ceiling is None:
        raise ConfigError(unpriced(model))
    return ceiling


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What `extra_body` holds at whatever depth, with its names in lower case."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, str(key).lower())
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value


def unpriced(model: Model) -> str:
    """What to say of a model whose price a budget needs and nobody gave."""
    return (
        f"max_cost needs the price of {model.name}, which the catalog does not know: set "
        f"`prices: {{input: ..., output: ...}}` (US dollars per million tokens) for it under "
        f"`models:` in your YAML (config=)"
    )


def _forget_frames(error: BaseException) -> None:
    """Take the tracebacks off `error` and its causes: their frames keep the call in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
