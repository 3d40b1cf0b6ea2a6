"""`deluge-sync models`: what the catalog knows."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from ..catalog import load_catalog
from ..values.model import Model
from .configured import config_of
from .exits import ANSWERED


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "models", help="list the models", description="List the models of the catalog."
    )
    parser.add_argument("--provider", help="only this provider's")
    parser.add_argument("--json", action="store_true", help="a JSON array instead of a table")
    parser.add_argument("--config", metavar="FILE", help="YAML with your providers and models")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List the models; gives the exit code."""
    models = load_catalog(config_of(options)).models(options.provider)
    if options.json:
        rows = [_facts(model) for model in models]
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return ANSWERED
    width = max((len(model.name) for model in models), default=5)
    sys.stdout.write(
        f"{'MODEL':{width}}  {'MODE':9}  {'CONTEXT':>9}  {'$ IN':>8}  {'$ OUT':>8}  ALIASES\n"
    )
    for model in models:
        sys.stdout.write(_row(model, width))
    sys.stdout.write("prices are US dollars per million tokens\n")
    return ANSWERED


def _row(model: Model, width: int) -> str:
    window = f"{model.context_window:,}" if model.context_window else "-"
    retires = f" (retires {model.retires})" if model.retires else ""
    return (
        f"{model.name:{width}}  {model.mode:9}  {window:>9}  {_price(model.prices.input):>8}  "
        f"{_price(model.prices.output):>8}  {', '.join(model.aliases)}{retires}".rstrip()
        + "\n"
    )


def _price(price: float | None) -> str:
    return "-" if price is None else f"{price:g}"


def _facts(model: Model) -> dict[str, Any]:
    prices = dataclasses.asdict(model.prices)
    return {
        "name": model.name,
        "id": model.id,
        "provider": model.provider.name,
        "mode": model.mode,
        "aliases": list(model.aliases),
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "prices": {name: price for name, price in prices.items() if price is not None},
        "supports": sorted(model.supports),
        "refuses": sorted(model.refuses),
        "retires": model.retires,
        "successor": model.successor,
    }
