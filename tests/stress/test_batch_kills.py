"""Batch jobs killed with `kill -9` at every point of their life, and gone on with by a new process.

With `DELUGE_SYNC_KILL_TABLE=table.md` the run writes down what happened at each point, in Markdown.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deluge_sync import BatchJob, Client
from deluge_sync.batch import job as jobs
from deluge_sync.batch import ledger as ledgers
from deluge_sync.batch import spool as spools
from deluge_sync.batch import steps
from deluge_sync.batch.folder import JobFolder
from deluge_sync.batch.ledger import Ledger
from deluge_sync.testing import BatchScript, Sandbox

MODELS = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.5-flash",
    "mistral": "mistral/mistral-small-latest",
}
JOB = "nightly"
PROMPTS = [f"prompt {number}" for number in range(8)] + ["flaky"]
SIZES = [3, 3, 3]
AND_AGAIN = [*SIZES, 1]
"""Of the batches created: three, and one of what had failed."""
TABLE = "DELUGE_SYNC_KILL_TABLE"

context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
context.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Task:
    """What a process of its own does: `life` of the job, killed at `what` (see `Point`)."""

    model: str
    url: str
    folder: str
    life: str
    how: str
    what: str = ""
    moment: str = ""

    def client(self, **options: Any) -> Client:
        return Client(
            self.model,
            base_url=self.url,
            api_key="k",
            batch_folder=self.folder,
            progress="none",
            **options,
        )

    def job(self) -> BatchJob:
        client = self.client()
        if self.how == "attach":
            return client.attach_batch_job(JOB)
        return client.submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)


def live(task: Task, told: Any) -> None:
    """The life of a job in one process, from where it is to its end; tells the results."""
    steps.LAG, steps.FIRST_LOOK = 0.2, 0.02
    jobs.FIRST_LOOK, jobs.SLOWEST_LOOK = 0.01, 0.02
    if task.what == "!half":
        halve_results()
    elif task.what.startswith("!"):
        kill_at_function(task)
    elif task.what:
        kill_at_event(task)
    job = task.job()
    if task.life == "cancelled":
        job.cancel()
        job.wait()
        told.send([response.error.code for response in job.results()])
        return
    while job.wait().failed:
        job.resubmit_failed()
    told.send([response.completion for response in job.results()])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_event(task: Task) -> None:
    name, _, number = task.what.partition("#")
    seen: list[str] = []
    add = Ledger.add

    def killing(self: Ledger, event: str, **fields: Any) -> Any:
        seen.append(event)
        if event != name or seen.count(name) != int(number or 1):
            return add(self, event, **fields)
        if task.moment == "before":
            die()
        add(self, event, **fields)
        if task.moment == "midway":
            path = self.path(ledgers.EVENTS)
            os.truncate(path, os.path.getsize(path) - 20)
        die()

    Ledger.add = killing  # type: ignore[method-assign,assignment]


def kill_at_function(task: Task) -> None:
    place, _, number = task.what[1:].partition("#")
    module, *owners, name = place.split(".")
    owner: Any = {"ledger": ledgers, "spool": spools, "steps": steps}[module]
    for each in owners:
        owner = getattr(owner, each)
    seen, function = [], getattr(owner, name)

    def killing(*given: Any, **named: Any) -> Any:
        seen.append(name)
        if len(seen) != int(number or 1):
            return function(*given, **named)
        if task.moment == "after":
            function(*given, **named)
        die()

    setattr(owner, name, killing)


class Half:
    """The body of an answer that gives some bytes, and then kills."""

    def __init__(self, body: Any) -> None:
        self.head, self.close = body.head, body.close
        self._pieces = iter([body.read()[:100]])

    def read(self) -> bytes:
        for piece in self._pieces:
            return piece
        die()
        return b""


def halve_results() -> None:
    opened = steps.Steps._opened
    steps.Steps._opened = lambda self, request: Half(opened(self, request))  # type: ignore


@dataclass(frozen=True)
class Point:
    """Where a process is killed: at an event of the ledger ("submitted#2"), a function
    ("!steps.settle"), or at a request ("POST /v1/batches#2": the pattern of a method and path).

    `moment` is "before" or "after" it is done; "midway" leaves half a line of the ledger.
    """

    what: str
    moment: str
    text: str
    again: tuple[str, ...] = ("submit", "attach")
    life: str = "answered"

    def __str__(self) -> str:
        return re.sub("[^a-z0-9]+", "-", f"{self.text} {self.life}".lower()).strip("-")


SPOOLING = ("submit",)  # nothing was sent: there is no job yet to attach to

WRITING = [
    Point("!ledger.write_whole", "before", "before the ledger is begun", SPOOLING),
    Point("!ledger.write_whole", "after", "ledger begun, no prompt written", SPOOLING),
    Point("!spool.Parts._begin#2", "before", "half of the prompts written", SPOOLING),
    Point("spooled", "before", "prompts written, before `spooled`", SPOOLING),
    Point("spooled", "midway", "half of the line `spooled` written", SPOOLING),
    Point("spooled", "after", "`spooled` written"),
]
UPLOADING = [
    Point("uploading", "before", "before `uploading` is written"),
    Point("uploading", "after", "`uploading` written"),
    Point("UPLOAD#2", "before", "upload sent, not taken"),
    Point("UPLOAD#2", "after", "upload done, answer lost"),
    Point("uploaded#2", "before", "upload answered, before `uploaded`"),
    Point("uploaded#2", "after", "`uploaded` written"),
]
CREATING = [
    Point("creating#2", "before", "before `creating` is written"),
    Point("creating#2", "after", "`creating` written"),
    Point("CREATE#2", "before", "creation sent, not done"),
    Point("CREATE#2", "after", "batch created, answer lost"),
    Point("CREATE#3", "after", "last batch created, answer lost"),
    Point("submitted#2", "before", "batch answered, before `submitted`"),
    Point("submitted#2", "midway", "half of the line `submitted` written"),
    Point("submitted#2", "after", "`submitted` written"),
]
ENDING = [
    Point("LOOK#2", "before", "looking, not answered"),
    Point("LOOK#5", "after", "batch has ended, answer lost"),
    Point("ended#2", "before", "before `ended` is written"),
    Point("ended#2", "after", "`ended` written"),
    Point("FETCH#2", "after", "results sent, none arrived"),
    Point("!half", "after", "results half arrived"),
    Point("!steps.settle#2", "after", "results on disk, not renamed"),
    Point("!steps.sync_folder#2", "after", "results renamed, before `fetched`"),
    Point("fetched#3", "after", "`fetched` written"),
    Point("spooled#2", "before", "failed ones written again, before `spooled`"),
    Point("spooled#2", "after", "failed ones written again, `spooled`"),
    Point("CREATE#4", "before", "their batch asked for, not done"),
    Point("CREATE#4", "after", "their batch created, answer lost"),
    Point("fetched#4", "before", "their results fetched, before `fetched`"),
]
CANCELLING = [
    Point("cancelling", "before", "before `cancelling` is written", life="cancelled"),
    Point("cancelling", "after", "`cancelling` written", life="cancelled"),
    Point("CANCEL#2", "before", "cancellation sent, not done", life="cancelled"),
    Point("CANCEL#2", "after", "cancellation done, answer lost", life="cancelled"),
]
EVERYWHERE = [*WRITING, *CREATING, *ENDING, *CANCELLING]

REQUESTS = {
    "UPLOAD": r"POST (/upload)?/v1/files",
    "FIND UPLOAD": r"GET /v1/files",
    "CREATE": r"POST /v1/(batches|messages/batches|batch/jobs|models/[^/]*:batchGenerateContent)",
    "FIND BATCH": r"GET /v1/(batches|messages/batches|batch/jobs)",
    "CANCEL": r"POST /v1/.*[/:]cancel",
    "FETCH": r"GET /v1/.*(/content|/results|:download)",
    "LOOK": r"GET /v1/(batches|messages/batches|batch/jobs)/[^/]*",
}


def kind_of(method: str, path: str) -> str:
    return next(kind for kind, form in REQUESTS.items() if re.fullmatch(form, f"{method} {path}"))


@dataclass
class Killer:
    """A sandbox's `on_request` that kills `victim` at the request that `point` names."""

    point: Point
    sandbox: Sandbox | None = None
    victim: Child | None = None
    seen: collections.Counter[str] = field(default_factory=collections.Counter)
    started: threading.Event = field(default_factory=threading.Event)

    def __call__(self, method: str, path: str, phase: str) -> None:
        kind = kind_of(method, path)
        if phase == "before":
            self.seen[kind] += 1
        wanted, _, number = self.point.what.partition("#")
        if (kind, phase) != (wanted, self.point.moment) or self.seen[kind] != int(number or 1):
            return
        assert self.started.wait(20)
        assert self.victim is not None
        assert self.sandbox is not None
        self.seen[kind] += 1000  # once is enough
        self.victim.process.kill()
        if phase == "before":
            self.sandbox.script(["503"])


class Flaky:
    """What makes the request "flaky" fail the first time."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, custom_id: str, prompt: str) -> int | None:
        self.asked += prompt == "flaky"
        return 500 if prompt == "flaky" and self.asked == 1 else None


class Child:
    """A process of its own that does a task."""

    def __init__(
        self, sandbox: Sandbox, folder: Path, vendor: str, life: str, how: str, *kill: str
    ) -> None:
        url = {"anthropic": sandbox.anthropic_url, "gemini": sandbox.gemini_url}
        where = url.get(vendor, sandbox.base_url)
        task = Task(MODELS[vendor], where, str(folder), life, how, *kill)
        self._results, told = context.Pipe(duplex=False)
        self.process = context.Process(target=live, args=(task, told))
        self.process.start()
        told.close()

    def results(self) -> Any:
        """What it has told of; it must end well."""
        assert self._results.poll(30), "no results"
        results = self._results.recv()
        assert self.code() == 0
        return results

    def code(self) -> int | None:
        """How it ended."""
        self.process.join(30)
        return self.process.exitcode


def created(sandbox: Sandbox, folder: Path) -> list[int]:
    """The sizes of all batches ever created; each is that of one part of the job, and no other."""
    parts = JobFolder(folder).ledger(JOB).read().parts
    batches = {batch.id: batch.requests for batch in sandbox.batches}
    told = {part.batch_id: part.requests for part in parts if part.batch_id}
    assert {name.rpartition("/")[2]: size for name, size in told.items()} == {
        name.rpartition("/")[2]: size for name, size in batches.items()
    }
    return list(batches.values())


def state_of(folder: Path) -> str:
    """The job's state as its ledger has it, in a few words."""
    ledger = JobFolder(folder).ledger(JOB)
    if not ledger.exists():
        return "no ledger"
    record = ledger.read()
    if record.prompts is None:
        return "begun, no prompts"
    counted = collections.Counter(part.state for part in record.parts)
    words = ", ".join(f"{count} {state}" for state, count in counted.items())
    return f"cancelling: {words}" if record.cancelling else words


WORDS = {
    "UPLOAD": "uploads {} of the files",
    "FIND UPLOAD": "looks for an upload",
    "CREATE": "creates {} of the batches",
    "FIND BATCH": "looks for a batch",
    "CANCEL": "cancels {}",
    "FETCH": "fetches {} of the results",
}


def deeds_of(records: Any, vendor: str) -> str:
    """What the requests of the next process were, in the order of the first of each kind."""
    kinds = [kind_of(record.method, record.path) for record in records]
    counted = collections.Counter(kinds)
    if vendor == "gemini":
        counted["UPLOAD"] //= 2  # an upload in two steps
    told = [WORDS[kind].format(counted[kind]) for kind in counted if kind in WORDS]
    return ", ".join(told) or "only reads what is there"


Row = tuple[str, str, str, str, str, str]


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    found: list[Row] = []
    yield found
    if os.environ.get(TABLE):
        heads = ("provider", "killed", "in the ledger", "next process", "what it does", "created")
        lines = [heads, ("---",) * len(heads), *found]
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        Path(os.environ[TABLE]).write_text(text, encoding="utf-8")


def cases() -> Iterator[Any]:
    chosen = {
        "openai": [*WRITING, *UPLOADING, *CREATING, *ENDING, *CANCELLING],
        "anthropic": EVERYWHERE,
        "gemini": [*UPLOADING[2:4], *CREATING[2:6]],
        "mistral": [*UPLOADING[2:4], *CREATING[2:6]],
    }
    for vendor, points in chosen.items():
        for number, point in enumerate(points):
            again = point.again[number % len(point.again)]
            yield pytest.param(vendor, point, again, id=f"{vendor}-{point}-{again}")


@pytest.mark.parametrize(("vendor", "point", "again"), list(cases()))
def test_killed_anywhere_a_job_goes_on_and_each_batch_is_created_once(
    vendor: str, point: Point, again: str, tmp_path: Path, rows: list[Row]
) -> None:
    killer = Killer(point)
    with Sandbox(batches=BatchScript(failing=Flaky()), on_request=killer) as sandbox:
        killer.sandbox = sandbox
        at_request = point.what.partition("#")[0] in REQUESTS
        kill = () if at_request else (point.what, point.moment)
        killer.victim = Child(sandbox, tmp_path, vendor, point.life, "submit", *kill)
        killer.started.set()
        assert killer.victim.code() == -signal.SIGKILL
        sandbox.clear_faults()
        state, before = state_of(tmp_path), len(sandbox.journal)
        results = Child(sandbox, tmp_path, vendor, point.life, again).results()
        sizes = created(sandbox, tmp_path)
        done = deeds_of(sandbox.journal[before:], vendor)
    if point.life == "answered":
        assert results == PROMPTS
        assert sizes == AND_AGAIN
    else:
        assert results == ["batch_cancelled"] * len(PROMPTS)
        assert sizes == SIZES
    call = "the same call" if again == "submit" else "attaches"
    rows.append((vendor, point.text, state, call, done, str(len(sizes))))

# Batches without names


def killed(sandbox: Sandbox, folder: Path, *kill: str, how: str = "submit") -> None:
    child = Child(sandbox, folder, "anthropic", "answered", how, *kill)
    assert child.code() == -signal.SIGKILL


def test_two_unnamed_batches_whose_answers_were_lost_are_each_told_by_their_own_requests(
    tmp_path: Path,
) -> None:
    with Sandbox(batches=BatchScript(failing=Flaky())) as sandbox:
        killed(sandbox, tmp_path, "submitted#1", "before")
        killed(sandbox, tmp_path, "submitted#1", "before", how="attach")
        killed(sandbox, tmp_path, "submitted#1", "before", how="attach")
        assert len(sandbox.batches) == len(SIZES)
        results = Child(sandbox, tmp_path, "anthropic", "answered", "attach").results()
        assert results == PROMPTS
        assert created(sandbox, tmp_path) == AND_AGAIN


def test_an_unnamed_batch_of_ours_is_not_taken_for_another_part_that_was_never_created(
    tmp_path: Path,
) -> None:
    with Sandbox(batches=BatchScript(failing=Flaky())) as sandbox:
        killed(sandbox, tmp_path, "submitted#1", "before")
        killed(sandbox, tmp_path, "creating#1", "after", how="attach")
        assert len(sandbox.batches) == 1
        results = Child(sandbox, tmp_path, "anthropic", "answered", "submit").results()
        assert results == PROMPTS
        assert created(sandbox, tmp_path) == AND_AGAIN
