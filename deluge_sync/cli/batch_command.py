"""`deluge-sync batch`: jobs that the provider answers within a day or so, for less.

What a job is of lies in its folder on disk, so every command but `submit` needs only its id.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import shlex
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from ..batch.folder import JobFolder, default_folder, new_job_id
from ..batch.job import BatchJob, BatchPart, BatchStatus, status_of, summary_of
from ..batch.ledger import Ledger
from ..client import Client
from ..progress import STYLES, resolved
from ..rows import embedding_row_of, line_of, row_of
from ..stats import Tally
from ..values.embedding import EmbedResponse
from ..values.errors import BatchError, ConfigError, DeadlineExceededError, DelugeError
from ..values.plain import message_to_plain
from ..values.prompt import Conversation, Text
from ..values.response import Response
from .configured import client_of, configured
from .exits import ANSWERED, FAILED, NOT_DONE, UsageError
from .flags import add_client_flags, add_input, count, said, seconds
from .output import amounts, level_of, plain, standard_output, time_words, whole_file
from .prompts import as_prompts, open_prompts

logger = logging.getLogger(__name__)

FLAGS_OF_A_SUBMISSION = (
    "max_new_tokens",
    "temperature",
    "base_url",
    "cache",
    "max_cost",
    "max_attempts",
)
FLAGS_OF_A_JOB = ("base_url", "max_attempts")

Action = Callable[[argparse.Namespace], int]


def add_to(commands: Any) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "batch",
        help="have prompts answered within a day, for less",
        description="Jobs that the provider answers within a day or so, for less.",
        epilog=f"exit codes of status, wait and fetch: 0 all answered, 1 some failed, "
        f"{NOT_DONE} not done yet",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_submit(actions)
    _add_status(actions)
    wait = _add(actions, "wait", _wait, "wait until a job is done")
    _add_job(wait)
    _add_timeout(wait)
    _add_fetch(actions)
    cancel = _add(actions, "cancel", _cancel, "stop a job; what is done is kept")
    _add_job(cancel)
    cancel.add_argument("--json", action="store_true", help="a JSON object instead of a table")
    resubmit = _add(actions, "resubmit", _resubmit, "submit again what a job has no answer to")
    _add_job(resubmit)
    _add_wait(resubmit)
    listing = _add(actions, "list", _list, "list the jobs, as they were when last looked at")
    listing.add_argument("--json", action="store_true", help="a JSON array instead of a table")


def run(options: argparse.Namespace) -> int:
    """Do it; gives the exit code."""
    if getattr(options, "patience", None) is not None and not getattr(options, "wait", True):
        raise UsageError("--timeout is for --wait")
    try:
        return int(options.action(options))
    except ConfigError:
        raise
    except DelugeError as error:
        return _complain(f"{error.kind}: {error}", FAILED)


def _add(actions: Any, name: str, action: Action, words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    parser.add_argument("--folder", help="where the jobs are (the user's own folder)")
    parser.set_defaults(run=run, action=action)
    return parser


def _add_submit(actions: Any) -> None:
    words = "submit the prompts of a file; prints the job's id"
    parser = _add(actions, "submit", _submit, words)
    add_input(parser)
    parser.add_argument("-m", "--model", help="see `deluge-sync models`")
    parser.add_argument(
        "--job-id", help="a name of your own: the same command again goes on with the job"
    )
    parser.add_argument(
        "--batch-size", type=count, default=10_000, help="prompts in a batch, at most (%(default)s)"
    )
    parser.add_argument(
        "--max-enqueued-tokens",
        type=count,
        metavar="N",
        help="input tokens under way at a time; the other batches wait for `wait` or `status`",
    )
    add_client_flags(parser, FLAGS_OF_A_SUBMISSION)
    _add_wait(parser)


def _add_status(actions: Any) -> None:
    parser = _add(actions, "status", _status, "say how a job is doing, asked anew")
    _add_job(parser, words="its id (the newest job)", nargs="?")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of a table")


def _add_fetch(actions: Any) -> None:
    parser = _add(actions, "fetch", _fetch, "write the answers of a job that is done, in order")
    _add_job(parser, flags=(*FLAGS_OF_A_JOB, "cache"))
    parser.add_argument("-o", "--output", help="JSON lines; without it they go to stdout")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="write what is on disk by now, asking nobody; the other rows have an error",
    )
    _add_wait(parser)


def _add_job(
    parser: argparse.ArgumentParser,
    *,
    words: str = "its id",
    nargs: str | None = None,
    flags: Iterable[str] = FLAGS_OF_A_JOB,
) -> None:
    parser.add_argument("job", metavar="JOB", nargs=nargs, help=words)
    add_client_flags(parser, flags)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait until the job is done")
    _add_timeout(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", dest="patience", type=seconds, metavar="S", help="seconds to wait at most"
    )
    parser.add_argument("--progress", choices=STYLES, default="auto")


def _submit(options: argparse.Namespace) -> int:
    """Submit, and print the id alone."""
    settings = said(options)
    max_cost = settings.pop("max_cost", None)  # of this job
    folder = _folder(options)
    job_id = new_job_id() if options.job_id is None else options.job_id
    ledger = _checked(lambda: folder.ledger(job_id))
    with open_prompts(options.input, options.field) as rows:
        prompts = as_prompts(itertools.islice(rows, options.limit), options.system)
        first = list(itertools.islice(prompts, 1))  # a file that cannot be read shows here
        if not first:
            raise UsageError(f"{options.input} has no prompts")
        with _client(options, options.model, settings) as client, _in_order(options, ledger):
            job = client.submit_batch_job(
                itertools.chain(first, prompts),
                job_id=job_id,
                batch_size=options.batch_size,
                max_enqueued_tokens=options.max_enqueued_tokens,
                max_cost=max_cost,
            )
            return _submitted(options, ledger, job)


def _resubmit(options: argparse.Namespace) -> int:
    with _taken_up(options) as (ledger, job):
        status = job.status()
        if not status.done:
            return _not_done(status)
        job.resubmit_failed()
        if status_of(ledger.read()).done:
            logger.info("%s: there is nothing to submit again", job.job_id)
        return _submitted(options, ledger, job)


def _submitted(options: argparse.Namespace, ledger: Ledger, job: BatchJob) -> int:
    """Print the id; wait where that is asked for."""
    sys.stdout.write(f"{job.job_id}\n")
    sys.stdout.flush()
    if options.wait:
        return _waited(options, job)
    status = status_of(ledger.read())
    logger.info("%s: %s", job.job_id, summary_of(status))
    if status.rejected:
        logger.info("%s: %d prompts cannot be sent", job.job_id, status.rejected)
    return ANSWERED


def _status(options: argparse.Namespace) -> int:
    with _taken_up(options) as (ledger, job):
        status = job.status()
    _show(options, ledger, status)
    return _code(status)


def _wait(options: argparse.Namespace) -> int:
    with _taken_up(options) as (_, job):
        return _waited(options, job)


def _waited(options: argparse.Namespace, job: BatchJob) -> int:
    """Wait; gives the exit code."""
    try:
        status = job.wait(options.patience, progress=options.progress)
    except DeadlineExceededError as error:
        logger.info("%s", error)
        return NOT_DONE
    if resolved(options.progress) != "log":  # there it was the last line
        logger.info("%s: %s", job.job_id, summary_of(status))
    return _code(status)


def _fetch(options: argparse.Namespace) -> int:
    """Write all answers; of a job that is not done nothing, or with --partial what there is."""
    if options.wait and options.partial:
        raise UsageError("--partial does not wait: leave out --wait or --partial")
    tally = Tally()
    done = True
    with _taken_up(options) as (ledger, job):
        if options.partial:
            done = status_of(ledger.read()).done
        elif options.wait:
            code = _waited(options, job)
            if code == NOT_DONE:
                return code
        else:
            status = job.status()
            if not status.done:
                return _not_done(status)
        path = options.output
        output = standard_output() if path is None else whole_file(path)
        with output as file:
            for reply in job.results(partial=options.partial):
                file.write(line_of(_row(reply)))
                tally.add(_counted(reply))
    report = tally.report()
    counts = f"{report.answered:,} answered, {report.failed:,} failed"
    summary = "; ".join([counts, *amounts(report)])
    logger.log(level_of(report) if done else logging.INFO, "%s: %s", job.job_id, summary)
    if not done:
        return NOT_DONE
    return FAILED if report.failed else ANSWERED


def _row(reply: Response | EmbedResponse) -> dict[str, Any]:
    if isinstance(reply, EmbedResponse):
        return embedding_row_of(reply)
    return row_of(reply, _shown(reply.prompt))


def _counted(reply: Response | EmbedResponse) -> Response:
    if isinstance(reply, Response):
        return reply
    return Response(
        reply.model,
        usage=reply.usage,
        cost=reply.cost,
        error=reply.error,
        attempts=reply.attempts,
        cached=reply.cached,
    )


def _cancel(options: argparse.Namespace) -> int:
    with _taken_up(options) as (ledger, job):
        status = job.cancel()
    _show(options, ledger, status)
    return ANSWERED


def _list(options: argparse.Namespace) -> int:
    records = _folder(options).records()
    jobs = [(status_of(record), record.header.created_at) for record in records]
    if options.json:
        _write(json.dumps([_facts(status, created) for status, created in jobs], indent=1))
        return ANSWERED
    rows: list[tuple[str, ...]] = [("JOB", "MODEL", "STATE", "DONE", "FAILED", "CREATED")]
    for status, created in jobs:
        done = f"{status.total - status.waiting}/{status.total}"
        failed = str(status.failed + status.rejected)
        row = (status.job_id, plain(status.model), status.state, done, failed)
        rows.append((*row, time_words(created)))
    _write(_table(rows))
    return ANSWERED


def _folder(options: argparse.Namespace) -> JobFolder:
    return JobFolder(options.folder or configured(options, "batch_folder") or default_folder())


def _ledger(options: argparse.Namespace) -> Ledger:
    """The ledger of the job that is meant; `UsageError`, with those there are, for another."""
    folder = _folder(options)
    if options.job is None:
        records = folder.records()
        if not records:
            raise UsageError(f"there are no batch jobs in {folder.path}")
        return folder.ledger(records[-1].header.job)
    return _checked(lambda: folder.find(options.job))


def _checked(find: Callable[[], Ledger]) -> Ledger:
    """An id that is wrong is a wrong command line."""
    try:
        return find()
    except BatchError as error:
        raise UsageError(error.message) from error


@contextmanager
def _taken_up(options: argparse.Namespace) -> Iterator[tuple[Ledger, BatchJob]]:
    """The job, over a client of its model."""
    ledger = _ledger(options)
    settings = said(options)
    model = ledger.read().header.model
    with _client(options, model, settings) as client, _in_order(options, ledger):
        yield ledger, client.attach_batch_job(ledger.job)


def _client(options: argparse.Namespace, model: str | None, settings: Mapping[str, Any]) -> Client:
    """A client whose process SIGTERM ends in order."""
    names = None if model is None else [model]
    folder = options.folder or configured(options, "batch_folder")
    client = client_of(options, names, batch_folder=folder, progress="none", **settings)
    if threading.current_thread() is threading.main_thread():
        client.install_signal_handlers()
    return client


@contextmanager
def _in_order(options: argparse.Namespace, ledger: Ledger) -> Iterator[None]:
    """Say how it goes on after Ctrl-C or SIGTERM."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if not ledger.exists() or ledger.read().prompts is None:
            logger.info("nothing was submitted")
        else:
            again = _command(options, "wait", ledger.job)
            logger.info("the batch job %s goes on; take it up again with: %s", ledger.job, again)
        raise


def _command(options: argparse.Namespace, action: str, job_id: str) -> str:
    words = ["deluge-sync", "batch", action, job_id]
    for name in ("folder", "config", "base_url"):
        value = getattr(options, name, None)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value]
    return " ".join(shlex.quote(word) for word in words)


def _code(status: BatchStatus) -> int:
    if not status.done:
        return NOT_DONE
    return FAILED if status.failed or status.rejected else ANSWERED


def _not_done(status: BatchStatus) -> int:
    logger.info("%s is not done yet: %s", status.job_id, summary_of(status))
    return NOT_DONE


def _complain(message: object, code: int) -> int:
    sys.stderr.write(f"deluge-sync: {message}\n")
    return code


def _shown(prompt: Any) -> Any:
    """A prompt in a row: its text, or its messages as prompt files have them."""
    if not isinstance(prompt, Conversation):
        return prompt
    return [
        {"role": message.role, "content": message.parts[0].text}
        if len(message.parts) == 1 and type(message.parts[0]) is Text
        else message_to_plain(message)
        for message in prompt.messages
    ]


def _facts(status: BatchStatus, created: float) -> dict[str, Any]:
    facts = {**dataclasses.asdict(status), "waiting": status.waiting, "done": status.done}
    return {**facts, "created_at": created}


def _show(options: argparse.Namespace, ledger: Ledger, status: BatchStatus) -> None:
    created = ledger.read().header.created_at
    if options.json:
        _write(json.dumps(_facts(status, created)))
        return
    lines = [
        f"job       {status.job_id}",
        f"model     {plain(status.model)}",
        f"created   {time_words(created)}",
        f"state     {status.state}",
        f"prompts   {status.total:,}",
        f"answered  {status.succeeded + status.cached:,} ({status.cached:,} by the cache)",
        f"failed    {status.failed + status.rejected:,} ({status.rejected:,} could not be sent)",
        f"waiting   {status.waiting:,}",
    ]
    head = ("PART", "BATCH", "STATE", "REQUESTS", "ANSWERED", "FAILED", "EXPIRES")
    lines.append(_table([head, *map(_part_row, status.parts)]))
    problems = [(part.number, part.problem) for part in status.parts if part.problem]
    lines += [f"part {number}: {plain(problem)}" for number, problem in problems]
    _write("\n".join(lines))


def _part_row(part: BatchPart) -> tuple[str, ...]:
    numbers = (part.requests, part.succeeded, part.failed)
    words = f"{part.state} ({plain(part.status)})" if part.status else part.state
    batch_id = plain(part.batch_id) if part.batch_id else "-"
    expires = "-" if part.state == "fetched" else time_words(part.expires_at)
    return (str(part.number), batch_id, words, *map(str, numbers), expires)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
