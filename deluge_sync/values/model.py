"""A model and its provider, as the catalog describes them: data, never tests on a name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from .params import SamplingParams
from .response import Usage

ROUNDING = 1e-14
"""Of a sum of floats: more than the few units in the last place that its parts can lose."""


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens; None means unknown.

    `cached_input` is what a token read from the vendor's cache costs, `cache_write` one written to
    it (for five minutes at Anthropic, 30 at OpenAI), `cache_write_long_ttl` one written for longer
    (an hour, twelve hours). Output is billed alike whether the model was thinking or not.
    `per_search` is US dollars for one search of a rerank model that is billed that way.

    Above `long_context_above` input tokens, cache reads and writes included, the long prices hold
    for the whole request. What has none of its own (cache writes never do) keeps its ratio to the
    input price there: vendors state these prices as multiples of it. Output without a long price
    stays as it is.

    A batch pays `batch_input` and `batch_output`. All that is read takes the share that
    `batch_input` is of `input` (at Anthropic, OpenAI and xAI the discounts stack), also in the long
    tier; cache reads have their own share where there is a `batch_cached_input` (at Google they are
    not discounted). Where only one of `batch_input` and `batch_output` is given, the other side
    takes its share.

    A class without a price costs what its tokens would without a cache; a long write without one
    costs what a short one does.
    """

    input: float | None = None
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_long_ttl: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    batch_cached_input: float | None = None
    long_context_above: int | None = None
    long_input: float | None = None
    long_output: float | None = None
    long_cached_input: float | None = None
    per_search: float | None = None

    def cost(self, usage: Usage, *, batch: bool = False) -> float | None:
        """What `usage` costs in US dollars, or None where the prices are not known.

        `usage` is one request's. Parts that claim to be more than their whole count as the whole.
        """
        rates = self._rates(long=self._is_long(usage.input_tokens), batch=batch)
        if rates is None:
            return None
        reads = min(usage.cache_read_tokens, usage.input_tokens)
        writes = min(usage.cache_write_tokens, usage.input_tokens - reads)
        long_writes = min(usage.cache_write_long_tokens, writes)
        return (
            (usage.input_tokens - reads - writes) * rates.input
            + reads * rates.read
            + (writes - long_writes) * rates.write
            + long_writes * rates.write_long
            + usage.output_tokens * rates.output
        ) / 1e6

    def ceiling(
        self, input_tokens: int, output_tokens: int, *, batch: bool = False
    ) -> float | None:
        """What a request of at most that size costs at most, or None where that is not known.

        No `cost()` of a usage of that size is above it, whatever its classes.
        """
        tiers = [self._rates(long=False, batch=batch)]
        if self._is_long(input_tokens):
            tiers.append(self._rates(long=True, batch=batch))
        known = [rates for rates in tiers if rates is not None]
        if not known:
            return None
        reading = max(
            max(rates.input, rates.read, rates.write, rates.write_long) for rates in known
        )
        writing = max(rates.output for rates in known)
        return (input_tokens * reading + output_tokens * writing) / 1e6 * (1 + ROUNDING)

    def _is_long(self, input_tokens: int) -> bool:
        return self.long_context_above is not None and input_tokens > self.long_context_above

    def _rates(self, *, long: bool, batch: bool) -> _Rates | None:
        """The prices of a request, class by class, those it lacks filled in."""
        rates = self._long_rates if long else self._short_rates
        return self._batched(rates) if batch and rates is not None else rates

    @functools.cached_property  # asked for with each answer
    def _short_rates(self) -> _Rates | None:
        if self.input is None or self.output is None:
            return None
        read = _first(self.cached_input, self.input)
        write = _first(self.cache_write, self.input)
        write_long = _first(self.cache_write_long_ttl, write)
        return _Rates(self.input, self.output, read, write, write_long)

    @functools.cached_property
    def _long_rates(self) -> _Rates | None:
        rates = self._short_rates
        return None if rates is None else self._lengthened(rates)

    def _lengthened(self, rates: _Rates) -> _Rates:
        price = _first(self.long_input, rates.input)
        ratio = _share(price, rates.input)
        return _Rates(
            price,
            _first(self.long_output, rates.output),
            _first(self.long_cached_input, rates.read * ratio),
            rates.write * ratio,
            rates.write_long * ratio,
        )

    def _batched(self, rates: _Rates) -> _Rates | None:
        if self.input is None or self.output is None:
            return None
        if self.batch_input is None and self.batch_output is None:
            return None
        reading = None if self.batch_input is None else _share(self.batch_input, self.input)
        writing = None if self.batch_output is None else _share(self.batch_output, self.output)
        caching = None
        if self.batch_cached_input is not None:
            caching = _share(self.batch_cached_input, _first(self.cached_input, self.input))
        return rates.times(
            reading=_first(reading, writing),
            caching=_first(caching, reading, writing),
            writing=_first(writing, reading),
        )


class _Rates(NamedTuple):
    """US dollars per million tokens of each class, all known."""

    input: float
    output: float
    read: float
    write: float
    write_long: float

    def times(self, *, reading: float, caching: float, writing: float) -> _Rates:
        return _Rates(
            self.input * reading,
            self.output * writing,
            self.read * caching,
            self.write * reading,
            self.write_long * reading,
        )


def _first(*prices: float | None) -> float:
    """The first that is known; 0 where none is."""
    return next((price for price in prices if price is not None), 0.0)


def _share(price: float, of: float) -> float:
    """`price` as a multiple of another; of a price of 0 nothing can be told, so all of it."""
    return price / of if of else 1.0


class BatchApi(NamedTuple):
    """A provider's API for batches: jobs of many requests that it answers within a day or so.

    `wire` names the adapter ("openai", "anthropic", "gemini", "mistral"). One batch holds at most
    `max_requests` requests, and `max_bytes` bytes as they are sent; a request of its own at most
    `max_request_bytes`. `max_enqueued_tokens` is what the batches under way may hold together,
    None where nobody knows: what does not fit waits. `window` is how long the provider takes at
    most, in its own word.
    """

    wire: str
    max_requests: int
    max_bytes: int
    max_request_bytes: Optional[int] = None
    max_enqueued_tokens: Optional[int] = None
    window: str = "24h"


@dataclass(frozen=True)
class Provider:
    """Where and how one vendor is reached.

    `base_url` means what it means to that vendor's own SDK; each `{name}` in it is filled from the
    environment variables that `base_url_vars` lists for that name. `base_urls` are those of places
    that have another one, by the value of one of these names. `key_env` and `base_url_env`
    name environment variables, the first one set wins; an empty `key_env` means no key is needed.
    The key goes into `auth_header`, after `auth_prefix`. `auth` says what stands in for a key where
    there is none: "key" (nothing), "sigv4" (AWS credentials, which sign for `auth_service`),
    "google" (Google's application default credentials). `headers` are sent with every request.
    Plain HTTP is for loopback addresses unless `allow_http`. `launch` names the server that this
    library starts itself and that then gives the base URL ("sandbox", "local"); "" for none.
    `file_store` says whether files can be uploaded there, and named in prompts by their ids.
    `batch` is its API for batches, None for a provider that has none that we know of.
    """

    name: str
    adapter: str = "openai_chat"
    base_url: str = ""
    key_env: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    auth: str = "key"
    auth_service: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    base_url_vars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base_urls: Mapping[str, str] = field(default_factory=dict)
    allow_http: bool = False
    launch: str = ""
    file_store: bool = False
    batch: BatchApi | None = None


@dataclass(frozen=True)
class Model:
    """One model: its wire name, prices, windows and what it takes.

    `id` is the vendor's id, `provider` where it runs. `refuses` names the `SamplingParams` fields
    it does not take ("stream_options" too, with which Chat is asked for the usage of a stream).
    `effort_gated` names those it takes only while the reasoning effort is "none" (OpenAI from gpt-5
    on). `efforts` are the reasoning efforts it takes, () for a model without.
    `thinking` says how thinking is asked for: "" (cannot), "effort" (a word beside the prompt),
    "budget" (tokens), "level" (a word in a thinking block), "adaptive" (may be switched off),
    "always" (may not). `max_tokens_field` is the wire name of `max_new_tokens`, `seed_field` that
    of `seed`, where vendors of one wire format differ. `api_version` and `legacy_api_version` are
    header values for vendors that have them: the legacy one is what sampling parameters need.
    `tokenizer` is tiktoken's name of its vocabulary, "" where tiktoken does not have it.
    Models of one `limit_group` share their rate limits; empty means the model has its own.
    `streams` is False for a model that gives its answers whole only. `effort` is the one that the
    model's name asked for ("gpt-5.2-high"), where a call asks for none.
    `retires` is an ISO date, `successor` the model to move to.

    An embedding model takes `max_inputs` texts in one request, which hold `max_request_tokens`
    together, and each `context_window` at most; a rerank model `max_inputs` documents. None: nobody
    knows. `independent_scores` says that a rerank model scores each document on its own, so that a
    long list can be ranked in pieces.

    `listed` is False for an id that no configuration describes: it may be a model of any mode.
    `dimensions_field` is the wire name of an embedding request's `dimensions`, where vendors of one
    wire format differ.

    A host that speaks a vendor's wire format under another path gives it as `path`, for streams as
    `stream_path`; `{id}` in it is the model's id. The fields of the body that such a path stands
    for are `in_path` ("model", "stream"), and `version_field` is the one that `api_version` goes
    into in place of a header. Where these are empty, all is as at the vendor's own.
    """

    id: str
    provider: Provider
    mode: str = "chat"
    aliases: tuple[str, ...] = ()
    prices: Prices = Prices()
    context_window: int | None = None
    max_output_tokens: int | None = None
    refuses: frozenset[str] = frozenset()
    effort_gated: frozenset[str] = frozenset()
    efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    thinking: str = ""
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    dimensions_field: str = "dimensions"
    api_version: str | None = None
    legacy_api_version: str | None = None
    endpoints: tuple[str, ...] = ()
    supports: frozenset[str] = frozenset()
    prompt_cache_min_tokens: int | None = None
    embedding_size: int | None = None
    max_inputs: int | None = None
    max_request_tokens: int | None = None
    independent_scores: bool = False
    tokenizer: str = ""
    limit_group: str = ""
    streams: bool = True
    effort: str | None = None
    path: str = ""
    stream_path: str = ""
    in_path: frozenset[str] = frozenset()
    version_field: str = ""
    retires: str | None = None
    successor: str | None = None
    listed: bool = True

    @functools.cached_property
    def name(self) -> str:
        """`provider/id`, the one unambiguous name."""
        return f"{self.provider.name}/{self.id}"

    def accepts(self, params: SamplingParams) -> tuple[SamplingParams, tuple[str, ...]]:
        """`params` as this model takes them, and the names of those that had to be dropped."""
        if self.effort is not None and params.reasoning_effort is None:
            params = params.merged({"reasoning_effort": self.effort})
        given = params.given()
        refused = set(self.refuses.intersection(given))
        effort = params.reasoning_effort
        if effort is not None and effort not in self.efforts:
            refused.add("reasoning_effort")
            effort = None
        if (effort or self.default_effort) != "none":
            refused |= self.effort_gated.intersection(given)
        if params.temperature == 1 and "temperature" in self.effort_gated:
            refused.discard("temperature")
        if not refused:
            return params, ()
        return params.without(frozenset(refused)), tuple(sorted(refused))
