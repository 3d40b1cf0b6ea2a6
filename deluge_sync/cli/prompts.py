"""Reading prompts from a file, one at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..values.errors import PromptError
from ..values.prompt import Conversation
from .exits import UsageError

LARGEST_FIELD = 64 << 20
USUAL_FIELDS = ("prompt", "messages", "text")


@contextmanager
def open_prompts(source: str, field: str | None) -> Iterator[Iterator[Any]]:
    """The prompts of `source`: a .txt (a prompt a line), .jsonl or .csv file, or "-" for stdin.

    Blank lines are no prompts. A row that cannot be read comes as a `PromptError`, so that it fails
    alone; only the first row is an error of the whole file, because then the rest is no better.
    Raises `UsageError`.
    """
    path = Path(source)
    reader = READERS.get(path.suffix.lower()) if source != "-" else None
    if reader is None and field is not None:
        raise UsageError(f"--field is for .jsonl and .csv; {source} is read as text")
    with _opened(source) as file:
        yield _guarded(reader(file, field) if reader is not None else _lines(file), source)


@contextmanager
def _opened(source: str) -> Iterator[TextIO]:
    if source == "-":
        if sys.stdin is None:
            raise UsageError("there is no standard input")
        if isinstance(sys.stdin, io.TextIOWrapper):  # cron's locale is C: prompts are UTF-8
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdin
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(
                Path(source).open(encoding="utf-8-sig", errors="surrogateescape", newline="")
            )
        except OSError as error:
            raise UsageError(f"cannot read {source}: {error.strerror}") from error
        yield file


def count_prompts(source: str) -> int | None:
    """How many prompts a text or JSON-lines file has; None where only reading it would tell."""
    path = Path(source)
    if source == "-" or path.suffix.lower() == ".csv" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def as_prompts(
    rows: Iterable[Any], system: str | None, raw: dict[int, Any] | None = None
) -> Iterator[Any]:
    """The rows as prompts; `raw` keeps what they were, for the output."""
    for index, row in enumerate(rows):
        if raw is not None:
            raw[index] = None if isinstance(row, PromptError) else row
        yield row if system is None else _with_system(row, system)


def _with_system(row: Any, system: str) -> Any:
    try:
        conversation = Conversation.of(row)
    except PromptError as error:
        return error
    return Conversation().system(system).add(*conversation.messages)


def _guarded(rows: Iterator[Any], source: str) -> Iterator[Any]:
    try:
        for number, row in enumerate(rows):
            if number == 0 and isinstance(row, PromptError):
                raise UsageError(f"{source}: {row}")
            yield row
    except csv.Error as error:
        raise UsageError(f"{source} is not proper CSV: {error}") from error


def _lines(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        text = line.strip("\r\n")
        if text.strip():
            yield _undamaged(text, f"line {number}") or text


def _undamaged(text: str, where: str) -> PromptError | None:
    """What is wrong with the bytes of `text`, if anything."""
    if "\0" in text:
        return PromptError(f"{where} is binary, not text")
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return PromptError(f"{where} is not UTF-8")
    return None


def _json_lines(file: TextIO, field: str | None) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        damage = _undamaged(line, f"line {number}")
        if damage is not None:
            yield damage
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield PromptError(f"line {number} is not JSON: {error}")
            continue
        yield row if isinstance(row, str) else _chosen(row, field, f"line {number}")


def _csv_rows(file: TextIO, field: str | None) -> Iterator[Any]:
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.DictReader(file)
    names = reader.fieldnames or []
    if field is None and len(names) == 1:
        field = names[0]
    for row in reader:
        where = f"line {reader.line_num}"
        prompt = _chosen(row, field, where)
        yield (_undamaged(prompt, where) if isinstance(prompt, str) else None) or prompt


def _chosen(row: Any, field: str | None, where: str) -> Any:
    """The prompt in `row`: its `field`, or the first of the usual ones that it has."""
    if not isinstance(row, Mapping):
        return PromptError(f"{where} is neither a string nor an object")
    for name in (field,) if field is not None else USUAL_FIELDS:
        if row.get(name) is not None:
            return row[name]
    names = ", ".join(str(name) for name in row)
    wanted = field if field is not None else " or ".join(USUAL_FIELDS)
    return PromptError(f"{where} has no field {wanted}; it has: {names} (choose with --field)")


READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv_rows}
