"""The client that commands work with: what the command line says, over what an application says.

An application (Flask, Django) that offers our commands as its own hands over the options of its
`Client`; `deluge-sync` itself has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..catalog import load_catalog
from ..client import Client
from .exits import UsageError

NONE: Mapping[str, Any] = MappingProxyType({})

OF_A_PROVIDER = frozenset(
    ("api_key", "base_url", "session", "extra_headers", "extra_body", "verify", "proxies")
)
"""Options that belong to the provider of the application's models. Models of another one do not get
them: it would be sent a key that is not for it."""


def client_of(options: argparse.Namespace, names: Sequence[str] | None, **said: Any) -> Client:
    """A client of these models (None: of those that are configured), with what is `said`.

    A configured `timeout` is for requests that somebody waits for, and does not hold here.
    `UsageError` where no model is named anywhere.
    """
    own = names_of(options)
    given = {name: value for name, value in options.client_options.items() if value is not None}
    for name in ("model_names", "config", "timeout"):
        given.pop(name, None)
    config = config_of(options)
    if not names and not own:
        raise UsageError("no model is named: see --model, and `deluge-sync models`")
    if names:
        given.pop("model_weights", None)
        base_url = said.get("base_url", given.get("base_url"))
        if given.keys() & OF_A_PROVIDER and not _are_of(own, names, config, base_url):
            given = {name: value for name, value in given.items() if name not in OF_A_PROVIDER}
    return Client(names or own, config=config, **{**given, **said})


def configured(options: argparse.Namespace, name: str) -> Any:
    """That option of the application's client, or None."""
    return options.client_options.get(name)


def names_of(options: argparse.Namespace) -> list[str]:
    """The application's models."""
    names = configured(options, "model_names") or ()
    return [names] if isinstance(names, str) else list(names)


def config_of(options: argparse.Namespace) -> Any:
    """What is laid over the catalog: the file of the command line, or else the application's."""
    return configured(options, "config") if options.config is None else options.config


def _are_of(own: Sequence[str], names: Sequence[str], config: Any, base_url: str | None) -> bool:
    """Whether `names` are models of the providers that the `own` ones are of."""
    catalog = load_catalog(config)
    ours, theirs = (
        {catalog.model(name, base_url=base_url).provider.name for name in group}
        for group in (own, names)
    )
    return theirs <= ours
