"""Batch jobs killed with `kill -9` at every point of their life, and gone on with by a new process.

With `DELUGE_SYNC_KILL_TABLE=table.md` the run writes down what happened at each point, in Markdown.
"""

from __future__ import annotations

import collections
import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

from deluge_sync import BadRequestError, BatchError, BatchJob, CallError, Client
from deluge_sync.adapters import anthropic_batches
from deluge_sync.batch import job as jobs
from deluge_sync.batch import ledger as ledgers
from deluge_sync.batch import spool as spools
from deluge_sync.batch import steps
from deluge_sync.batch.folder import JobFolder
from deluge_sync.batch.ledger import Ledger
from deluge_sync.testing import BatchScript, Fault, Sandbox

from ..helpers import ROOT, interruptible

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

    def client(self) -> Client:
        return Client(
            self.model,
            base_url=self.url,
            api_key="k",
            batch_folder=self.folder,
            progress="none",
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


def url_of(sandbox: Sandbox, vendor: str) -> str:
    urls = {"anthropic": sandbox.anthropic_url, "gemini": sandbox.gemini_url}
    return urls.get(vendor, sandbox.base_url)


def client_of(sandbox: Sandbox, folder: Path, vendor: str = "openai") -> Client:
    return Task(MODELS[vendor], url_of(sandbox, vendor), str(folder), "", "").client()


@pytest.fixture(autouse=True)
def at_short_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for the next look."""
    monkeypatch.setattr(steps, "LAG", 0.2)
    monkeypatch.setattr(steps, "FIRST_LOOK", 0.02)
    monkeypatch.setattr(jobs, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(jobs, "SLOWEST_LOOK", 0.02)


class Child:
    """A process of its own that does a task."""

    def __init__(
        self, sandbox: Sandbox, folder: Path, vendor: str, life: str, how: str, *kill: str
    ) -> None:
        url = url_of(sandbox, vendor)
        task = Task(MODELS[vendor], url, str(folder), life, how, *kill)
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
    batches = [(batch.id.rpartition("/")[2], batch.requests) for batch in sandbox.batches]
    told = [((part.batch_id or "").rpartition("/")[2], part.requests) for part in parts]
    assert sorted(told) == sorted(batches)
    return [size for _, size in batches]


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
    "UPLOAD": "{} uploads",
    "FIND UPLOAD": "looks for an upload",
    "CREATE": "{} creations",
    "FIND BATCH": "looks for a batch",
    "CANCEL": "{} cancellations",
    "FETCH": "{} downloads",
}


def deeds_of(records: Any, vendor: str) -> str:
    """What the requests of the next process were, in the order of the first of each kind."""
    kinds = [kind_of(record.method, record.path) for record in records]
    counted = collections.Counter(kinds)
    if vendor == "gemini":
        counted["UPLOAD"] //= 2  # an upload in two steps
    told = [WORDS[kind].format(counted[kind]) for kind in counted if kind in WORDS]
    return ", ".join(told) or "only reads what is there"


@dataclass
class Row:
    """What happened at one point: at the first of the providers, and batches created at each."""

    state: str
    call: str
    deeds: str
    created: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, Row]]:
    found: dict[str, Row] = {}
    yield found
    if os.environ.get(TABLE):
        Path(os.environ[TABLE]).write_text(table_of(found), encoding="utf-8")


def table_of(rows: dict[str, Row]) -> str:
    """In Markdown."""
    heads = ["killed", "in the ledger then", "the next process", "what it does"]
    lines = [[*heads, *(f"created: {vendor}" for vendor in MODELS)]]
    lines.append(["---"] * len(lines[0]))
    for point, row in rows.items():
        created = [str(row.created.get(vendor, "")) for vendor in MODELS]
        lines.append([point, row.state, row.call, row.deeds, *created])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


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
    vendor: str, point: Point, again: str, tmp_path: Path, rows: dict[str, Row]
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
        files = [file for file in sandbox.files if file.whole]
    if point.life == "answered":
        assert results == PROMPTS
        assert sizes == AND_AGAIN
    else:
        assert results == ["batch_cancelled"] * len(PROMPTS)
        assert sizes == SIZES
    assert len(files) == (0 if vendor == "anthropic" else len(sizes))
    call = "the same call" if again == "submit" else "attaches"
    row = rows.setdefault(point.text, Row(state, call, done))
    row.created[vendor] = len(sizes)


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


def test_an_unnamed_batch_is_not_given_up_for_one_of_others_that_shows_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = anthropic_batches.find

    def late(name: str, since: float, model: Any) -> Any:
        states = yield from found(name, since, model)
        return states[-1:] if time.time() < since + steps.LAG / 2 else states  # the oldest only

    monkeypatch.setattr(anthropic_batches, "find", late)
    with Sandbox(batches=BatchScript(polls=3)) as sandbox:
        client = client_of(sandbox, tmp_path, "anthropic")
        client.submit_batch_job(["not", "part of", "this"], job_id="another")
        sandbox.script([Fault("reset", match="POST /v1/messages/batches")])
        job = client.submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
        assert [response.completion for response in job.results(20)] == PROMPTS
        assert len(sandbox.batches) == 1 + len(SIZES)


# Several at once


def at_once(work: Callable[[], Any], threads: int) -> list[Any]:
    """What `work` gives in each thread."""
    start, results = threading.Barrier(threads), []

    def run() -> None:
        start.wait(20)
        results.append(work())

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    return results


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
@pytest.mark.parametrize("turn", range(3))
def test_processes_and_threads_that_make_the_same_call_at_once_share_one_job(
    vendor: str, turn: int, tmp_path: Path
) -> None:
    with Sandbox() as sandbox:
        children = [Child(sandbox, tmp_path, vendor, "answered", "submit") for _ in range(2)]

        def work() -> Any:
            client = client_of(sandbox, tmp_path, vendor)
            job = client.submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
            return [response.completion for response in job.results(30)]

        assert at_once(work, 3) == [PROMPTS] * 3
        assert [child.results() for child in children] == [PROMPTS] * 2
        assert created(sandbox, tmp_path) == SIZES


def test_processes_and_threads_may_wait_for_one_job_at_once(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(polls=6)) as sandbox:
        job = client_of(sandbox, tmp_path).submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
        children = [Child(sandbox, tmp_path, "openai", "answered", "attach") for _ in range(2)]

        def work() -> Any:
            return [response.completion for response in job.results(30)]

        assert at_once(work, 4) == [PROMPTS] * 4
        assert [child.results() for child in children] == [PROMPTS] * 2
        assert created(sandbox, tmp_path) == SIZES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_with_the_job_at_hand(tmp_path: Path) -> None:
    text = """
job = client.submit_batch_job(PROMPTS, batch_size=3, job_id="nightly")
child = os.fork()
found = [response.completion for response in job.results(20)]
found += [response.completion for response in client.attach_batch_job("nightly").results(20)]
if not child:
    os._exit(0 if found == PROMPTS * 2 else 1)
print(found == PROMPTS * 2, os.waitpid(child, 0)[1])
"""
    with Sandbox(batches=BatchScript(polls=5)) as sandbox:
        out, err = script(sandbox, tmp_path, text).communicate(timeout=30)
        assert (out, err) == ("True 0\n", "")
        assert created(sandbox, tmp_path) == SIZES


# Stopped


SETUP = f"""
import os, resource, signal, sys
from deluge_sync import BatchError, Client
from deluge_sync.batch import job as jobs
client = Client(
    "gpt-4.1-mini", base_url=sys.argv[1], api_key="k", batch_folder=sys.argv[2], progress="none"
)
jobs.FIRST_LOOK, jobs.SLOWEST_LOOK = 0.01, 0.02
PROMPTS = {PROMPTS!r}
"""


def script(sandbox: Sandbox, folder: Path, text: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SETUP + text, sandbox.base_url, str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=interruptible,
    )  # fmt: skip


WAITING = """
job = client.submit_batch_job(PROMPTS, batch_size=3, job_id="nightly")
try:
    job.wait()
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize(
    ("sign", "before", "code"),
    [
        (signal.SIGINT, "", 7),
        (signal.SIGTERM, "client.install_signal_handlers()", 143),
        (signal.SIGTERM, "", -signal.SIGTERM),
    ],
)
def test_wait_ends_in_order_when_it_is_interrupted_and_the_job_goes_on(
    sign: int, before: str, code: int, tmp_path: Path
) -> None:
    with Sandbox(batches=BatchScript(polls=25)) as sandbox:
        process = script(sandbox, tmp_path, before + WAITING)
        sandbox.wait_for(12, timeout=20)
        process.send_signal(sign)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == code
        assert {batch.status for batch in sandbox.batches} == {"running"}
        assert Child(sandbox, tmp_path, "openai", "answered", "attach").results() == PROMPTS
        assert created(sandbox, tmp_path) == SIZES


# A full disk


LONG = "x" * 3_000


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_disk_that_is_full_while_prompts_are_written_sends_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    text = f"""
prompts = ["{LONG}"] * 1_000
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    client.submit_batch_job(prompts, job_id="nightly")
except BatchError as error:
    print(error.message)
print(os.listdir(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
job = client.submit_batch_job(prompts, job_id="nightly")
print({{response.completion for response in job.results()}} == set(prompts))
"""
    with Sandbox() as sandbox:
        out, err = script(sandbox, tmp_path, text).communicate(timeout=30)
        message, left, whole = out.splitlines()
        assert "nightly" in message
        assert "cannot be written: File too large" in message
        assert (left, whole, err) == ("[]", "True", "")
        assert len(sandbox.batches) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_disk_that_is_full_while_results_are_fetched_is_told_and_they_are_fetched_later(
    tmp_path: Path,
) -> None:
    text = f"""
prompts = ["{LONG}"] * 300
job = client.submit_batch_job(prompts, batch_size=100, job_id="nightly")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    job.wait()
except BatchError as error:
    print(error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([response.completion for response in job.results()] == prompts)
"""
    with Sandbox() as sandbox:
        out, err = script(sandbox, tmp_path, text).communicate(timeout=30)
        message, whole = out.splitlines()
        assert "part-00000.results.new cannot be written: File too large" in message
        assert (whole, err) == ("True", "")
        assert len(sandbox.batches) == 3


def test_a_ledger_that_cannot_be_written_is_told_and_the_batch_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(steps, "LAG", 0.0)
    with Sandbox() as sandbox:
        client = client_of(sandbox, tmp_path)
        sent = Ledger.add

        def add(self: Ledger, event: str, **fields: Any) -> Any:
            with monkeypatch.context() as patched:
                if event == "submitted":
                    patched.setattr(os, "fsync", full)
                    path = Path(self.path(ledgers.EVENTS))
                    before = path.read_bytes()
                try:
                    return sent(self, event, **fields)
                finally:
                    if event == "submitted":
                        path.write_bytes(before + b'{"event": "subm')

        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "add", add)
            with pytest.raises(BatchError, match="No space left on device"):
                client.submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
        assert len(sandbox.batches) == 1
        job = client.attach_batch_job(JOB)
        assert [response.completion for response in job.results(20)] == PROMPTS
        assert created(sandbox, tmp_path) == SIZES


# What fails and passes again


def test_an_upload_whose_answer_is_lost_is_found_again(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault("reset", match="POST /v1/files")])
        job = client_of(sandbox, tmp_path).submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
        assert [response.completion for response in job.results(20)] == PROMPTS
        assert len(sandbox.files) == len(SIZES)
        assert created(sandbox, tmp_path) == SIZES


def test_a_batch_that_does_not_show_yet_is_not_taken_for_lost(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        job = client_of(sandbox, tmp_path).submit_batch_job(PROMPTS[:3], job_id=JOB)
        sandbox.script([Fault("404", match="GET /v1/batches/")])
        assert [response.completion for response in job.results(20)] == PROMPTS[:3]


def test_cancellations_that_fail_are_made_again_by_whoever_waits(tmp_path: Path) -> None:
    with Sandbox(batches=BatchScript(polls=50)) as sandbox:
        client = client_of(sandbox, tmp_path)
        job = client.submit_batch_job(PROMPTS, batch_size=3, job_id=JOB)
        sandbox.script([Fault("400", match="/cancel")])
        with pytest.raises(BadRequestError):
            job.cancel()
        sandbox.script([Fault("503", match="/cancel", times=20)])
        waiting = threading.Thread(target=job.wait, args=(30,))
        waiting.start()
        sandbox.wait_for(sandbox.requests + 8, timeout=20)
        sandbox.clear_faults()
        waiting.join(30)
        assert {batch.status for batch in sandbox.batches} == {"cancelled"}
        assert len(list(job.results(20))) == len(PROMPTS)


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_batch_that_the_queue_has_no_room_for_is_not_tried_with_every_look(
    vendor: str, tmp_path: Path
) -> None:
    with Sandbox(batches=BatchScript(polls=12, enqueued_tokens=15)) as sandbox:
        job = client_of(sandbox, tmp_path, vendor).submit_batch_job(PROMPTS, batch_size=3)
        assert [response.completion for response in job.results(40)] == PROMPTS
        asked = [kind_of(record.method, record.path) for record in sandbox.journal]
        assert asked.count("CREATE") <= 2 * len(SIZES)


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_file_that_the_provider_does_not_have_any_more_is_uploaded_anew(
    status: str, tmp_path: Path
) -> None:
    with Sandbox() as sandbox:
        sandbox.script([Fault(status, match="POST /v1/batches")])
        client = client_of(sandbox, tmp_path)
        with pytest.raises(CallError, match="keeps what is done"):
            client.submit_batch_job(PROMPTS[:3], job_id=JOB)
        job = client.attach_batch_job(JOB)
        assert [response.completion for response in job.results(20)] == PROMPTS[:3]
        assert len(sandbox.files) == 2
        assert created(sandbox, tmp_path) == [3]
