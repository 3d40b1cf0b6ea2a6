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
from typing import Any, Callable, TextIO

from ..client import Client
from ..journal import LOCK_BYTE, RULES, Journal
from ..progress import STYLES
from ..rows import line_of, row_of
from ..stats import Report
from ..stores.file_lock import lock
from ..values.errors import ConfigError, PromptError
from ..values.prompt import Conversation
from ..values.response import Response
from .exits import ANSWERED, FAILED, UsageError
from .prompts import count_prompts, open_prompts

logger = logging.getLogger(__name__)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _limit(text: str) -> float | None:
    if text == "auto":
        return None
    return _count(text.replace("_", "").replace(",", ""))


CLIENT_FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "max_requests_per_minute": (
        "--max-requests-per-minute",
        _limit,
        "a number, or `auto` to learn it from the server (1,000, unless the provider's entry in "
        "the catalog says otherwise)",
    ),
    "max_tokens_per_minute": ("--max-tokens-per-minute", _limit, "likewise (100,000)"),
    "max_concurrent_requests": ("--concurrency", _count, "calls in flight (225)"),
    "max_attempts": ("--max-attempts", _count, "failed sends of one call (5)"),
    "timeout": ("--timeout", float, "seconds for each call"),
    "max_new_tokens": ("--max-new-tokens", _count, "of each answer"),
    "temperature": ("--temperature", float, "of the sampling"),
    "base_url": ("--base-url", str, "instead of the provider's"),
    "cache": ("--cache", str, "a folder that keeps answers, so that none is paid for twice"),
    "max_cost": ("--max-cost", float, "US dollars to spend at most"),
}
"""By the client's option. One that is not said is left to the client's default."""


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "map", help="answer every prompt of a file", description="Answer every prompt of a file."
    )
    parser.add_argument("input", help=".txt (a prompt a line), .jsonl, .csv, or - for stdin")
    parser.add_argument("-o", "--output", help="JSON lines; without it they go to stdout")
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        action="append",
        help="see `deluge-sync models`; repeated, each is asked where those before it fail",
    )
    parser.add_argument("--field", help="which field of a .jsonl or .csv row is the prompt")
    parser.add_argument("--system", help="a system prompt for all")
    parser.add_argument("--limit", type=_count, help="only the first LIMIT prompts")
    for option, (flag, kind, words) in CLIENT_FLAGS.items():
        parser.add_argument(
            flag, dest=option, type=kind, metavar="X", default=argparse.SUPPRESS, help=words
        )
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
    parser.add_argument("--config", metavar="FILE", help="YAML with your providers and models")
    parser.add_argument("--progress", choices=STYLES, default="auto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer the prompts; gives the exit code."""
    said = {name: value for name, value in vars(options).items() if name in CLIENT_FLAGS}
    options.max_cost = said.pop("max_cost", None)  # of this run: what is resumed counts
    if len(options.model) > 1:
        said["model_weights"] = "fallback"
    client = Client(options.model, config=options.config, progress=_progress(options), **said)
    _check_output(options)
    if threading.current_thread() is threading.main_thread():
        client.install_signal_handlers()
    raw: dict[int, Any] = {}
    with open_prompts(options.input, options.field) as rows, client:
        prompts = _prompts(itertools.islice(rows, options.limit), options.system, raw)
        first = list(itertools.islice(prompts, 1))  # a file that cannot be read shows here
        prompts = itertools.chain(first, prompts)
        if options.dry_run:
            return _dry_run(options, client, prompts)
        if options.resume:
            _resume(options, client, prompts, raw)
        else:
            _write(options, client, prompts, raw)
    report = client.usage()
    logger.info("%s", _summary(report))
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


def _prompts(rows: Iterable[Any], system: str | None, raw: dict[int, Any]) -> Iterator[Any]:
    """The rows as prompts; `raw` keeps what they were, for the output."""
    for index, row in enumerate(rows):
        raw[index] = None if isinstance(row, PromptError) else row
        yield row if system is None else _with_system(row, system)


def _with_system(row: Any, system: str) -> Any:
    try:
        conversation = Conversation.of(row)
    except PromptError as error:
        return error
    return Conversation().system(system).add(*conversation.messages)


def _check_output(options: argparse.Namespace) -> None:
    if options.resume and options.output is None:
        raise UsageError("--resume needs the -o that it goes on from")
    if options.force and not options.resume:
        raise UsageError("--force is for --resume")
    if options.output is not None and options.input != "-":
        source, target = Path(options.input), Path(options.output)
        if source.exists() and target.exists() and source.samefile(target):
            raise UsageError(f"{target} is the input: it would be overwritten")


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):  # cron's locale is C: our data is UTF-8 all the same
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            if not lock(file.fileno(), at=LOCK_BYTE):
                raise UsageError(f"{path} is being written by another run")
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
    latency = report.latency_percentiles
    words = [
        f"{report.answered:,} answered, {report.failed:,} failed in {report.seconds:.1f} s",
        f"{report.input_tokens:,} + {report.output_tokens:,} tokens",
        f"${report.cost:.4f}",
    ]
    if report.restored:
        words.insert(1, f"{report.restored:,} of them restored")
    if report.cached:
        words.append(f"{report.cached:,} not paid for, which saved ${report.saved_cost:.4f}")
    if report.unpriced:
        words.append(f"{report.unpriced:,} without a known price")
    if report.retries:
        retries = (f"{count} {kind}" for kind, count in sorted(report.retries.items()))
        words.append(f"retries: {', '.join(retries)}")
    if report.errors:
        errors = (f"{count} {kind}" for kind, count in sorted(report.errors.items()))
        words.append(f"errors: {', '.join(errors)}")
    if latency:
        words.append(f"latency {latency[50]:.3f} s median, {latency[99]:.3f} s p99")
    return "; ".join(words)
