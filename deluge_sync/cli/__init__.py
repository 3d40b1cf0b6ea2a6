"""The command line: `deluge-sync map | batch | models | check | cache | sandbox`.

Data goes to stdout, everything else to stderr. Exit codes: 0 all answered, 1 some failed, 2 usage,
3 configuration, 4 a batch job is not done yet, 75 another run is at it, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from .._version import __version__
from ..values.errors import ConfigError
from . import batch_command, cache_command, check, map_command, models, sandbox
from .configured import NONE
from .exits import (
    CONFIGURATION,
    FAILED,
    INTERRUPTED,
    RUNNING,
    TERMINATED,
    USAGE,
    RunningError,
    UsageError,
)

COMMANDS = (map_command, batch_command, models, check, cache_command, sandbox)


def main(
    arguments: Sequence[str] | None = None,
    *,
    program: str = "deluge-sync",
    client_options: Mapping[str, Any] = NONE,
) -> int:
    """Run the command; gives its exit code.

    An application that offers the commands as its own says what its `program` is called, and the
    options of its `Client`, which hold where the command line does not say otherwise.
    """
    options = _parser(program).parse_args(arguments)
    options.client_options = client_options
    if options.quiet and getattr(options, "progress", None) == "auto":
        options.progress = "none"
    _log_to_stderr(_level(options))
    try:
        return int(options.run(options))
    except UsageError as error:
        return _complain(error, USAGE)
    except RunningError as error:
        return _complain(error, RUNNING)
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


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Call language models at full throughput, blocking.",
        epilog="exit codes: 0 all answered, 1 some failed, 2 usage, 3 configuration, "
        "4 a batch job is not done yet, 75 another run is at it, 130 interrupted, 143 terminated",
    )
    parser.add_argument("--version", action="version", version=f"deluge-sync {__version__}")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="log what is going on")
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="say nothing on stderr that needs no attention"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _level(options: argparse.Namespace) -> int:
    if options.quiet:
        return logging.WARNING
    return logging.DEBUG if options.verbose else logging.INFO


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("deluge_sync")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    warnings.showwarning = lambda message, *_: logger.warning("warning: %s", message)


def _complain(message: object, code: int) -> int:
    sys.stderr.write(f"deluge-sync: {message}\n")
    return code
