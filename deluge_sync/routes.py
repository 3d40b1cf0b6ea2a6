"""From a client's settings to what its calls use in this process."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Mapping
from datetime import date
from typing import Any

from ._version import __version__
from .adapters import ADAPTERS
from .call import Route
from .catalog import Catalog, api_key_for, located, retirement_notice
from .engine.lane import Lane
from .engine.retry import RetryPolicy
from .engine.runtime import Runtime
from .launch import launched_url
from .settings import Settings
from .values.errors import ConfigError, DelugeWarning
from .values.model import Model
from .values.params import SamplingParams
from .values.secret import Credential, Secret

USER_AGENT = f"deluge-sync/{__version__}"

_warned: set[tuple[str, ...]] = set()


def resolve_models(settings: Settings, catalog: Catalog) -> tuple[Model, ...]:
    """The models of `settings.model_names`; each must be one we can talk to."""
    models = tuple(catalog.model(name, base_url=settings.base_url) for name in settings.model_names)
    for model in models:
        if model.mode != "chat" or model.provider.adapter not in ADAPTERS:
            raise ConfigError(
                f"{model.name} cannot be called for chat: it is a model for {model.mode} "
                f"over {model.provider.adapter!r}"
            )
        notice = retirement_notice(model, date.today())
        if notice:
            warn_once(notice)
    return models


def warn_once(*words: str) -> None:
    """Warn the user, once per process for the same words."""
    if words not in _warned:
        _warned.add(words)
        warnings.warn("".join(words), DelugeWarning, stacklevel=4)


class _Choice:
    """The two routes to a model: within the client's own limits, and without them.

    `route` is the one in use; it was chosen when the account's lane had been widened `widenings`
    times.
    """

    def __init__(self, bounded: Route) -> None:
        self.bounded = self.route = bounded
        self.direct = dataclasses.replace(bounded, lanes=bounded.lanes[-1:])
        self.widenings = -1


class Routes:
    """The routes of one client in one process; each is made when its model is first called.

    A call draws from the account's lane. It draws from the client's own limits too, and first,
    where these could be the tighter ones: with several models, or once another client has named
    larger limits for the account.
    """

    def __init__(self, settings: Settings, models: tuple[Model, ...], runtime: Runtime) -> None:
        self._settings = settings
        self._models = models
        self._runtime = runtime
        self._choices: dict[str, _Choice] = {}
        self._params: dict[tuple[str, SamplingParams], SamplingParams] = {}
        self._named = _named_limits(settings, models)
        self.own_limits = Lane(
            "this client's own limits",
            self._named,
            max_in_flight=settings.max_concurrent_requests,
        )

    def draw(self) -> Route:
        """A route by the models' weights."""
        if len(self._models) == 1:
            return self.to(self._models[0])
        return self.to(random.choices(self._models, self._settings.model_weights)[0])

    def to(self, model: Model) -> Route:
        """The route to `model`."""
        choice = self._choices.get(model.name)
        if choice is None:
            choice = self._choices.setdefault(model.name, _Choice(self._make(model)))
        account = choice.bounded.lanes[-1]
        if choice.widenings != account.widenings:
            choice.widenings = account.widenings
            most = self._settings.max_concurrent_requests
            binding = len(self._models) > 1 or account.grants_more_than(self._named, most)
            choice.route = choice.bounded if binding else choice.direct
        return choice.route

    def accepted(self, params: SamplingParams, route: Route) -> SamplingParams:
        """`params` without what the model does not take; warns once about those."""
        key = (route.model.name, params)
        if key not in self._params:
            kept, refused = route.model.accepts(params)
            unknown = route.adapter.UNSUPPORTED.intersection(kept.given())
            dropped = sorted({*refused, *unknown})
            if dropped:
                warn_once(f"{route.model.name} does not take {', '.join(dropped)}: not sent")
            self._params[key] = kept.without(frozenset(unknown)) if unknown else kept
        return self._params[key]

    def check(self) -> None:
        """Raise what is wrong with any of the models (a missing key) before anything is sent."""
        for model in self._models:
            self.to(model)

    def status(self) -> str:
        """A few words on what is under way and what holds the next call back."""
        accounts = [choice.bounded.lanes[-1] for choice in tuple(self._choices.values())]
        waits = (lane.bottleneck() for lane in (self.own_limits, *accounts))
        limit = next(filter(None, waits), "")
        words = f"{sum(lane.in_flight for lane in accounts)} in flight"
        return f"{words}, limited by {limit}" if limit else words

    def _make(self, model: Model) -> Route:
        model = _reachable(model)
        secret = self._settings.api_key or api_key_for(model.provider)
        return Route(
            model=model,
            adapter=ADAPTERS[model.provider.adapter],
            credentials=_credentials(model, secret),
            lanes=(self.own_limits, self._lane(model, secret)),
            transport=self._transport(),
            policy=RetryPolicy(max_attempts=self._settings.max_attempts),
            request_timeout=self._settings.request_timeout,
        )

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

    def _transport(self) -> Any:
        # Imported when first called: urllib3 and requests are slow to import, and many programs
        # that import this package never call.
        settings = self._settings
        if settings.session is not None:
            from .engine.session_transport import SessionTransport

            return SessionTransport(settings.session)
        from .engine.transport import PooledTransport

        proxies = tuple(sorted(settings.proxies.items())) if settings.proxies else None
        return self._runtime.transport(
            (settings.verify, proxies),
            lambda: PooledTransport(
                verify=settings.verify, proxies=settings.proxies, user_agent=USER_AGENT
            ),
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


def _provider_limits(model: Model) -> Mapping[str, float | None]:
    provider = model.provider
    return {"requests": provider.requests_per_minute, "tokens": provider.tokens_per_minute}


def _credentials(model: Model, secret: Secret | None) -> tuple[Credential, ...]:
    if secret is None:
        return ()
    return (Credential(model.provider.auth_header, model.provider.auth_prefix, secret),)
