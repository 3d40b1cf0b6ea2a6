"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, Callable


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def seconds(text: str) -> float:
    """A time that is more than none."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return number


def _limit(text: str) -> float | None:
    return None if text == "auto" else count(text)


CLIENT_FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "max_requests_per_minute": (
        "--max-requests-per-minute",
        _limit,
        "a number, or `auto` to learn it from the server (1,000, unless the provider's entry in "
        "the catalog says otherwise)",
    ),
    "max_tokens_per_minute": ("--max-tokens-per-minute", _limit, "likewise (100,000)"),
    "max_concurrent_requests": ("--concurrency", count, "calls in flight (225)"),
    "max_attempts": ("--max-attempts", count, "failed sends of one call (5)"),
    "timeout": ("--timeout", float, "seconds for each call"),
    "max_new_tokens": ("--max-new-tokens", count, "of each answer"),
    "temperature": ("--temperature", float, "of the sampling"),
    "base_url": ("--base-url", str, "instead of the provider's"),
    "cache": ("--cache", str, "a folder that keeps answers, so that none is paid for twice"),
    "max_cost": ("--max-cost", float, "US dollars to spend at most"),
}
"""By the client's option. One that is not said is left to the client's default."""


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add what says where the prompts are."""
    parser.add_argument("input", help=".txt (a prompt a line), .jsonl, .csv, or - for stdin")
    parser.add_argument("--field", help="which field of a .jsonl or .csv row is the prompt")
    parser.add_argument("--system", help="a system prompt for all")
    parser.add_argument("--limit", type=count, help="only the first LIMIT prompts")


def add_client_flags(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add those of `CLIENT_FLAGS`, and --config."""
    for name in names:
        flag, kind, words = CLIENT_FLAGS[name]
        parser.add_argument(
            flag, dest=name, type=kind, metavar="X", default=argparse.SUPPRESS, help=words
        )
    parser.add_argument("--config", metavar="FILE", help="YAML with your providers and models")


def said(options: argparse.Namespace) -> dict[str, Any]:
    """Those of `CLIENT_FLAGS` that the command line has."""
    return {name: value for name, value in vars(options).items() if name in CLIENT_FLAGS}
