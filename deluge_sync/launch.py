"""Providers that are started on demand: the sandbox and the local model."""

from __future__ import annotations

import importlib

from .values.errors import ConfigError
from .values.model import Provider

LAUNCHERS = {"sandbox": ".testing.launching", "local": ".local"}
"""Modules by the provider's `launch` word. Each has `launch()`, which starts its server once per
process and stops it at exit. A fixed list: a configuration file must not name code to import."""

URL_OF_ADAPTER = {"anthropic": "anthropic_url", "gemini": "gemini_url"}


def launched_url(provider: Provider) -> str:
    """The base URL of `provider`'s server, which runs when this returns."""
    if provider.launch not in LAUNCHERS:
        raise ConfigError(
            f"providers.{provider.name}.launch must be one of "
            f"{', '.join(LAUNCHERS)}, not {provider.launch!r}"
        )
    # Imported when asked for: the sandbox is a whole server that most programs never need.
    module = importlib.import_module(LAUNCHERS[provider.launch], __package__)
    server = module.launch()
    return str(getattr(server, URL_OF_ADAPTER.get(provider.adapter, "base_url")))
