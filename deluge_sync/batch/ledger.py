"""What was done with a batch job, step by step, in a folder that outlives the process.

    ledger.jsonl          one event a line: each step before and after it is done
    prompts.jsonl         the prompts, one a line, with what their responses will show
    local.jsonl           outcomes nobody asked the provider for: hits of the cache, bad prompts
    part-00000.jsonl      the requests of one batch, as the provider gets them
    part-00000.results    the outcomes of that batch, as the provider gave them
    lock                  locked by the process that works on the job
    cancel                there while that process has not heard yet that it is to submit no more

Everything is read and written anew with each step: a job holds nothing open, and any process may
go on with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..engine.cancellation import Cancellation
from ..engine.clock import Clock
from ..stores import file_lock
from ..values.errors import BatchError
from ..values.wire import FileBody

VERSION = 1
EVENTS, PROMPTS, LOCAL, LOCK = "ledger.jsonl", "prompts.jsonl", "local.jsonl", "lock"
CALLED_OFF = "cancel"

_OURS = re.compile(
    r"(?:ledger|prompts|local|part-[0-9]{5,})\.(?:jsonl|results)(?:\.new)?\Z|(?:cancel|lock)\Z"
)
"""The names of all files of a job."""

READY, UPLOADING, UPLOADED, CREATING, UNSURE, SUBMITTED, ENDED, FETCHED = (
    "ready",
    "uploading",
    "uploaded",
    "creating",
    "unsure",
    "submitted",
    "ended",
    "fetched",
)
"""The states of a part. "uploading" and "creating" are begun, and nobody knows yet whether the
provider has done it; "unsure" is created, and one of several batches at the provider."""

LOCK_PAUSE = 0.1
"""Seconds between looks whether another process is done with the job."""

BUFFER = 1 << 18
"""Bytes that are written at once."""

_locks: dict[tuple[int, str], threading.Lock] = {}
"""By process id and folder: locks on files do not keep threads of one process apart."""


class BusyError(BatchError):
    """Another process, or thread, works on the job."""


@dataclass(frozen=True)
class Part:
    """One batch of a job, from the file of its requests to that of its outcomes.

    `tokens` is what its requests are taken to read. `generation` counts the times that what had
    failed was submitted again. `attempt` counts the batches made of it: one that the provider's
    queue had no room for is made again. `since` is when the present one was first asked for, and
    `tried_at` when last, in seconds since the epoch. `counts` are total, succeeded and failed. With
    `stopping` the provider was told to stop; `behind` counts the batches of the job that were under
    way when its queue last had no room for this one. Since `missing_since` the provider does not
    find it, or its outcomes. For the rest see `BatchState`.
    """

    number: int
    requests: int
    size: int
    tokens: int
    generation: int = 0
    state: str = READY
    attempt: int = 0
    since: float = 0.0
    tried_at: float = 0.0
    file_id: str | None = None
    batch_id: str | None = None
    candidates: tuple[str, ...] = ()
    status: str = ""
    problem: str | None = None
    counts: tuple[int, int, int] = (0, 0, 0)
    results: tuple[str, ...] = ()
    expires_at: float | None = None
    stopping: bool = False
    behind: int = 0
    missing_since: float | None = None

    def after(self, event: Mapping[str, Any]) -> Part:
        """This part, when `event` has happened."""
        changes = {name: event[name] for name in _CHANGING if name in event}
        for name in ("candidates", "counts", "results"):
            if name in changes:
                changes[name] = tuple(changes[name])
        return dataclasses.replace(self, state=event["event"], **changes)


_CHANGING = (
    "attempt",
    "since",
    "tried_at",
    "file_id",
    "batch_id",
    "candidates",
    "status",
    "problem",
    "counts",
    "results",
    "expires_at",
    "stopping",
    "behind",
    "missing_since",
)


@dataclass(frozen=True)
class Header:
    """What a job was made with, by `owner` (see `cache.owner_of`).

    `tag` is random, and part of all names at the provider; `server` is where it was submitted,
    `wire` the format of its requests and answers. `asked` is what reading the answers
    needs to know: the schema of objects, or how texts were embedded. `digest` is that of all
    options that decide an answer.
    """

    job: str
    tag: str
    model: str
    wire: str
    server: str
    owner: str
    created_at: float
    kind: str = "prompt"
    asked: Mapping[str, Any] | None = None
    digest: str = ""


@dataclass(frozen=True)
class Record:
    """A job as its ledger has it.

    `prompts` counts them, None while they are still being written down; the provider is not asked
    for the `cached` and the `rejected` ones. `shared` is what all requests have in common (see
    `BatchAdapter`). `limits` is what one batch may hold: requests, bytes, tokens; `digest` that of
    the prompts.
    """

    header: Header
    prompts: int | None = None
    cached: int = 0
    rejected: int = 0
    digest: str = ""
    shared: tuple[str, ...] = ()
    limits: tuple[Any, ...] = ()
    parts: tuple[Part, ...] = ()
    cancelling: bool = False

    @property
    def done(self) -> bool:
        """Whether all outcomes are here."""
        return self.prompts is not None and all(part.state == FETCHED for part in self.parts)

    @property
    def generation(self) -> int:
        """How often what had failed was submitted again."""
        return max((part.generation for part in self.parts), default=0)

    def after(self, event: Mapping[str, Any]) -> Record:
        """This record, when `event` has happened."""
        if "part" in event:
            number = event["part"]
            parts = list(self.parts)
            parts[number] = parts[number].after(event)
            return dataclasses.replace(self, parts=tuple(parts))
        if event["event"] == "cancelling":
            return dataclasses.replace(self, cancelling=True)
        if event["event"] == "spooled":
            return self._spooled(event)
        raise BatchError(f"the ledger of {self.header.job} has an unknown event {event['event']!r}")

    def _spooled(self, event: Mapping[str, Any]) -> Record:
        parts = tuple(Part(**fields) for fields in event["parts"])
        if [part.number for part in self.parts + parts] != [*range(len(self.parts + parts))]:
            raise ValueError("its parts are not in order")
        if event["generation"]:  # what had failed once more; the prompts are the same
            return dataclasses.replace(self, parts=self.parts + parts, cancelling=False)
        counts = {name: event[name] for name in ("prompts", "cached", "rejected", "digest")}
        return dataclasses.replace(
            self,
            parts=parts,
            shared=tuple(event["shared"]),
            limits=tuple(event["limits"]),
            **counts,
        )


class Ledger:
    """The folder of one job. Nothing is opened, or made, by the constructor."""

    def __init__(self, folder: str, *, wall_clock: Clock = time.time) -> None:
        self.folder = folder
        self.job = os.path.basename(folder)
        self._wall_clock = wall_clock

    def make(self) -> None:
        """Make the folder, for this user alone."""
        with disk_errors(self.folder):
            os.makedirs(self.folder, 0o700, exist_ok=True)
            sync_folder(self.folder)
        if os.name == "posix" and os.stat(self.folder).st_uid != os.geteuid():
            raise BatchError(f"{self.folder} belongs to another user: name a folder of your own")

    def create(self, header: Header) -> None:
        """Begin a ledger; locked, as others may be about to. `BatchError` where there is one."""
        if self.exists():
            raise BatchError(f"there is a batch job {header.job!r} already in {self.folder}")
        first = {"deluge_sync_batch": VERSION, **dataclasses.asdict(header)}
        write_whole(self.path(EVENTS), [_line(first)])

    def remove(self) -> None:
        """Remove a job of which nothing was sent, while it is locked; what else is in its folder
        stays.
        """
        with contextlib.suppress(OSError):  # on Windows what is locked cannot be removed
            ours = filter(_OURS.match, os.listdir(self.folder))
            for name in sorted(ours, key=LOCK.__eq__):
                os.remove(self.path(name))
            os.rmdir(self.folder)

    def call_off(self) -> None:
        """Have whoever works on the job submit no more; nobody needs to be waited for."""
        new_file(self.path(CALLED_OFF)).close()

    def is_called_off(self) -> bool:
        """Whether that was asked for, and not heard yet."""
        return os.path.exists(self.path(CALLED_OFF))

    def forget_calling_off(self) -> None:
        """It was heard."""
        with contextlib.suppress(OSError):
            os.remove(self.path(CALLED_OFF))

    def exists(self) -> bool:
        """Whether there is a ledger here."""
        return os.path.exists(self.path(EVENTS))

    def read(self) -> Record:
        """The job as it stands. A line that a killed process left unfinished did not happen.

        `BatchError` for a ledger that is none, or of another version.
        """
        with self._opened() as file:
            lines = file.read().split(b"\n")
        record = Record(self._header(lines[0]))
        for line in filter(None, lines[1:]):
            event = _parsed(line)
            if event is not None:
                record = self._after(record, event)
        return record

    def header(self) -> Header:
        """What the job was made with, which never changes; raises as `read` does."""
        with self._opened() as file:
            return self._header(file.readline())

    def add(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write down an event: it is on the disk when this returns. Gives it."""
        entry = {"event": event, "at": round(self._wall_clock(), 3), **fields}
        path = self.path(EVENTS)
        with disk_errors(path), open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
            file.write(b"\n" + _line(entry) if torn else _line(entry))
            file.flush()
            os.fsync(file.fileno())
        return entry

    def path(self, name: str) -> str:
        """The path of a file of the job."""
        return os.path.join(self.folder, name)

    def requests_path(self, part: int) -> str:
        """That of the requests of a part."""
        return self.path(f"part-{part:05d}.jsonl")

    def results_path(self, part: int) -> str:
        """That of its outcomes."""
        return self.path(f"part-{part:05d}.results")

    def requests(self, part: Part) -> FileBody:
        """The requests of a part, to be sent."""
        return FileBody(self.requests_path(part.number), part.size)

    @contextmanager
    def locked(self, deadline: float, cancellation: Cancellation, clock: Clock) -> Iterator[None]:
        """Be the only one who works on the job; waits for another process, or thread.

        Raises `BusyError` at `deadline`, and what waiting raises.
        """
        lock = _locks.setdefault((os.getpid(), os.path.realpath(self.folder)), threading.Lock())
        while not lock.acquire(blocking=False):
            self._wait(deadline, cancellation, clock)
        try:
            file = self._lock_file()
            try:
                while not file_lock.lock(file):
                    self._wait(deadline, cancellation, clock)
                self._check_there(file)
                yield
            finally:
                os.close(file)
        finally:
            lock.release()

    def _lock_file(self) -> int:
        with disk_errors(self.folder):
            return os.open(self.path(LOCK), os.O_RDWR | os.O_CREAT, 0o600)

    def _check_there(self, lock: int) -> None:
        """Whoever had the lock before may have removed the job, and the lock with it."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(lock), os.stat(self.path(LOCK))):
                return
        raise BatchError(f"the batch job {self.job!r} was removed: it could not be submitted")

    def _wait(self, deadline: float, cancellation: Cancellation, clock: Clock) -> None:
        if clock() >= deadline:
            raise BusyError(f"another process works on the batch job {self.job!r}")
        cancellation.sleep(min(LOCK_PAUSE, max(deadline - clock(), 0.0)))

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with open(self.path(EVENTS), "rb") as file:
                yield file
        except FileNotFoundError:
            raise BatchError(f"there is no batch job {self.job!r} in {self.folder}") from None
        except OSError as error:
            raise BatchError(
                f"{self.path(EVENTS)} cannot be read: {error.strerror or error}"
            ) from None

    def _header(self, line: bytes) -> Header:
        fields = _parsed(line) or {}
        version = fields.pop("deluge_sync_batch", None)
        if version is None:
            raise BatchError(f"{self.path(EVENTS)} is not the ledger of a batch job")
        if version != VERSION:
            raise BatchError(
                f"{self.path(EVENTS)} is a ledger of version {version!r}, this is version "
                f"{VERSION}: continue it with the deluge_sync that wrote it"
            )
        try:
            fields["created_at"] += 0.0
            return Header(**fields)
        except (KeyError, TypeError) as error:
            raise BatchError(f"{self.path(EVENTS)} has a damaged first line: {error}") from None

    def _after(self, record: Record, event: Mapping[str, Any]) -> Record:
        try:
            return record.after(event)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BatchError(
                f"{self.path(EVENTS)} is damaged: {type(error).__name__}: {error}"
            ) from None


class _OnDisk(io.FileIO):
    """A file to be written, for this user alone. What the disk refuses is a `BatchError`."""

    def __init__(self, path: str) -> None:
        with disk_errors(path):
            super().__init__(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))

    def write(self, data: Any) -> int:
        with disk_errors(str(self.name)):
            return super().write(data)


def new_file(path: str) -> BinaryIO:
    """An empty file that nobody else may read; `BatchError` where it cannot be written."""
    return io.BufferedWriter(_OnDisk(path), BUFFER)


@contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Raise what the disk refuses (it is full, or may not be written) as a `BatchError`."""
    try:
        yield
    except OSError as error:
        raise BatchError(
            f"{path} cannot be written: {error.strerror or error}; the batch job goes on from "
            "where it is once that is mended"
        ) from error


@contextmanager
def read_errors(job: str) -> Iterator[None]:
    """Raise what keeps a job's files from being read (one is gone) as a `BatchError`."""
    try:
        yield
    except OSError as error:
        raise BatchError(
            f"{error.filename} cannot be read: {error.strerror or error}; the batch job {job!r} "
            "needs all files of its folder"
        ) from error


def write_whole(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file so that it is there whole or not at all, whenever the process ends."""
    unfinished = path + ".new"
    with new_file(unfinished) as file:
        for piece in pieces:
            file.write(piece)
        settle(file)
    os.replace(unfinished, path)
    sync_folder(path)


def settle(file: BinaryIO) -> None:
    """Have what was written to `file` on the disk."""
    file.flush()
    with disk_errors(file.name):
        os.fsync(file.fileno())


def sync_folder(path: str) -> None:
    """Have the name of a new file on the disk."""
    if os.name != "posix":
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
