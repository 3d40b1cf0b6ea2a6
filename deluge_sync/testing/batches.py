"""The batches of a sandbox and how they get on, whatever the vendor."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional, Protocol

from ..values.response import Usage
from .batch_lines import Call, Desk, Lines, Outcome, Results
from .batch_script import ENDS, BatchRecord, BatchScript
from .checks import VendorError
from .files import FileStore, StoredFile

SERIALS = 1 << 28
"""How far apart the answers' numbers of two batches are, so that no two answers share an id."""

LIFE = 30 * 86_400


class Form(Protocol):
    """How a vendor writes the lines of a batch's file and of its results."""

    wire: str
    file_wire: str
    """The file store that its results are in."""

    file_form: str
    """The ids of those files, see `FileStore.add`."""

    one_file: bool
    """Whether what failed stands among the results."""

    keeps: frozenset[str]
    """The ends of a batch that leave its results to be read."""

    def call(self, line: bytes, batch: Batch) -> Call:
        """The request that a line holds. It is known to be one."""

    def done(self, batch: Batch, at: int, call: Call, outcome: Outcome) -> bytes:
        """The result of line `at`."""

    def undone(self, batch: Batch, at: int, call: Call) -> bytes | None:
        """The result of a line that the batch's end has come before; None: there is none."""


class Order(NamedTuple):
    """What a batch is made of. `model` is that of all its lines, where the lines name none;
    `problems` are what its validation finds, in the vendor's form; `about` is what else is told
    back as it was given.
    """

    form: Form
    lines: Lines
    path: str
    headers: Mapping[str, str]
    model: str = ""
    name: str = ""
    metadata: Optional[Mapping[str, Any]] = None
    problems: Sequence[Any] = ()
    about: Mapping[str, Any] = {}
    inline: bool = False


@dataclass
class Batch:
    """One batch. `done` lines of it are done, the first ones; `looks` counts those at it."""

    id: str
    number: int
    order: Order
    tokens: int
    created_at: float
    output: Results
    errors: Results
    problems: list[Any] = field(default_factory=list)
    looks: int = 0
    done: int = 0
    succeeded: int = 0
    failed: int = 0
    status: str = "waiting"
    usage: Usage = field(default_factory=Usage)
    begun_at: float | None = None
    cancelled_at: float | None = None
    ended_at: float | None = None
    output_file: str | None = None
    error_file: str | None = None

    @property
    def total(self) -> int:
        """How many requests there are."""
        return len(self.order.lines)

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in ENDS


class BatchStore:
    """The batches of one sandbox. Changed by the server's thread only."""

    def __init__(self, script: BatchScript, desk: Desk, files: FileStore, seed: int) -> None:
        self._script = script
        self._desk = desk
        self._files = files
        self._random = random.Random(seed)
        self._created: list[Batch] = []
        self._batches: dict[str, Batch] = {}

    def records(self) -> list[BatchRecord]:
        """Every creation, the deleted ones too, the oldest first."""
        return [
            BatchRecord(
                batch.id,
                batch.order.form.wire,
                batch.order.name,
                dict(batch.order.metadata or {}),
                batch.total,
                batch.status,
                batch.created_at,
            )
            for batch in tuple(self._created)
        ]

    def of(self, wire: str) -> list[Batch]:
        """Those of a vendor, the newest first."""
        return [batch for batch in self._batches.values() if batch.order.form.wire == wire][::-1]

    def get(self, wire: str, batch_id: str) -> Batch:
        """That batch; a 404 where the vendor has none of that id."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.order.form.wire != wire:
            raise VendorError(404, f"No batch found with id '{batch_id}'.", param="id")
        return batch

    def add(self, id_form: str, order: Order, now: float) -> Batch:
        """A new batch, under an id that `id_form` makes of a number."""
        number = len(self._created) + 1
        output, errors = Results(in_order=order.inline), Results()
        batch = Batch(id_form.format(number), number, order, 0, now, output, errors)
        batch.problems = list(order.problems)
        if not batch.problems:
            batch.tokens = self._tokens(batch)
        self._created.append(batch)
        self._batches[batch.id] = batch
        return batch

    def crowded(self, order: Order) -> int | None:
        """The queue's limit, where `order` is over it with what is under way."""
        most = self._script.enqueued_tokens
        if most is None or order.problems:
            return None
        batch = Batch("", 0, order, 0, 0.0, Results(), Results())
        queued = sum(other.tokens for other in self._batches.values() if not other.ended)
        return most if queued + self._tokens(batch) > most else None

    def look(self, batch: Batch, now: float) -> Batch:
        """One look at it: it gets on, and may end."""
        if batch.ended:
            return batch
        script = self._script
        batch.looks += 1
        batch.begun_at = batch.begun_at or now
        if batch.problems:
            self._end(batch, "failed", now)
        elif batch.status == "cancelling":
            self._end(batch, "cancelled", now)
        else:
            batch.status = "running"
            most = batch.total if script.end == "completed" else round(batch.total * script.share)
            self._work(batch, most * min(batch.looks, script.polls) // script.polls)
            if batch.looks >= script.polls:
                self._end(batch, script.end, now)
        return batch

    def cancel(self, batch: Batch, now: float) -> Batch:
        """Begin to stop it; the next look finds it stopped. One that has ended stays so."""
        if not batch.ended:
            batch.status = "cancelling"
            batch.cancelled_at = batch.cancelled_at or now
        return batch

    def remove(self, batch: Batch) -> None:
        """Forget it, but for its record."""
        self._batches.pop(batch.id, None)
        batch.output.clear()
        batch.errors.clear()

    def _tokens(self, batch: Batch) -> int:
        if self._script.enqueued_tokens is None:
            return 0
        order, desk = batch.order, self._desk
        return sum(desk.tokens(order.form.call(line, batch), order.headers) for line in order.lines)

    def _work(self, batch: Batch, until: int) -> None:
        """Do the lines up to `until`, in no order: the vendors keep none."""
        for at in self._disorder(batch.done, until, batch.order.inline):
            self._do(batch, at)
        batch.done = until
        batch.output.close_block()
        batch.errors.close_block()

    def _disorder(self, start: int, end: int, inline: bool) -> Sequence[int]:
        if inline:
            return range(start, end)
        lines = list(range(start, end))
        self._random.shuffle(lines)
        if len(lines) > 1 and lines == sorted(lines):
            lines.reverse()
        return lines

    def _do(self, batch: Batch, at: int) -> None:
        order = batch.order
        call = order.form.call(order.lines[at], batch)
        outcome = self._desk.answer(call, order.headers, batch.number * SERIALS + at)
        if outcome.status == 200:
            batch.succeeded += 1
        else:
            batch.failed += 1
        if outcome.usage is not None:
            batch.usage = batch.usage.plus(outcome.usage)
        kept = batch.output if outcome.status == 200 or order.form.one_file else batch.errors
        kept.add(order.form.done(batch, at, call, outcome))

    def _end(self, batch: Batch, end: str, now: float) -> None:
        batch.status, batch.ended_at = end, now
        self._write_off(batch)
        nothing = end == "completed" and self._script.without_output
        if nothing or end not in batch.order.form.keeps:
            batch.output.clear()
            batch.errors.clear()
        batch.output_file = self._file(batch, batch.output, "output", now)
        batch.error_file = self._file(batch, batch.errors, "error", now)

    def _write_off(self, batch: Batch) -> None:
        """The lines that were not done, as the vendor tells of them."""
        if batch.problems:
            return
        order = batch.order
        for at in range(batch.done, batch.total):
            line = order.form.undone(batch, at, order.form.call(order.lines[at], batch))
            if line is not None:
                (batch.output if order.form.one_file else batch.errors).add(line)

    def _file(self, batch: Batch, results: Results, kind: str, now: float) -> str | None:
        form = batch.order.form
        if not len(results) or not form.file_form or batch.order.inline:
            return None
        name = f"{batch.id.rpartition('/')[2]}_{kind}.jsonl"
        file = StoredFile(
            "", form.file_wire, name, "application/jsonl", b"", "batch_output", now, now + LIFE
        )
        file = file._replace(results=results)
        return self._files.add(form.file_form, file).id
