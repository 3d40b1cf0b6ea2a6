"""Writing rows and words for people."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TextIO

from ..stats import Report
from .exits import UsageError


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output for rows; written out at the end."""
    if hasattr(sys.stdout, "reconfigure"):  # cron's locale is C: our data is UTF-8 all the same
        sys.stdout.reconfigure(encoding="utf-8")
    yield sys.stdout
    sys.stdout.flush()


@contextmanager
def whole_file(path: str) -> Iterator[TextIO]:
    """A file that takes the place of `path` when all of it is written, and not before.

    What is there and no ordinary file (a pipe, a device) is written as it comes.
    """
    target = os.path.realpath(path)
    is_plain = os.path.isfile(target) or not os.path.exists(target)
    name = f"{target}.{os.getpid()}.new" if is_plain else target
    try:
        file = open(name, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            yield file
            if is_plain:
                file.flush()
                os.fsync(file.fileno())
        if is_plain:
            if os.path.exists(target):  # who may read it stays as it was
                shutil.copymode(target, name)
            os.replace(name, target)
    except BaseException:
        if is_plain:
            with contextlib.suppress(OSError):
                os.unlink(name)
        raise


def level_of(report: Report) -> int:
    """How loud the closing summary is: what failed is said even to those who want it quiet."""
    return logging.WARNING if report.failed else logging.INFO


def amounts(report: Report) -> list[str]:
    """What a run took, in words."""
    words = [f"{report.input_tokens:,} + {report.output_tokens:,} tokens", f"${report.cost:.4f}"]
    if report.cached:
        words.append(f"{report.cached:,} not paid for, which saved ${report.saved_cost:.4f}")
    if report.unpriced:
        words.append(f"{report.unpriced:,} without a known price")
    if report.retries:
        retries = (f"{number} {kind}" for kind, number in sorted(report.retries.items()))
        words.append(f"retries: {', '.join(retries)}")
    if report.errors:
        errors = (f"{number} {kind}" for kind, number in sorted(report.errors.items()))
        words.append(f"errors: {', '.join(errors)}")
    return words


def plain(text: str) -> str:
    """Text that anybody may have written, fit for a terminal."""
    return text.encode("ascii", "backslashreplace").decode() if text.isprintable() else repr(text)


def time_words(seconds: float | None) -> str:
    """Seconds since the epoch as people write them."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g}"
