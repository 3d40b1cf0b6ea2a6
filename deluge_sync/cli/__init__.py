"""The command line: `deluge-sync map | batch | models | check | cache | sandbox`.

Data goes to stdout, everything else to stderr. Exit codes: 0 all answered, 1 some failed, 2 usage,
3 configuration, 4 a batch job is not done yet, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from .._version import __version__
from ..values.errors import ConfigError
from . import batch_command, cache_command, check, map_command, models, sandbox
from .exits import CONFIGURATION, FAILED, INTERRUPTED, TERMINATED, USAGE, UsageError

COMMANDS = (map_command, batch_command, models, check, cache_command, sandbox)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit code."""
    options = _parser().parse_args(arguments)
    _log_to_stderr(verbose=options.verbose)
    try:
        return int(options.run(options))
    except UsageError as error:
        return _complain(error, USAGE)
    except ConfigError as error:
        return _complain(error, CONFIGURATION)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except SystemExit as end:
        if end.code != TERMINATED:
            raise
        return _complain("terminated", TERMINATED)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(error, FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deluge-sync",
        description="Call language models at full throughput, blocking.",
        epilog="exit codes: 0 all answered, 1 some failed, 2 usage, 3 configuration, "
        "4 a batch job is not done yet, 130 interrupted, 143 terminated",
    )
    parser.add_argument("--version", action="version", version=f"deluge-sync {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is going on")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("deluge_sync")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    warnings.showwarning = lambda message, *_: logger.warning("warning: %s", message)


def _complain(message: object, code: int) -> int:
    sys.stderr.write(f"deluge-sync: {message}\n")
    return code
