"""`deluge-sync sandbox`: the sandbox provider as a server of its own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..testing import serve
from .exits import ANSWERED, UsageError


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "sandbox",
        help="serve the sandbox provider",
        description="Serve the sandbox provider on this machine, until interrupted.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (%(default)s)")
    parser.add_argument("--requests-per-minute", type=int, metavar="N", help="a limit to enforce")
    parser.add_argument("--tokens-per-minute", type=int, metavar="N", help="a limit to enforce")
    parser.add_argument(
        "--delay",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds before each answer (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted; gives the exit code."""
    try:
        serve(
            port=options.port,
            ready=_announce,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            delay=options.delay,
        )
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on port {options.port}: {error}") from error
    return ANSWERED


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
