"""From a client's settings to what its calls use in this process."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .adapters import ADAPTERS, EMBEDDERS, RERANKERS, EmbedAdapter, RerankAdapter
from .cache import Answers, KeySpace, owner_of
from .call import AnyCall, CallRoute
from .catalog import Catalog, api_key_for, located, retirement_notice
from .engine.cancellation import Cancellation
from .engine.lane import Lane
from .engine.retry import RetryPolicy
from .engine.runtime import Runtime
from .launch import launched_url
from .notices import warn_once
from .options import adapter_of, embedder_of, kind_of, reranker_of
from .outlay import unpriced
from .route import Route
from .settings import Settings
from .signing import signer_of
from .uploads import Uploads
from .values.errors import ConfigError, DelugeError, MissingKeyError, PromptError
from .values.media import Media
from .values.model import Model
from .values.params import SamplingParams
from .values.prompt import Conversation
from .values.response import Answer
from .values.secret import Credential, Secret

if TYPE_CHECKING:
    from .fetching import Fetcher

USER_AGENT = f"deluge-sync/{__version__}"

MOST_NAMED = 5
"""Models that an error proposes."""

MOST_ERRANDS = 16
"""Requests for batches and files under way at a time."""

MOST_PARAMS = 1_024
"""Sets of sampling parameters remembered: a seed of its own for each call makes many."""


def resolve_models(settings: Settings, catalog: Catalog) -> tuple[Model, ...]:
    """The models of `settings.model_names`; each must be one we can talk to."""
    models = tuple(catalog.model(name, base_url=settings.base_url) for name in settings.model_names)
    kinds = {kind_of(model): model.name for model in models}
    if len(kinds) > 1:
        told = ", ".join(f"{name} is one for {kind}" for kind, name in kinds.items())
        raise ConfigError(f"the models of one client must be of one kind: {told}")
    for model in models:
        notice = retirement_notice(model, date.today())
        if notice:
            warn_once(notice)
        if settings.max_cost is not None:
            check_priced(model)
    return models


def check_priced(model: Model) -> None:
    """Raise `ConfigError` for a model that a budget cannot be kept with."""
    per_search = model.mode == "rerank" and model.prices.per_search is not None
    if model.prices.ceiling(1, 1) is None and not per_search:
        raise ConfigError(unpriced(model))


@functools.lru_cache(maxsize=64)
def _others_with(word: str) -> str:
    """Models of the catalog that have `word` among what they support, the first few."""
    having = [
        model.name
        for model in Catalog.builtin().models()
        if word in model.supports and not model.provider.launch
    ]
    more = f" and {len(having) - MOST_NAMED} more" if len(having) > MOST_NAMED else ""
    return (", ".join(having[:MOST_NAMED]) or "none of the catalog") + more


class Routes:
    """The routes of one client in one process; each is made when its model is first called.

    A call draws from the client's own limits first, then from the account's lane.
    """

    def __init__(self, settings: Settings, models: tuple[Model, ...], runtime: Runtime) -> None:
        self._settings = settings
        self._models = models
        self._runtime = runtime
        self._routes: dict[tuple[str, str | None, bool | None, bool], CallRoute] = {}
        self._others: dict[tuple[str, str], Route[Any]] = {}
        self._params: dict[tuple[int, SamplingParams], SamplingParams] = {}
        self._latest: tuple[CallRoute | None, SamplingParams, SamplingParams]
        self._latest = (None, SamplingParams(), SamplingParams())
        self._named = _named_limits(settings, models)
        self.answers = _answers(settings, runtime)
        self._fetcher: Fetcher | None = None
        self._uploads = Uploads(runtime.flights("uploads"), settings.cache)
        self.are_several = len(models) > 1
        self.are_dynamic = settings.model_weights == "dynamic"
        self.own_limits = Lane(
            "this client's own limits",
            _own_limits(settings, models, self._named),
            max_in_flight=settings.max_concurrent_requests,
        )

    def draw(self, *, responses_api: bool | None = None, tools: bool = False) -> CallRoute:
        """The route to the only model, or to the first of several."""
        return self.to(self._models[0], responses_api=responses_api, tools=tools)

    def in_order(
        self, preferred: Model | None, *, responses_api: bool | None = None, tools: bool = False
    ) -> tuple[list[CallRoute], dict[str, DelugeError]]:
        """The routes of one call, the one to try first first; and why some models have none.

        By weights the order is drawn: of those that are up, each is first as often as its weight
        says. A model of weight 0 comes last.
        """
        self.check()  # a key that is missing shows at once, not when its model is drawn
        routes: list[CallRoute] = []
        lacking: dict[str, DelugeError] = {}
        for model in sorted(self._drawn(), key=lambda model: model is not preferred):
            try:
                routes.append(self.to(model, responses_api=responses_api, tools=tools))
            except ConfigError as error:
                lacking[model.name] = error
        return routes, lacking

    def _drawn(self) -> Iterable[Model]:
        weights = self._settings.model_weights
        if isinstance(weights, str):
            return self._models
        if weights is None:
            return random.sample(self._models, len(self._models))
        # Each waits for an exponential time, with its weight as the rate: the first is drawn by
        # weight, and so is the first of any part of them.
        waits = [
            (random.expovariate(weight) if weight else math.inf, at)
            for at, weight in enumerate(weights)
        ]
        return [self._models[at] for _, at in sorted(waits)]

    def preferred(self, name: str | None, last: str | None = None) -> Model | None:
        """The model that `prefer_model` means; `last` gave the conversation's last response.

        `ConfigError` for a name that is none of this client's.
        """
        if name is None:
            return None
        if name == "last":
            return next((model for model in self._models if model.name == last), None)
        for given, model in zip(self._settings.model_names, self._models):
            if name in (given, model.name):
                return model
        for model in self._models:
            if name == model.id or name in model.aliases:
                return model
        known = ", ".join(self._settings.model_names)
        raise ConfigError(f"prefer_model must be 'last' or one of {known}, not {name!r}")

    def nobody(self, lacking: Mapping[str, DelugeError], needs: Iterable[str]) -> DelugeError:
        """The error of a call that none of the models can be asked, with what each lacks.

        `needs` are words of `Model.supports`. Where it is the prompt that one of them cannot take,
        it is a `PromptError`: other prompts may do.
        """
        reasons = [
            error.message if error.message.startswith(name) else f"{name}: {error.message}"
            for name, error in lacking.items()
        ]
        for word in needs:
            having = [model.name for model in self._models if word in model.supports]
            if len(having) == len(self._models):
                continue  # it is something else that they lack
            who = ", ".join(having) or f"none of them, but by {_others_with(word)}"
            reasons.append(f"{word} is supported by {who}")
        text = "no model of this client can answer this call: " + "; ".join(reasons)
        of_prompt = any(isinstance(error, PromptError) for error in lacking.values())
        return PromptError(text) if of_prompt else ConfigError(text)

    def to(
        self, model: Model, *, responses_api: bool | None = None, tools: bool = False
    ) -> CallRoute:
        """The route to `model`, over OpenAI's Responses API where that is asked for or needed."""
        key = (model.name, model.effort, responses_api, tools)
        route = self._routes.get(key)
        if route is None:
            adapter = adapter_of(model, responses_api, tools=tools)
            made: CallRoute = self._make(model, adapter, ADAPTERS[adapter])
            route = self._routes.setdefault(key, made)
        return route

    def embedder(self, model: Model) -> Route[EmbedAdapter]:
        """The route to `model` for embeddings; `ConfigError` for one that gives none."""
        return self._other(model, embedder_of(model), EMBEDDERS)

    def reranker(self, model: Model) -> Route[RerankAdapter]:
        """The route to `model` for rankings; `ConfigError` for one that gives none."""
        return self._other(model, reranker_of(model), RERANKERS)

    def _other(self, model: Model, wire: str, adapters: Mapping[str, Any]) -> Route[Any]:
        key = (model.name, wire)
        route = self._others.get(key)
        if route is None:
            self._check_its_key(model)
            made = self._make(model, wire, adapters[wire])
            route = self._others.setdefault(key, made)
        return route

    def _check_its_key(self, model: Model) -> None:
        """Raise `ConfigError` for a model of another vendor than the client's `api_key` is for. At
        a `base_url` all models are one vendor's.
        """
        settings = self._settings
        providers = {own.provider.name for own in self._models}
        if settings.api_key is None or settings.base_url is not None:
            return
        if model.provider.name not in providers:
            raise ConfigError(
                f"{model.name} needs a client of its own: this one's api_key is for "
                f"{', '.join(sorted(providers))}"
            )

    def over(self, model: Model, wire: str) -> CallRoute:
        """The route to `model` over the wire format of that name."""
        return self.to(model, responses_api=wire == "openai_responses")

    def for_batches(self, route: Route[Any]) -> Route[Any]:
        """The same route for batches and their files: these have limits of their own, and a queue
        that is full says nothing of live calls.
        """
        provider = route.model.provider
        key = (provider.name, provider.base_url, route.credentials, "batches")
        name = f"{provider.name}/batches"
        lane = self._runtime.lane(key, lambda: Lane(name, {}, max_in_flight=MOST_ERRANDS))
        return dataclasses.replace(route, lanes=(lane,))

    def accepted(
        self, params: SamplingParams, route: CallRoute, *, strict: bool = False
    ) -> SamplingParams:
        """`params` without what the model does not take; warns once about those, or with `strict`
        raises `ConfigError`.
        """
        latest, given, taken = self._latest
        if given is params and latest is route and not strict:
            return taken
        key = (id(route), params)  # routes are kept as long as this
        accepted = self._params.get(key)
        if accepted is None or strict:
            kept, refused = route.model.accepts(params)
            unknown = route.adapter.UNSUPPORTED.intersection(kept.given())
            if refused or unknown:
                remark = _remark(route.model, params, refused, unknown)
                if strict:
                    raise ConfigError(remark)
                warn_once(f"{remark}: not sent")
            accepted = kept.without(frozenset(unknown)) if unknown else kept
            if len(self._params) >= MOST_PARAMS:
                self._params.clear()
            self._params[key] = accepted
        self._latest = (route, params, accepted)
        return accepted

    def find(self, call: AnyCall) -> Answer | None:
        """The answer to a call where the cache holds it."""
        if self.answers is None or not call.keys:
            return None
        return call.find_in(self.answers.find(call.keys))

    def upload(self, part: Media, *, deadline: float, cancellation: Cancellation) -> Media:
        """`part` with the id it has in the file store of this client's provider."""
        if len({model.provider.name for model in self._models}) > 1:
            raise ConfigError("a file is uploaded to one provider: use a client of one")
        return self._uploads.upload(
            part, self.to(self._models[0]), deadline=deadline, cancellation=cancellation
        )

    def fetched(
        self, conversation: Conversation, *, deadline: float, cancellation: Cancellation
    ) -> Conversation:
        """`conversation` with the files in it that we are to fetch."""
        if self._fetcher is None:
            # Imported when first needed: it brings urllib3 with it.
            from .engine.trust import Trust
            from .fetching import Fetcher

            settings = self._settings
            self._fetcher = Fetcher(trust=Trust(settings.verify), proxies=settings.proxies)
        return self._fetcher.fetch_all(conversation, deadline=deadline, cancellation=cancellation)

    def check(self) -> None:
        """Raise what is wrong with any of the models (a missing key) before anything is sent."""
        for model in self._models:
            self.to(model)

    def status(self) -> str:
        """A few words on what is under way and what holds the next call back."""
        routes = (*self._routes.values(), *self._others.values())
        accounts = (route.lanes[-1] for route in routes)
        waits = (lane.bottleneck() for lane in (self.own_limits, *accounts))
        limit = next(filter(None, waits), "")
        words = f"{self.own_limits.in_flight} in flight"
        return f"{words}, limited by {limit}" if limit else words

    def _make(self, model: Model, wire: str, adapter: Any) -> Route[Any]:
        model = _reachable(model)
        secret = self._secret(model)
        signer = signer_of(model.provider) if secret is None else None
        if signer is not None and self.answers is not None and self._settings.cache_owner is None:
            raise ConfigError(
                f"a cache for {model.name} needs cache_owner: whose answers they are cannot be "
                "told from credentials that change"
            )
        return Route(
            model=model,
            adapter=adapter,
            credentials=_credentials(model, secret),
            lanes=(self.own_limits, self._lane(model, secret)),
            transport=self._transport(model),
            policy=RetryPolicy(max_attempts=self._settings.max_attempts),
            request_timeout=self._settings.request_timeout,
            keys=KeySpace(
                owner=owner_of(secret, self._settings.cache_owner),
                base_url=model.provider.base_url,
                server=model.provider.launch or model.provider.base_url,
            ),
            wire=wire,
            answers=self.answers,
            signer=signer,
        )

    def _secret(self, model: Model) -> Secret | None:
        """The key; there may be none where the user's own session or a signer authorizes."""
        try:
            return self._settings.api_key or api_key_for(model.provider)
        except MissingKeyError:
            if self._settings.session is None and model.provider.auth == "key":
                raise
            return None

    def _lane(self, model: Model, secret: Secret | None) -> Lane:
        group = model.limit_group or model.id
        key = (model.provider.name, model.provider.base_url, secret, group)
        lane = self._runtime.lane(
            key,
            lambda: Lane(
                f"{model.provider.name}/{group}",
                _provider_limits(model),
                max_in_flight=0,
            ),
        )
        fixed = _provider_limits(model)
        named = {name: limit for name, limit in self._named.items() if fixed[name] is None}
        lane.widen(named, self._settings.max_concurrent_requests)
        return lane

    def _transport(self, model: Model) -> Any:
        # Imported when first called: urllib3 and requests are slow to import, and many programs
        # that import this package never call.
        settings = self._settings
        if settings.session is not None:
            from .engine.session_transport import SessionTransport

            return SessionTransport(settings.session)
        from .engine.transport import PooledTransport

        proxies = tuple(sorted(settings.proxies.items())) if settings.proxies else None
        ours = bool(model.provider.launch)  # on this machine: no proxy would find it
        return self._runtime.transport(
            (settings.verify, proxies, ours),
            lambda: PooledTransport(
                verify=settings.verify,
                proxies=settings.proxies,
                use_environment=not ours,
                user_agent=USER_AGENT,
            ),
        )


def _remark(
    model: Model, params: SamplingParams, refused: Iterable[str], unknown: Iterable[str]
) -> str:
    """What cannot be sent, and why."""
    words = sorted({*refused, *unknown})
    if "reasoning_effort" in words:
        effort = params.reasoning_effort or model.effort
        known = ", ".join(model.efforts) or "none at all"
        words[words.index("reasoning_effort")] = f"reasoning_effort={effort!r} (it takes {known})"
    return f"{model.name} does not take {', '.join(words)}{_over_wire(unknown)}"


def _over_wire(unknown: Iterable[str]) -> str:
    names = sorted(unknown)
    return f" ({' and '.join(names)}: not in this API)" if names else ""


def _answers(settings: Settings, runtime: Runtime) -> Answers | None:
    """The cache, if there is one; requests under way are known to all clients that share it."""
    if settings.cache is None:
        return None
    return Answers(
        settings.cache,
        runtime.flights(settings.cache.place),
        tags=(f"run:{settings.name}",) if settings.name else (),
        incomplete=settings.cache_incomplete,
    )


def _reachable(model: Model) -> Model:
    """`model` with the address of its server, which is started where that is ours to do."""
    model = located(model)
    if model.provider.base_url:
        return model
    provider = dataclasses.replace(model.provider, base_url=launched_url(model.provider))
    return dataclasses.replace(model, provider=provider)


def _named_limits(settings: Settings, models: tuple[Model, ...]) -> Mapping[str, float | None]:
    """The limits this client names; a default is not named where every provider has its own."""
    named = {
        "requests": settings.max_requests_per_minute,
        "tokens": settings.max_tokens_per_minute,
    }
    for name in ("requests", "tokens"):
        if f"max_{name}_per_minute" not in settings.named and all(
            _provider_limits(model)[name] is not None for model in models
        ):
            named[name] = None
    return named


def _own_limits(
    settings: Settings, models: tuple[Model, ...], named: Mapping[str, float | None]
) -> Mapping[str, float | None]:
    """The limits on all calls of this client together.

    With several models the defaults are each account's: they protect one nobody knows the limits
    of, and together the models may do more.
    """
    if len(models) == 1:
        return named
    return {
        name: limit if f"max_{name}_per_minute" in settings.named else None
        for name, limit in named.items()
    }


def _provider_limits(model: Model) -> Mapping[str, float | None]:
    provider = model.provider
    return {"requests": provider.requests_per_minute, "tokens": provider.tokens_per_minute}


def _credentials(model: Model, secret: Secret | None) -> tuple[Credential, ...]:
    if secret is None:
        return ()
    return (Credential(model.provider.auth_header, model.provider.auth_prefix, secret),)
