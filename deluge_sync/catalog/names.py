"""Which name means which model. `provider/id` is the one name that always does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..values.errors import ConfigError
from .specs import suggestion


def is_name(name: str) -> bool:
    """Whether this is `provider/id` with an id that can go over the wire."""
    identity = name.partition("/")[2]
    return bool(identity) and identity.isprintable() and " " not in identity


def canonical_name(
    key: str, fields: Mapping[str, Any], names: Mapping[str, str], providers: Iterable[str]
) -> str:
    """`provider/id` of the entry under `key`, which may be any name where `fields` has a provider.

    Without one, the key is `provider/id` itself or one of the `names` there are already.
    """
    provider = fields.get("provider")
    if provider is None and "id" in fields:
        raise ConfigError(f"models.{key}.id needs provider beside it")
    head, slash, _ = key.partition("/")
    if provider is not None:
        if provider not in providers:
            hint = suggestion(provider, providers)
            raise ConfigError(f"models.{key}.provider: no provider {provider!r}{hint}")
        name = f"{provider}/{fields.get('id', key)}"
    elif slash and head in providers:
        name = key
    elif key in names:
        name = names[key]
    else:
        hint = suggestion(head, providers) if slash else suggestion(key, names)
        raise ConfigError(f"models.{key}: no such model, and no provider that runs it{hint}")
    if not is_name(name):
        raise ConfigError(f"models.{key}: the id of a model must be text without blanks")
    return name


def named(
    below: Mapping[str, str],
    models: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, str],
    providers: Iterable[str],
) -> dict[str, str]:
    """The names `below` and those of `models`: ids, aliases and the `keys` of their entries.

    New names win over those below; an id that several providers have belongs to the first of them.
    Two new models that share another name are a `ConfigError`.
    """
    known = set(below.values())
    result = {**below, **_bare_ids(below, [m for m in models if m not in known], providers)}
    new = {name: model for name, model in result.items() if below.get(name) != model}
    wanted = [(key, model) for key, model in keys.items()]
    wanted += [(alias, model) for model in models for alias in models[model].get("aliases", ())]
    for name, model in wanted:
        if new.setdefault(name, model) != model:
            raise ConfigError(f"models: {name!r} would name both {new[name]} and {model}")
    return {**result, **new}


def _bare_ids(
    below: Mapping[str, str], models: Iterable[str], providers: Iterable[str]
) -> dict[str, str]:
    """The ids of new `models` without their provider, where they win over the names `below`.

    One that begins with a provider's name is left out: `openai/x` always means that provider.
    """
    order = {provider: place for place, provider in enumerate(providers)}
    found: dict[str, str] = {}
    for model in models:
        provider, _, identity = model.partition("/")
        if "/" in identity and identity.partition("/")[0] in order:
            continue
        other, _, other_identity = found.get(identity, below.get(identity, "")).partition("/")
        if other_identity != identity or order[provider] < order[other]:
            found[identity] = model
    return found
