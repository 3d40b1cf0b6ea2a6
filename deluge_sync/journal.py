"""A file that a run writes its answers to as they arrive, and goes on from when begun again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from .rows import (
    START,
    VERSION,
    Origin,
    OtherVersionError,
    line_of,
    models_digest,
    params_digest,
    prompt_digest,
    response_of,
    row_of,
)
from .stores.batches import Batches
from .stores.file_lock import lock, unlock
from .values.errors import (
    BudgetExceeded,
    CallCancelledError,
    ConfigError,
    JournalError,
    JournalInUseError,
)
from .values.plain import MalformedError
from .values.response import Response

logger = logging.getLogger(__name__)

RULES = ("model", "params", "prompt")

SYNC_SECONDS = 0.1
"""The disk is at most this far behind, should the machine itself fail."""

GRACE = 1.0
"""Seconds to wait at the end for workers who already have an answer in hand."""

LOCK_BYTE = 1 << 40
"""Far behind any row: where locks are mandatory, others may still read the file."""

UNSENT = (CallCancelledError, BudgetExceeded, ConfigError)
"""These say nothing of the prompt: it was not asked."""

_open_files: dict[tuple[int, str], JournalFile] = {}
"""By process id and path: locks on files do not keep two runs of one process apart."""


class Journal:
    """The journal of a run: JSON lines, one for each answer, written before the next is asked for.

    Give it, or just its path, to `map` or `imap`. With a file that is there already the run goes
    on from it: what it holds is not sent again. Its prompts, model and sampling parameters must be
    those of now; `force` names what may differ: "model" and "params" keep the old answers,
    "prompt" asks anew where the prompt has changed. Nothing is opened before the run begins.
    """

    sorts = False
    """Whether a complete run puts the rows in the order of their prompts."""

    def __init__(self, path: str | os.PathLike[str], *, force: str | Iterable[str] = ()) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise JournalError(f"a journal is the path of a file, not {path!r}")
        self.path = os.path.expanduser(os.fsdecode(path))
        self.force = frozenset((force,) if isinstance(force, str) else force)
        for rule in self.force:
            if rule not in RULES:
                raise JournalError(f"force takes {', '.join(RULES)}, not {rule!r}")

    @classmethod
    def of(cls, journal: str | os.PathLike[str] | Journal) -> Journal:
        """A journal from one or from its path."""
        return journal if isinstance(journal, Journal) else cls(journal)

    def shown_prompt(self, response: Response) -> Any:
        """What a row shows as its prompt; called by workers. Here: a string, or None."""
        return response.prompt if isinstance(response.prompt, str) else None

    def __repr__(self) -> str:
        return f"Journal({self.path!r})"


class JournalFile:
    """A journal in the hands of one run.

    `open`, `begin`, `finish` and `close` are called by the run's own thread, `record` by any.
    `models` and `params` are what the run asks with; `prompts` are checked before anything is sent.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        models: Sequence[str],
        params: Mapping[str, Any],
        prompts: Sequence[Any] = (),
    ) -> None:
        self._journal = journal
        self._path = os.path.realpath(journal.path)
        self._models = models
        self._origin = Origin(models_digest(models), params_digest(params), "")
        self._prompts = prompts
        self.spent = 0.0
        """US dollars that the answers it has had cost, once it is open."""
        self._size = 0
        self._pid = 0
        self._error: JournalError | None = None
        self._descriptor: _Descriptor | None = None
        self._reader: Any = None
        self._finished = _Places()
        self._digests: dict[int, str] = {}
        self._expected: dict[int, None] = {}
        self._closing = False
        self._idle = threading.Event()
        self._syncs: Batches[None] = Batches(
            self._sync, delay=SYNC_SECONDS, name="deluge-sync-journal"
        )

    # The run's own thread

    def open(self) -> None:
        """Lock and read the file. `JournalError`, and nothing is changed, where it is no use."""
        self._pid = os.getpid()
        if _open_files.setdefault((self._pid, self._path), self) is not self:
            raise self._in_use("run of this process")
        try:
            self._descriptor = self._locked()
            self._reader = open(self._path, "rb")  # noqa: SIM115  (closing it ends the lock)
            torn = self._load()
            self._check_prompts()
            if torn is not None:
                self._repair(*torn)
        except OSError as error:
            raise self._refused(f"cannot be used: {error.strerror or error}") from error

    def begin(self, index: int, prompt: Any) -> Response | None:
        """The response that is there already, or None: then this prompt is to be sent."""
        self.check()
        digest = prompt_digest(prompt)
        row = self._finished_row(index)
        if row is not None:
            if Origin.read(row["request"]).prompt == digest:
                return response_of(row, prompt)
            self._refuse_changed(index)
        self._digests[index] = digest
        return None

    def expect(self, index: int) -> None:
        """A worker has taken on that prompt, and will `record` whatever comes of it."""
        self._expected[index] = None

    def check(self) -> None:
        """Raise what has gone wrong while writing."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """All prompts have their rows: bring the file to the disk, and in order where asked."""
        self._syncs.flush()
        self.check()
        if self._journal.sorts:
            try:
                self._sort()
            except OSError as error:
                logger.warning("%s is complete, but not in order: %s", self._path, error)

    def close(self) -> None:
        """Write what workers have in hand, bring it to the disk, and let go of the file."""
        key = (self._pid, self._path)
        if self._pid != os.getpid() or _open_files.get(key) is not self:
            return
        try:
            if self._descriptor is not None:
                self._close(self._descriptor)
        finally:
            self._descriptor = None
            if self._reader is not None:
                self._reader.close()
            _open_files.pop(key, None)

    # Any thread

    def record(self, index: int, response: Response) -> None:
        """Write the row of a prompt that was begun. What goes wrong is raised by `check`."""
        digest = self._digests.pop(index, None)
        descriptor = self._descriptor
        is_news = digest is not None and not isinstance(response.error, UNSENT)
        try:
            if is_news and descriptor is not None and self._may_write():
                self._write(descriptor, index, str(digest), response)
        except Exception as error:  # whatever it is, the run must hear of it, and go on to its end
            self._fail(error)
        finally:
            self._expected.pop(index, None)
            if self._closing and not self._expected:
                self._idle.set()

    def _may_write(self) -> bool:
        return self._error is None and self._pid == os.getpid()

    def _write(self, descriptor: _Descriptor, index: int, digest: str, response: Response) -> None:
        shown = self._journal.shown_prompt(response)
        row = row_of(response, shown, self._origin._replace(prompt=digest))
        row["index"] = index
        line = line_of(row).encode()
        if os.write(descriptor.number, line) < len(line):  # one write: rows of threads never mix
            raise OSError("the disk is full")
        self._syncs.add(None)

    def _sync(self, _: list[None]) -> None:
        descriptor = self._descriptor
        if descriptor is None or self._pid != os.getpid():
            return
        try:
            os.fsync(descriptor.number)
            size = os.fstat(descriptor.number).st_size
            if size < self._size:
                raise OSError("somebody else has cut it off")
            self._size = size
            # Whoever in this process only reads the file frees our lock by closing it.
            if not lock(descriptor.number, at=LOCK_BYTE):
                raise OSError("another process has taken it over")
            if not _is_at(descriptor.number, self._path):
                raise OSError("it was removed or replaced")
        except OSError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            reason = getattr(error, "strerror", None) or error
            self._error = self._refused(f"cannot be written: {reason}")
            self._error.__cause__ = error

    def _refused(self, reason: str) -> JournalError:
        return JournalError(f"the journal {self._journal.path} {reason}")

    def _in_use(self, other: str) -> JournalInUseError:
        return JournalInUseError(f"the journal {self._journal.path} is in use by another {other}")

    # Opening and closing

    def _locked(self) -> _Descriptor:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        while True:
            descriptor = _Descriptor(os.open(self._path, flags, 0o600))
            if not stat.S_ISREG(os.fstat(descriptor.number).st_mode):
                raise self._refused("is not a regular file")
            if not lock(descriptor.number, at=LOCK_BYTE):
                raise self._in_use("process")
            if _is_at(descriptor.number, self._path):
                break  # not one that its last run has just replaced by a sorted one
        if not os.fstat(descriptor.number).st_size:
            _sync_folder(self._path)
        return descriptor

    def _close(self, descriptor: _Descriptor) -> None:
        self._closing = True
        if self._expected:
            self._idle.wait(GRACE)
        self._syncs.flush()
        try:
            os.fsync(descriptor.number)
            unlock(descriptor.number, at=LOCK_BYTE)
        except OSError as error:
            logger.warning("%s: %s", self._path, error)

    # Reading

    def _load(self) -> tuple[int, bool] | None:
        """Note where the finished rows are; gives what `_repair` needs where the end is torn."""
        changed: dict[str, str] = {}
        torn: tuple[int, bool] | None = None
        for place in self._scan():
            if place.is_open:
                torn = (place.offset, place.row is not None)
            if place.row is None:
                continue
            index = place.row["index"]
            self.spent += _cost(place.row)
            if place.row["error"] is not None:
                self._finished.forget(index)
                continue
            origin = Origin.read(place.row["request"])
            if origin.models != self._origin.models:
                changed["model"] = str(place.row["model"])
            if origin.params != self._origin.params:
                changed["params"] = ""
            self._finished.note(index, place.offset, origin.prompt)
        self._refuse_other(changed)
        return torn

    def _refuse_other(self, changed: Mapping[str, str]) -> None:
        rules = [rule for rule in ("model", "params") if rule in changed]
        rules = [rule for rule in rules if rule not in self._journal.force]
        if not rules:
            return
        now = ", ".join(self._models)
        words = {
            "model": f"other models ({changed.get('model')}, for one; now {now})",
            "params": "other sampling parameters",
        }
        what = " and ".join(words[rule] for rule in rules)
        raise self._refused(f"holds answers of {what}: {_relax(rules)} would keep them")

    def _check_prompts(self) -> None:
        for index, prompt in enumerate(self._prompts):
            if self._finished.holds_other(index, prompt):
                self._refuse_changed(index)

    def _refuse_changed(self, index: int) -> None:
        if "prompt" not in self._journal.force:
            raise self._refused(
                f"holds an answer to another prompt at index {index}: {_relax(['prompt'])} would "
                "ask anew where the prompt has changed"
            )

    def _finished_row(self, index: int) -> dict[str, Any] | None:
        offset = self._finished.offset(index)
        if offset is None:
            return None
        self._reader.seek(offset)
        row: dict[str, Any] = json.loads(self._reader.readline())
        return row

    def _scan(self) -> Iterator[_Place]:
        """All rows of the file, checked, in their order there."""
        self._reader.seek(0)
        if not START.startswith(self._reader.read(len(START))):
            raise self._refused("is not a journal: it does not begin like one")
        self._reader.seek(0)
        offset = 0
        for number, line in enumerate(self._reader, 1):
            try:
                skipped, row = _row_in(line)
                if row is not None:
                    _check_row(row)
            except OtherVersionError as error:
                raise self._refused(
                    f"is of version {error}; this release goes on from version {VERSION}"
                ) from None
            except MalformedError as error:
                raise self._refused(f"is not a journal: line {number}: {error}") from None
            yield _Place(offset + skipped, row, not line.endswith(b"\n"))
            offset += len(line)

    # Changing

    def _repair(self, offset: int, is_whole: bool) -> None:
        """End the last line, or cut it off where it is not whole."""
        assert self._descriptor is not None
        if is_whole:
            os.write(self._descriptor.number, b"\n")
        else:
            os.ftruncate(self._descriptor.number, offset)
            logger.info("%s: cut off a torn last line", self._path)
        os.fsync(self._descriptor.number)

    def _sort(self) -> None:
        """Put the rows in order, one for each prompt, by a new file in the place of this one."""
        places, last, is_sorted = _Places(), -1, True
        for place in self._scan():
            if place.row is None:
                is_sorted = False
                continue
            index = place.row["index"]
            is_sorted = is_sorted and index > last
            last = index
            places.note(index, place.offset, "0")
        if is_sorted:
            return
        folder, name = os.path.split(self._path)
        draft = os.path.join(folder, f".{name}.sorted")
        try:
            self._copy(places, draft)
            os.replace(draft, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        _sync_folder(self._path)

    def _copy(self, places: _Places, draft: str) -> None:
        assert self._descriptor is not None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)  # of a run that was killed here
        with open(draft, "xb") as file:
            os.chmod(draft, stat.S_IMODE(os.fstat(self._descriptor.number).st_mode))
            for offset in places:
                self._reader.seek(offset)
                file.write(self._reader.readline())
            file.flush()
            os.fsync(file.fileno())


class _Descriptor:
    """An open file that is closed when nobody uses it any more: a worker may be a moment late."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class _Place(NamedTuple):
    """A row (None: a torn one) and where it begins; `is_open` where no line feed ends it."""

    offset: int
    row: Optional[dict[str, Any]]
    is_open: bool


class _Places:
    """Where rows are, by index, in two machine words each."""

    PAGE = 256

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def note(self, index: int, offset: int, digest: str) -> None:
        page, at = divmod(index, self.PAGE)
        words = self._pages.get(page)
        if words is None:
            words = self._pages[page] = array("Q", bytes(16 * self.PAGE))
        words[2 * at] = offset + 1
        words[2 * at + 1] = _word(digest)

    def forget(self, index: int) -> None:
        if self.offset(index) is not None:
            self._pages[index // self.PAGE][2 * (index % self.PAGE)] = 0

    def offset(self, index: int) -> int | None:
        words = self._pages.get(index // self.PAGE)
        found = 0 if words is None else words[2 * (index % self.PAGE)]
        return found - 1 if found else None

    def holds_other(self, index: int, prompt: Any) -> bool:
        """Whether the row there is of another prompt."""
        if self.offset(index) is None:
            return False
        word = self._pages[index // self.PAGE][2 * (index % self.PAGE) + 1]
        return word != _word(prompt_digest(prompt))

    def __iter__(self) -> Iterator[int]:
        """The offsets, in the order of the indexes."""
        for page in sorted(self._pages):
            for found in self._pages[page][::2]:
                if found:
                    yield found - 1


def _word(digest: str) -> int:
    return int(digest[:16], 16)


def _row_in(line: bytes) -> tuple[int, dict[str, Any] | None]:
    """The row in `line`, and the bytes before it; None where there is none any more.

    A full disk can leave a piece of a row with the next one glued to it.
    """
    if not line.strip(b"\0\r\n "):  # nulls are what a crash of the machine leaves
        return 0, None
    try:
        return 0, _parsed(line)
    except ValueError:
        if not (line.startswith(START) or START.startswith(line)):
            raise MalformedError("not a row of ours") from None
    at = line.find(START, 1)
    while at > 0:  # the first that is one: a row may hold another, in a tool's arguments
        try:
            row = _parsed(line[at:])
        except ValueError:
            at = line.find(START, at + 1)
            continue
        return (at, row) if "request" in row else (0, None)
    return 0, None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if type(row) is not dict:
        raise MalformedError("not an object")
    return row


def _check_row(row: Mapping[str, Any]) -> None:
    """Raise `MalformedError` unless it is a row of ours, and one that can be given back."""
    Origin.read(row.get("request"))
    index, error = row.get("index"), row.get("error", "")
    if type(index) is not int or not 0 <= index < 1 << 60:
        raise MalformedError("no index")
    if error is not None and (type(error) is not str or not error):
        raise MalformedError("`error` is neither null nor a text")
    if error is None:
        response_of(row, None)


def _cost(row: Mapping[str, Any]) -> float:
    cost = row.get("cost")
    return cost if isinstance(cost, (int, float)) and cost > 0 else 0.0


def _relax(rules: Sequence[str]) -> str:
    flags = " ".join(f"--force {rule}" for rule in rules)
    return f"force=({', '.join(map(repr, rules))},) or {flags}"


def _is_at(number: int, path: str) -> bool:
    """Whether that open file is (still) the one at `path`."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False


def _sync_folder(path: str) -> None:
    """Bring a new name to the disk, where that is a thing."""
    if os.name != "posix":
        return
    number = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:  # some file systems do not do folders
        pass
    finally:
        os.close(number)
