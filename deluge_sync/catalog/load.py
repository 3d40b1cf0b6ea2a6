"""Configurations as entries, one laid over the other: ours first, then the user's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Union

from ..values.errors import ConfigError
from .document import read_file
from .environment import check_url, expand, url_variables
from .names import canonical_name, named
from .specs import check_document, suggestion

Source = Union[str, "os.PathLike[str]", Mapping[str, Any]]
"""A path to a YAML file, or what such a file would say as a mapping."""

CONFIG_ENV = "DELUGE_SYNC_CONFIG"

# In a wheel the files are inside the package, in a checkout beside it.
_PACKAGE = Path(__file__).resolve().parent.parent
_INSIDE = _PACKAGE / "config"
_CONFIG = _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent / "config"


class Entries(NamedTuple):
    """Everything that configurations say, by name.

    `models` has the fields of each entry by `provider/id`; `names` leads from every other name of
    a model, bare ids included, to that one.
    """

    providers: Mapping[str, Mapping[str, Any]]
    families: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]

    def traits(self, name: str) -> dict[str, Any]:
        """What holds for the model called `provider/id`, which need not have an entry."""
        provider = self.providers[name.partition("/")[0]]
        own = self.models.get(name, provider.get("unknown_models", {}))
        result: dict[str, Any] = {}
        for layer in (provider.get("model_defaults", {}), own):
            family = self.families[layer["family"]] if "family" in layer else {}
            result = merged(merged(result, family), layer)
        result.pop("family", None)
        return result


@lru_cache(maxsize=1)
def builtin_entries() -> Entries:
    """What this library's own `config/` says."""
    providers, models = (
        check_document(read_file(_CONFIG / name)) for name in ("providers.yaml", "models.yaml")
    )
    return overlay(Entries({}, {}, {}, {}), {**models, "providers": providers["providers"]})


def read_source(source: Source | None, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The checked sections of one configuration, its `${NAME}` filled in; None has none."""
    if source is None or isinstance(source, Mapping):
        return expand(check_document(source), environ)
    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(f"config must be a path or a mapping, not {type(source).__name__}")
    document = read_file(source)
    try:
        return expand(check_document(document), environ)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {str(source)!r})") from None


def client_options(
    source: Source | None, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The `client:` section of a configuration: keyword arguments for a Client, unchecked."""
    return read_source(source, os.environ if environ is None else environ)["client"]


def overlay(below: Entries, sections: Mapping[str, Mapping[str, Any]]) -> Entries:
    """`below` with checked `sections` over it: fields that they do not name stay as they are."""
    providers = merged(below.providers, sections["providers"])
    families = merged(below.families, sections["families"])
    for name in sections["providers"]:
        _check_provider(f"providers.{name}", providers[name], families)
    ours: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, str] = {}
    for key, fields in sections["models"].items():
        name = canonical_name(key, fields, below.names, providers)
        if name in ours:
            raise ConfigError(f"models.{key} is a second entry for {name}")
        _check_model(f"models.{key}", fields, providers[name.partition("/")[0]], families)
        ours[name] = {k: v for k, v in fields.items() if k not in ("provider", "id")}
        if "provider" in fields:
            keys[key] = name
    models = merged(below.models, ours)
    return Entries(providers, families, models, named(below.names, ours, keys, providers))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping in mapping; everything else replaces."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)
        result[name] = value
    return result


def _check_provider(where: str, fields: Mapping[str, Any], families: Iterable[str]) -> None:
    _check_base_url(where, fields, fields)
    for place, url in fields.get("base_urls", {}).items():
        _check_base_url(f"{where}.base_urls.{place}", {"base_url": url}, fields)
    for part in ("model_defaults", "unknown_models"):
        _check_family(f"{where}.{part}", fields.get(part, {}), families)


def _check_model(
    where: str, fields: Mapping[str, Any], provider: Mapping[str, Any], families: Iterable[str]
) -> None:
    _check_base_url(where, fields, provider)
    _check_family(where, fields, families)


def _check_base_url(where: str, fields: Mapping[str, Any], provider: Mapping[str, Any]) -> None:
    url = fields.get("base_url", "")
    variables = url_variables(url)
    for variable in variables:
        if variable not in provider.get("base_url_vars", {}):
            raise ConfigError(
                f"{where}.base_url has {{{variable}}}, which base_url_vars does not explain"
            )
    if url and not variables:
        check_url(url, f"{where}.base_url", allow_http=provider.get("allow_http", False))


def _check_family(where: str, fields: Mapping[str, Any], families: Iterable[str]) -> None:
    family = fields.get("family")
    if family is not None and family not in families:
        raise ConfigError(f"{where}.family: no family {family!r}{suggestion(family, families)}")
