"""`deluge-sync check`: whether configuration and keys are in order."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..catalog import api_key_for, base_url_for, load_catalog
from ..values.errors import DelugeError, MissingKeyError
from ..values.model import Provider
from .configured import client_of, config_of, names_of
from .exits import ANSWERED, CONFIGURATION, FAILED, UsageError


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "check",
        help="check configuration and keys",
        description="Check configuration and keys; nothing is sent without --live.",
    )
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        default=[],
        help="a model that must be ready for use (repeatable)",
    )
    parser.add_argument("--live", action="store_true", help="send one short prompt to each --model")
    parser.add_argument("--config", metavar="FILE", help="YAML with your providers and models")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check; gives the exit code."""
    catalog = load_catalog(config_of(options))
    models, providers = catalog.models(), catalog.providers()
    sys.stdout.write(f"catalog: {len(models)} models of {len(providers)} providers\n")
    for provider in providers:
        sys.stdout.write(f"{provider.name:20} {_key_state(provider)}\n")
    if options.live and not (options.model or names_of(options)):
        raise UsageError("--live needs a --model to send to")
    code = ANSWERED
    for name in options.model or names_of(options):
        code = max(code, _check_model(name, options))
    return code


def _key_state(provider: Provider) -> str:
    if not provider.key_env:
        return "no key needed"
    try:
        api_key_for(provider)
    except MissingKeyError:
        return f"no key: set {' or '.join(provider.key_env)}"
    return "key present"


def _check_model(name: str, options: argparse.Namespace) -> int:
    try:
        with client_of(options, [name], progress="none") as client:
            model = client.models[0]
            if client.settings.api_key is None:
                api_key_for(model.provider)
            if client.settings.base_url is None:
                base_url_for(model.provider)
            if options.live:
                reply = client.complete("Say: ok", timeout=60)
                sys.stdout.write(f"{model.name}: answered {reply.completion!r:.60}\n")
            else:
                sys.stdout.write(f"{model.name}: ready\n")
    except MissingKeyError as error:
        sys.stdout.write(f"{name}: {error}\n")
        return CONFIGURATION
    except DelugeError as error:
        sys.stdout.write(f"{name}: {error.kind}: {error}\n")
        return CONFIGURATION if error.kind == "config" else FAILED
    return ANSWERED
