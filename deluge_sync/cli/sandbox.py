"""`deluge-sync sandbox`: the sandbox provider as a server of its own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..testing import BatchScript, serve
from ..testing.batch_script import ENDS
from .exits import ANSWERED, UsageError
from .flags import count


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
    parser.add_argument(
        "--batch-polls",
        type=count,
        default=2,
        metavar="N",
        help="a batch ends when it is looked at for the Nth time (%(default)s)",
    )
    parser.add_argument("--batch-end", choices=ENDS, default="completed", help="how (%(default)s)")
    parser.add_argument(
        "--batch-share",
        type=float,
        default=1.0,
        metavar="X",
        help="of its requests, what one that does not end completed has done (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted; gives the exit code."""
    try:
        batches = BatchScript(
            polls=options.batch_polls, end=options.batch_end, share=options.batch_share
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        serve(
            port=options.port,
            ready=_announce,
            requests_per_minute=options.requests_per_minute,
            tokens_per_minute=options.tokens_per_minute,
            delay=options.delay,
            batches=batches,
        )
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on port {options.port}: {error}") from error
    return ANSWERED


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
