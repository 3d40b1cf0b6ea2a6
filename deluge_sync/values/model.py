"""A model and its provider, as the catalog describes them: data, never tests on a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .params import SamplingParams
from .response import Usage


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens; None means unknown.

    Above `long_context_above` input tokens the `long_*` prices hold for the whole request.
    `per_search` is US dollars for one search of a rerank model that is billed that way.
    """

    input: float | None = None
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_long_ttl: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    long_context_above: int | None = None
    long_input: float | None = None
    long_output: float | None = None
    long_cached_input: float | None = None
    per_search: float | None = None

    def cost(self, usage: Usage) -> float | None:
        """What `usage` costs in US dollars, or None where the prices are not known."""
        if self.input is None or self.output is None:
            return None
        tier = self._tier(usage.input_tokens)
        fresh = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        write = self.cache_write if self.cache_write is not None else tier[0]
        return (
            fresh * tier[0]
            + usage.cache_read_tokens * tier[2]
            + usage.cache_write_tokens * write
            + usage.output_tokens * tier[1]
        ) / 1e6

    def ceiling(self, input_tokens: int, output_tokens: int) -> float | None:
        """What a request of at most that size costs at most, or None where that is not known."""
        if self.input is None or self.output is None:
            return None
        reading: list[float | None] = [
            self.input,
            self.cached_input,
            self.cache_write,
            self.cache_write_long_ttl,
        ]
        writing: list[float | None] = [self.output]
        if self.long_context_above is not None and input_tokens > self.long_context_above:
            reading += [self.long_input, self.long_cached_input]
            writing += [self.long_output]
        return (input_tokens * _dearest(reading) + output_tokens * _dearest(writing)) / 1e6

    def _tier(self, input_tokens: int) -> tuple[float, float, float]:
        """Input, output and cached-input price of a request of that size."""
        price_in, price_out = self.input or 0.0, self.output or 0.0
        cached = self.cached_input
        if self.long_context_above is not None and input_tokens > self.long_context_above:
            price_in = self.long_input if self.long_input is not None else price_in
            price_out = self.long_output if self.long_output is not None else price_out
            cached = self.long_cached_input if self.long_cached_input is not None else cached
        return price_in, price_out, cached if cached is not None else price_in


def _dearest(prices: Sequence[float | None]) -> float:
    return max(price for price in prices if price is not None)


@dataclass(frozen=True)
class Provider:
    """Where and how one vendor is reached.

    `base_url` means what it means to that vendor's own SDK; each `{name}` in it is filled from the
    environment variables that `base_url_vars` lists for that name. `key_env` and `base_url_env`
    name environment variables, the first one set wins; an empty `key_env` means no key is needed.
    The key goes into `auth_header`, after `auth_prefix`. `headers` are sent with every request.
    Plain HTTP is for loopback addresses unless `allow_http`. `launch` names the server that this
    library starts itself and that then gives the base URL ("sandbox", "local"); "" for none.
    """

    name: str
    adapter: str = "openai_chat"
    base_url: str = ""
    key_env: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    auth_header: str = "Authorization"
    auth_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    base_url_vars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allow_http: bool = False
    launch: str = ""


@dataclass(frozen=True)
class Model:
    """One model: its wire name, prices, windows and what it takes.

    `id` is the vendor's id, `provider` where it runs. `refuses` names the `SamplingParams` fields
    it does not take. `effort_gated` names those it takes only while the reasoning effort is "none"
    (OpenAI from gpt-5 on). `efforts` are the reasoning efforts it takes, () for a model without.
    `thinking` says how thinking is asked for: "" (cannot), "effort" (a word beside the prompt),
    "budget" (tokens), "level" (a word in a thinking block), "adaptive" (may be switched off),
    "always" (may not). `max_tokens_field` is the wire name of `max_new_tokens`, `seed_field` that
    of `seed`, where vendors of one wire format differ. `api_version` and `legacy_api_version` are
    header values for vendors that have them: the legacy one is what sampling parameters need.
    Models of one `limit_group` share their rate limits; empty means the model has its own.
    `retires` is an ISO date, `successor` the model to move to.
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
    api_version: str | None = None
    legacy_api_version: str | None = None
    endpoints: tuple[str, ...] = ()
    supports: frozenset[str] = frozenset()
    prompt_cache_min_tokens: int | None = None
    embedding_size: int | None = None
    limit_group: str = ""
    retires: str | None = None
    successor: str | None = None

    @property
    def name(self) -> str:
        """`provider/id`, the one unambiguous name."""
        return f"{self.provider.name}/{self.id}"

    def accepts(self, params: SamplingParams) -> tuple[SamplingParams, tuple[str, ...]]:
        """`params` as this model takes them, and the names of those that had to be dropped."""
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
