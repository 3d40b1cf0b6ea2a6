"""The catalog: from a model's name to what is known about it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..values.errors import ConfigError, UnknownModelError
from ..values.model import BatchApi, Model, Prices, Provider
from ..values.params import EFFORTS
from .environment import check_url
from .load import CONFIG_ENV, Entries, Source, builtin_entries, overlay, read_source
from .names import is_name
from .specs import suggestion

# Of a model nobody described nothing is refused: what the caller asks for is sent.
_UNKNOWN: Mapping[str, Any] = {
    "thinking": "effort",
    "efforts": EFFORTS,
    "supports": (
        "vision",
        "pdf",
        "audio_in",
        "tools",
        "forced_tool_choice",
        "json_schema",
        "reasoning",
        "prompt_caching",
        "web_search",
        "dimensions",
        # OpenAI's own SDK asks every compatible host for it, unasked.
        "base64_vectors",
    ),
}
_SETS = ("refuses", "effort_gated", "supports", "in_path")


class Catalog:
    """Providers and models by name. It never changes; threads share it freely.

    A model is found by `provider/id`, by its bare id (of the first provider that has it) and by
    its aliases; a reasoning effort may stand behind its name ("gpt-5.2-high").
    `provider/anything` is a model too, with what is known of that provider.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._providers = {
            name: _provider(name, fields) for name, fields in entries.providers.items()
        }

    @staticmethod
    @lru_cache(maxsize=1)
    def builtin() -> Catalog:
        """What this library knows, without any configuration of the user's."""
        return Catalog(builtin_entries())

    def with_overrides(
        self, source: Source | None, *, environ: Mapping[str, str] | None = None
    ) -> Catalog:
        """This catalog with a configuration over it: fields it does not name stay as they are."""
        if source is None:
            return self
        sections = read_source(source, os.environ if environ is None else environ)
        return Catalog(overlay(self._entries, sections))

    def model(self, name: str, *, base_url: str | None = None) -> Model:
        """The model of that name, at `base_url` where one is given.

        With a `base_url`, a name that is not known is an id at the provider "custom", any
        OpenAI-compatible server. An `UnknownModelError` suggests names that are close.
        """
        if not isinstance(name, str):
            raise ConfigError(f"a model is named by text, not by {type(name).__name__}")
        found, effort = self._find(name), None
        if found not in self._entries.models:
            found, effort = self._with_effort(name) or (found, None)
        if found is None and base_url is not None:
            found = f"custom/{name}"
        if found is None or not is_name(found):
            raise UnknownModelError(f"no model {name[:100]!r}{self._hint(name)}")
        model = self._build(found)
        if effort is not None:
            if effort not in model.efforts:
                known = ", ".join(model.efforts) or "no effort at all"
                raise UnknownModelError(
                    f"{model.name} has no effort {effort!r} (it takes: {known})"
                )
            model = dataclasses.replace(model, effort=effort)
        return model if base_url is None else _moved(model, base_url)

    def models(self, provider: str | None = None) -> list[Model]:
        """All models, or those of one provider, in the order of the configuration."""
        if provider is not None:
            self.provider(provider)
        return [
            self._build(name)
            for name in self._entries.models
            if provider in (None, name.partition("/")[0])
        ]

    def provider(self, name: str) -> Provider:
        """The provider of that name, or an `UnknownModelError` that suggests one."""
        if name not in self._providers:
            raise UnknownModelError(f"no provider {name!r}{suggestion(str(name), self._providers)}")
        return self._providers[name]

    def providers(self) -> list[Provider]:
        """All providers, in the order of the configuration."""
        return list(self._providers.values())

    def _find(self, name: str) -> str | None:
        """`provider/id` of the model that `name` means, known or not; None for no model at all."""
        entries = self._entries
        if name in entries.models:
            return name
        if name in entries.names:
            return entries.names[name]
        provider, slash, rest = name.partition("/")
        if not slash or provider not in self._providers:
            return None
        alias = entries.names.get(rest, "")
        return alias if alias.startswith(f"{provider}/") else name

    def _with_effort(self, name: str) -> tuple[str, str] | None:
        """A listed model and the effort behind its name ("gpt-5.2-high"); None for other names."""
        head, dash, effort = name.rpartition("-")
        found = self._find(head) if dash and effort in EFFORTS else None
        return (found, effort) if found in self._entries.models and found is not None else None

    def _hint(self, name: str) -> str:
        provider, slash, _ = name.partition("/")
        hint = suggestion(name, (*self._entries.names, *self._entries.models))
        if not hint and slash:
            hint = suggestion(provider, self._providers)
        return hint or "; provider/id also takes ids that the catalog does not list"

    def _build(self, name: str) -> Model:
        """The model called `provider/id`; an id without an entry gets its provider's defaults."""
        provider_name, _, identity = name.partition("/")
        traits = self._entries.traits(name)
        listed = name in self._entries.models
        if not listed:
            traits = {**_UNKNOWN, **traits}
        provider = self._providers[provider_name]
        if "adapter" in traits:
            provider = dataclasses.replace(provider, adapter=traits.pop("adapter"))
        if "base_url" in traits:
            own = traits.pop("base_url")
            provider = dataclasses.replace(provider, base_url=own, base_url_env=())
        traits["prices"] = Prices(**traits.get("prices", {}))
        for field in _SETS:
            traits[field] = frozenset(traits.get(field, ()))
        return Model(id=identity, provider=provider, listed=listed, **traits)


def load_catalog(*sources: Source | None, environ: Mapping[str, str] | None = None) -> Catalog:
    """The built-in catalog, under the file that DELUGE_SYNC_CONFIG names, under `sources`.

    Later ones win, field by field. What is wrong in any of them is a `ConfigError` that names the
    field; nothing is sent anywhere.
    """
    environ = os.environ if environ is None else environ
    catalog = Catalog.builtin()
    try:
        catalog = catalog.with_overrides(environ.get(CONFIG_ENV) or None, environ=environ)
    except ConfigError as error:
        raise ConfigError(f"{error} (a file named by {CONFIG_ENV})") from None
    for source in sources:
        catalog = catalog.with_overrides(source, environ=environ)
    return catalog


def _provider(name: str, fields: Mapping[str, Any]) -> Provider:
    ours = {k: v for k, v in fields.items() if k not in ("model_defaults", "unknown_models")}
    batch = ours.pop("batch", None)
    return Provider(name=name, **ours, batch=_batch_api(name, batch) if batch else None)


def _batch_api(name: str, fields: Mapping[str, Any]) -> BatchApi:
    lacking = [field for field in ("wire", "max_requests", "max_bytes") if field not in fields]
    if lacking:
        raise ConfigError(f"providers.{name}.batch needs {' and '.join(lacking)}")
    return BatchApi(**fields)


def _moved(model: Model, base_url: str) -> Model:
    """`model` at a server that is already there."""
    url = check_url(base_url, "base_url", allow_http=model.provider.allow_http)
    provider = dataclasses.replace(model.provider, base_url=url, base_url_env=(), launch="")
    return dataclasses.replace(model, provider=provider)
