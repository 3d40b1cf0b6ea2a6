"""`deluge-sync map`: prompts from a file, answers to a file, in the same order."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..client import Client
from ..journal import LOCK_BYTE, RULES, Journal
from ..progress import STYLES
from ..rows import line_of, row_of
from ..stats import Report
from ..stores.file_lock import lock
from ..values.errors import ConfigError, JournalInUseError
from ..values.response import Response
from .configured import client_of
from .exits import ANSWERED, FAILED, RunningError, UsageError
from .flags import CLIENT_FLAGS, add_client_flags, add_input, said
from .output import amounts, level_of, standard_output
from .prompts import as_prompts, count_prompts, open_prompts

logger = logging.getLogger(__name__)


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "map", help="answer every prompt of a file", description="Answer every prompt of a file."
    )
    add_input(parser)
    parser.add_argument("-o", "--output", help="JSON lines; without it they go to stdout")
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        help="see `deluge-sync models`; repeated, each is asked where those before it fail",
    )
    add_client_flags(parser, CLIENT_FLAGS)
    parser.add_argument(
        "--resume", action="store_true", help="go on from OUTPUT: what it has is not sent again"
    )
    parser.add_argument(
        "--force",
        action="append",
        default=[],
        choices=RULES,
        help="with --resume: what may differ from before; model and params keep the old answers, "
        "prompt asks anew where the prompt has changed (repeatable)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would take, and send nothing"
    )
    parser.add_argument(
        "--skip-if-running",
        action="store_true",
        help="do nothing, with exit code 0, where another run is writing OUTPUT",
    )
    parser.add_argument("--progress", choices=STYLES, default="auto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer the prompts; gives the exit code."""
    try:
        return _answer(options)
    except (RunningError, JournalInUseError) as error:
        running = f"{options.output} is being written by another run"
        if not options.skip_if_running:
            raise RunningError(running) from error
        logger.info("%s: nothing is done", running)
        return ANSWERED


def _answer(options: argparse.Namespace) -> int:
    settings = said(options)
    options.max_cost = settings.pop("max_cost", None)  # of this run: what is resumed counts
    if len(options.model or ()) > 1:
        settings["model_weights"] = "fallback"
    client = client_of(options, options.model, progress=_progress(options), **settings)
    _check_output(options)
    if threading.current_thread() is threading.main_thread():
        client.install_signal_handlers()
    raw: dict[int, Any] = {}
    with open_prompts(options.input, options.field) as rows, client:
        prompts = as_prompts(itertools.islice(rows, options.limit), options.system, raw)
        first = list(itertools.islice(prompts, 1))  # a file that cannot be read shows here
        prompts = itertools.chain(first, prompts)
        if options.dry_run:
            return _dry_run(options, client, prompts)
        if options.resume:
            _resume(options, client, prompts, raw)
        else:
            _write(options, client, prompts, raw)
    report = client.usage()
    logger.log(level_of(report), "%s", _summary(report))
    return FAILED if report.failed else ANSWERED


def _write(
    options: argparse.Namespace, client: Client, prompts: Iterator[Any], raw: dict[int, Any]
) -> None:
    """Answer the prompts, and write the rows in order."""
    replies = client.imap(prompts, ordered=False, total=_total(options), max_cost=options.max_cost)
    with closing(replies), _output(options.output) as output, _InOrder(output) as lines:
        for reply in replies:
            if isinstance(reply.error, ConfigError):
                raise reply.error
            index = reply.index or 0
            lines.write(index, line_of(row_of(reply, raw.pop(index))))


def _resume(
    options: argparse.Namespace, client: Client, prompts: Iterator[Any], raw: dict[int, Any]
) -> None:
    """Answer the prompts that the output has no answer to; the output is the journal."""
    journal = _Output(options.output, options.force, raw)
    replies = client.imap(
        prompts,
        ordered=False,
        total=_total(options),
        max_cost=options.max_cost,
        journal=journal,
    )
    with closing(replies):
        for reply in replies:
            if isinstance(reply.error, ConfigError):
                raise reply.error
            raw.pop(reply.index or 0)


def _dry_run(options: argparse.Namespace, client: Client, prompts: Iterable[Any]) -> int:
    """Say what the run would take."""
    sys.stdout.write(client.estimate(prompts).summary() + "\n")
    if options.resume:
        logger.info("what %s already has is not sent again: it is counted here", options.output)
    return ANSWERED


class _Output(Journal):
    """A journal that ends up as `deluge-sync map` writes its output: in order, prompts as read."""

    sorts = True

    def __init__(self, path: str, force: Iterable[str], raw: Mapping[int, Any]) -> None:
        super().__init__(path, force=force)
        self._raw = raw

    def shown_prompt(self, response: Response) -> Any:
        """The prompt as it was in the file."""
        return self._raw.get(response.index or 0)


class _InOrder:
    """Writes lines in order, as soon as it is their turn; at the end, whatever is left.

    So Ctrl-C loses no answer that waits for an earlier one.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._early: dict[int, str] = {}
        self._turn = 0

    def write(self, index: int, line: str) -> None:
        self._early[index] = line
        while self._turn in self._early:
            self._output.write(self._early.pop(self._turn))
            self._turn += 1

    def __enter__(self) -> _InOrder:
        return self

    def __exit__(self, *_: object) -> None:
        for index in sorted(self._early):
            self._output.write(self._early[index])


def _check_output(options: argparse.Namespace) -> None:
    if options.resume and options.output is None:
        raise UsageError("--resume needs the -o that it goes on from")
    if options.force and not options.resume:
        raise UsageError("--force is for --resume")
    if options.skip_if_running and options.output is None:
        raise UsageError("--skip-if-running needs the -o that runs are kept apart by")
    if options.output is not None and options.input != "-":
        source, target = Path(options.input), Path(options.output)
        if source.exists() and target.exists() and source.samefile(target):
            raise UsageError(f"{target} is the input: it would be overwritten")


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    if path is None:
        with standard_output() as output:
            yield output
        return
    try:
        file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            if not lock(file.fileno(), at=LOCK_BYTE):
                raise RunningError
            file.truncate(0)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield file


def _progress(options: argparse.Namespace) -> str:
    """No bar where the rows themselves scroll by."""
    watched = options.output is None and sys.stdout is not None and sys.stdout.isatty()
    return "log" if options.progress == "auto" and watched else str(options.progress)


def _total(options: argparse.Namespace) -> int | None:
    total = count_prompts(options.input)
    return total if total is None or options.limit is None else min(total, options.limit)


def _summary(report: Report) -> str:
    words = [f"{report.answered:,} answered, {report.failed:,} failed in {report.seconds:.1f} s"]
    if report.restored:
        words.append(f"{report.restored:,} of them restored")
    words += amounts(report)
    latency = report.latency_percentiles
    if latency:
        words.append(f"latency {latency[50]:.3f} s median, {latency[99]:.3f} s p99")
    return "; ".join(words)
