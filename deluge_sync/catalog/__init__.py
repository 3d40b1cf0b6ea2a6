"""Providers and models as data: our own `config/`, and what the user's configuration adds."""

from .catalog import Catalog, load_catalog
from .environment import api_key_for, base_url_for, check_url, located
from .load import CONFIG_ENV, Source, client_options
from .retirement import retirement_notice

__all__ = [
    "CONFIG_ENV",
    "Catalog",
    "Source",
    "api_key_for",
    "base_url_for",
    "check_url",
    "client_options",
    "load_catalog",
    "located",
    "retirement_notice",
]
