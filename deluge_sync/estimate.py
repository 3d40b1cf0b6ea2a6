"""What a `map` would send, cost and take, found out without sending anything."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .adapters import ADAPTERS
from .cache import Answers, KeySpace, owner_of
from .catalog import api_key_for, located
from .options import NO_OPTIONS, CallOptions, adapter_of
from .settings import Settings
from .tokens import Counter
from .values.errors import DelugeError, MissingKeyError, PromptError
from .values.model import Model
from .values.params import SamplingParams
from .values.prompt import Conversation, Message
from .values.request import Request
from .values.response import Usage
from .values.secret import Secret
from .values.tool import described

LOOKUPS = 256
"""Prompts that are looked up in the cache at once, and held in memory."""

MOST_REASONS = 5
"""Bad prompts whose reasons are kept."""

SHORTEST_ANSWER = 1
"""Tokens of every answer, at least: the low end of what is written is what reading alone costs."""

FIRST_TOKEN = 1.0
"""Seconds until an answer begins: a guess, for nothing is sent."""

TOKENS_A_SECOND = 50.0
"""At which it is written then: a guess too, slow for a small model and fast for a big one."""

NO_SERVER = "http://not-started"
"""Where a server of ours will be; no request of an estimate gets there."""

Range = tuple[float, Optional[float]]
"""Low and high; the high end is None where nobody knows it."""


@dataclass(frozen=True)
class Estimate:
    """What a run over some prompts would be; all numbers are for those not `bad` and not `cached`.

    `bad` prompts cannot be sent: `reasons` has the first few. `cached` ones are answered by the
    client's own cache. `input_tokens` is what is read; `method` says how that was counted, and
    `error` what share it may be off by. Answers have one token each at the low end of
    `output_tokens`, at the high end `max_new_tokens`, or all that the model may write.

    `cost` is US dollars from the least to the most that these tokens cost, `error` taken into
    account, without what the vendor's own prompt cache may save or charge; both ends are None where
    a price is unknown. `seconds` is how long it takes: the longest of what the limits of requests
    and of tokens per minute, the client's and the providers', leave room for, and of all answers
    one after the other, as many at once as `max_concurrent_requests`, each taking a second and
    another one for 50 tokens. With several models these are expected values by their weights;
    `dearest` is the high end of the cost if the dearest of them answered all.

    The same prompt twice counts twice.
    """

    prompts: int
    bad: int
    reasons: tuple[str, ...]
    cached: int
    input_tokens: int
    output_tokens: Range
    cost: tuple[float | None, float | None]
    dearest: float | None
    seconds: Range
    method: str
    error: float

    def summary(self) -> str:
        """A few lines for people."""
        sent = self.prompts - self.bad - self.cached
        bad = f", {self.bad:,} cannot be sent" if self.bad else ""
        cached = f", {self.cached:,} in the cache" if self.cached else ""
        error = f", within {self.error:.0%}" if self.error else ""
        lines = [
            f"prompts:  {self.prompts:,}: {sent:,} to send{cached}{bad}",
            f"input:    {self.input_tokens:,} tokens ({self.method}{error})",
            f"output:   {_between(self.output_tokens, _whole)} tokens",
            f"cost:     {self._cost()}",
            f"duration: {_between(self.seconds, _duration)} at these limits",
        ]
        return "\n".join([*lines, *(f"cannot be sent: {reason}" for reason in self.reasons)])

    def _cost(self) -> str:
        low, high = self.cost
        if low is None:
            return "unknown: the catalog has no price for this model"
        dearest = ""
        if self.dearest is not None and high is not None and self.dearest > high:
            dearest = f", {_dollars(self.dearest)} at most if the dearest model answered all"
        return _between((low, high), _dollars) + dearest


@dataclass
class _Sums:
    """What one model would be sent, if it got all the prompts."""

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    off: float = 0.0  # tokens by which that may be off
    output_low: int = 0
    output_high: float | None = 0
    cost_low: float | None = 0.0
    cost_high: float | None = 0.0


def estimated(
    prompts: Iterable[Any],
    models: Sequence[Model],
    settings: Settings,
    params: SamplingParams,
    *,
    asked: CallOptions = NO_OPTIONS,
    answers: Answers | None = None,
    cache_salt: str = "",
) -> Estimate:
    """Read `prompts` once, in batches, and add up. `answers` is the cache, if it is to be asked.

    No server is started. Without an API key, what is in the cache cannot be told and counts as not
    there, unless `cache_owner` says whose it is.
    """
    single = isinstance(prompts, (str, bytes, Conversation, Message, Mapping))
    if single or not isinstance(prompts, Iterable):
        raise PromptError(
            f"estimate takes many prompts, this is one {type(prompts).__name__}: use [prompt]"
        )
    plans = [_Plan(model, settings, params, asked, answers, cache_salt) for model in models]
    count, bad = 0, 0
    reasons: list[str] = []
    for batch in _batches(enumerate(prompts)):
        requests: list[tuple[Conversation, list[str | None]]] = []
        for index, prompt in batch:
            count += 1
            try:
                requests.append(_prepared(prompt, plans))
            except PromptError as error:
                bad += 1
                if len(reasons) < MOST_REASONS:
                    reasons.append(f"prompt {index}: {error.message}")
        for at, plan in enumerate(plans):
            plan.add([(conversation, keys[at]) for conversation, keys in requests])
    return _summed_up(count, bad, tuple(reasons), plans, settings)


class _Plan:
    """One model: how its requests are made, and their sums."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        params: SamplingParams,
        asked: CallOptions,
        answers: Answers | None,
        cache_salt: str,
    ) -> None:
        self.sums = _Sums()
        self.model = model = _addressed(model)
        self.counter = Counter(model)
        self._settings = settings
        tools = bool(asked.tools or settings.extra_body.get("tools"))
        self._adapter = ADAPTERS[adapter_of(model, asked.responses_api, tools=tools)]
        self._fields = settings.request_fields(asked)
        kept, _ = model.accepts(params)
        self._params = kept.without(self._adapter.UNSUPPORTED.intersection(kept.given()))
        self._answers = answers
        self._salt = cache_salt
        self._keys = None if answers is None else _key_space(model, settings)
        self._longest = _longest_answer(model, self._params, settings.extra_body)
        beside = [*map(described, asked.tools), *filter(None, [settings.extra_body])]
        extra = json.dumps([dict(one) for one in beside], default=str) if beside else ""
        self._extra = self.counter.count(extra).tokens

    def key(self, conversation: Conversation) -> str | None:
        """The request's key in the cache, None without one; `PromptError` if it cannot be made."""
        request = Request(conversation, self._params, **self._fields)
        http = self._adapter.encode(request, self.model)
        return None if self._keys is None else self._keys.key(http, self._salt)

    def add(self, requests: Sequence[tuple[Conversation, str | None]]) -> None:
        """Look up what may be in the cache and count the rest."""
        keys = [key for _, key in requests if key is not None]
        found = self._answers.find(keys) if self._answers is not None and keys else {}
        for conversation, key in requests:
            if key in found:
                self.sums.cached += 1
            else:
                self._count(conversation)

    def _count(self, conversation: Conversation) -> None:
        sums, counted = self.sums, self.counter.count(conversation)
        tokens = counted.tokens + self._extra
        low = math.floor(tokens / (1 + counted.error))
        high = math.ceil(tokens / (1 - counted.error))
        sums.calls += 1
        sums.input_tokens += tokens
        sums.off += tokens * counted.error
        sums.output_low += SHORTEST_ANSWER
        sums.output_high = _plus(sums.output_high, self._longest)
        prices = self.model.prices
        sums.cost_low = _plus(sums.cost_low, prices.cost(Usage(low, SHORTEST_ANSWER)))
        most = None if self._longest is None else prices.cost(Usage(high, self._longest))
        sums.cost_high = _plus(sums.cost_high, most)


def _prepared(prompt: Any, plans: Iterable[_Plan]) -> tuple[Conversation, list[str | None]]:
    try:
        conversation = Conversation.of(prompt)
        return conversation, [plan.key(conversation) for plan in plans]
    except DelugeError:
        raise
    except Exception as cause:  # a prompt so odd that no check of ours thought of it
        raise PromptError(f"this prompt cannot be used: {cause!r}") from cause


def _batches(items: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    while True:
        batch = list(itertools.islice(items, LOOKUPS))
        if not batch:
            return
        yield batch


def _addressed(model: Model) -> Model:
    """`model` with its address, or with a stand-in where its server would have to be started."""
    model = located(model)
    if model.provider.base_url:
        return model
    provider = dataclasses.replace(model.provider, base_url=NO_SERVER)
    return dataclasses.replace(model, provider=provider)


def _key_space(model: Model, settings: Settings) -> KeySpace | None:
    """Where this model's answers are in the cache; None where that takes a key we do not have."""
    provider = model.provider
    secret: Secret | None = None
    try:
        secret = settings.api_key or api_key_for(provider)
    except MissingKeyError:
        if settings.session is None and settings.cache_owner is None:
            return None
    return KeySpace(
        owner=owner_of(secret, settings.cache_owner),
        base_url=provider.base_url,
        server=provider.launch or provider.base_url,
    )


def _longest_answer(
    model: Model, params: SamplingParams, extra_body: Mapping[str, Any]
) -> int | None:
    """Tokens that one call may bring at most; None where nobody says."""
    longest = params.max_new_tokens or model.max_output_tokens
    choices = extra_body.get("n", 1)
    many = choices if type(choices) is int and choices > 0 else 1
    return None if longest is None else longest * many


def _summed_up(
    count: int, bad: int, reasons: tuple[str, ...], plans: Sequence[_Plan], settings: Settings
) -> Estimate:
    shares = _shares(settings.model_weights, len(plans))
    drawn = [(share, plan.sums) for share, plan in zip(shares, plans) if share]

    def expected(*numbers: float | None) -> float | None:
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            return None
        return math.fsum(share * number for (share, _), number in zip(drawn, known))

    tokens = expected(*(sums.input_tokens for _, sums in drawn)) or 0.0
    off = expected(*(sums.off for _, sums in drawn)) or 0.0
    low = expected(*(sums.output_low for _, sums in drawn)) or 0.0
    high = expected(*(sums.output_high for _, sums in drawn))
    cost_low = expected(*(sums.cost_low for _, sums in drawn))
    cost_high = expected(*(sums.cost_high for _, sums in drawn))
    most = [sums.cost_high for _, sums in drawn]
    dearest = max((cost for cost in most if cost is not None), default=None)
    return Estimate(
        prompts=count,
        bad=bad,
        reasons=reasons,
        cached=round(expected(*(sums.cached for _, sums in drawn)) or 0.0),
        input_tokens=round(tokens),
        output_tokens=(round(low), None if high is None else round(high)),
        cost=(cost_low, cost_high if cost_low is not None else None),
        dearest=None if None in most else dearest,
        seconds=_seconds(shares, plans, settings),
        method=" and ".join(dict.fromkeys(plan.counter.method for plan in plans)),
        error=off / tokens if tokens else 0.0,
    )


def _seconds(shares: Sequence[float], plans: Sequence[_Plan], settings: Settings) -> Range:
    """How long it takes at the limits: with the shortest answers, and with the longest."""
    fastest, slowest = 0.0, 0.0
    known = True
    client = _own_limits(settings, [plan.model for plan in plans])
    totals = _Load()
    for share, plan in zip(shares, plans):
        load = _Load.of(plan.sums, share)
        totals = totals.plus(load)
        provider = plan.model.provider
        limits = (
            provider.requests_per_minute or settings.max_requests_per_minute,
            provider.tokens_per_minute or settings.max_tokens_per_minute,
        )
        fastest = max(fastest, load.seconds(limits, high=False))
        slowest = max(slowest, load.seconds(limits, high=True))
        known = known and (plan.sums.output_high is not None or not share)
    width = settings.max_concurrent_requests
    fastest = max(fastest, totals.seconds(client, high=False), totals.answering(width, high=False))
    slowest = max(slowest, totals.seconds(client, high=True), totals.answering(width, high=True))
    return fastest, slowest if known else None


@dataclass(frozen=True)
class _Load:
    """What is sent and written in all."""

    calls: float = 0.0
    read: float = 0.0
    written_low: float = 0.0
    written_high: float = 0.0

    @classmethod
    def of(cls, sums: _Sums, share: float) -> _Load:
        high = sums.output_high or 0.0
        return cls(*(share * n for n in (sums.calls, sums.input_tokens, sums.output_low, high)))

    def plus(self, other: _Load) -> _Load:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return _Load(*(one + another for one, another in pairs))

    def seconds(self, limits: tuple[float | None, float | None], *, high: bool) -> float:
        """Seconds that limits of requests and of tokens per minute take for it."""
        requests, tokens = limits
        written = self.written_high if high else self.written_low
        by_requests = self.calls / requests if requests else 0.0
        by_tokens = (self.read + written) / tokens if tokens else 0.0
        return 60.0 * max(by_requests, by_tokens)

    def answering(self, width: int, *, high: bool) -> float:
        """Seconds for all the answers, `width` at a time."""
        if not self.calls:
            return 0.0
        each = (self.written_high if high else self.written_low) / self.calls / TOKENS_A_SECOND
        return (FIRST_TOKEN + each) * max(self.calls / width, 1.0)


def _own_limits(settings: Settings, models: Sequence[Model]) -> tuple[float | None, float | None]:
    """The client's limits per minute; a default steps back where every provider has its own, and
    with several models it is not the client's but each account's.
    """
    providers = [model.provider for model in models]
    requests, tokens = settings.max_requests_per_minute, settings.max_tokens_per_minute
    if "max_requests_per_minute" not in settings.named and (
        len(models) > 1 or all(provider.requests_per_minute is not None for provider in providers)
    ):
        requests = None
    if "max_tokens_per_minute" not in settings.named and (
        len(models) > 1 or all(provider.tokens_per_minute is not None for provider in providers)
    ):
        tokens = None
    return requests, tokens


def _shares(weights: Sequence[float] | str | None, count: int) -> list[float]:
    """What is asked of each model, where none of them fails; "dynamic" is not known before."""
    if weights == "fallback":
        return [1.0, *[0.0] * (count - 1)]
    if weights is None or isinstance(weights, str):
        return [1 / count] * count
    return [weight / sum(weights) for weight in weights]


def _plus(total: float | None, number: float | None) -> float | None:
    return None if total is None or number is None else total + number


def _between(numbers: Range, shown: Any) -> str:
    low, high = numbers
    if high is None:
        return f"at least {shown(low)}"
    return shown(low) if shown(low) == shown(high) else f"{shown(low)} to {shown(high)}"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.2g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.1f} h"
