"""Where the batch jobs of a user are: a folder with one folder for each."""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..values.errors import BatchError, ConfigError
from .ledger import Ledger, Record

logger = logging.getLogger(__name__)

FOLDER_ENV = "DELUGE_SYNC_BATCHES"

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


def default_folder() -> str:
    """What `DELUGE_SYNC_BATCHES` names, or where this user's state is kept by the conventions of
    the system.
    """
    named = os.environ.get(FOLDER_ENV)
    if named:
        return os.path.expanduser(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return str(Path(base).expanduser() / "deluge_sync" / "batches")


class JobFolder:
    """The jobs under `path`. Nothing is made by the constructor."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(os.path.expanduser(os.fspath(path)))

    def ledger(self, job_id: str) -> Ledger:
        """The ledger of a job, which need not be there. `BatchError` for what is no job's id."""
        if not isinstance(job_id, str) or not _JOB_ID.match(job_id):
            raise BatchError(
                f"a job_id is made of letters, digits, '.', '_' and '-', at most 100 of them, and "
                f"is not {job_id!r}"
            )
        return Ledger(os.path.join(self.path, job_id))

    def make(self) -> None:
        """Make the folder, for this user alone."""
        try:
            os.makedirs(self.path, 0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"batch_folder: {self.path} cannot be made: {error}") from None

    def existing(self, job_id: str) -> Ledger:
        """The ledger of a job that there is; `BatchError`, with those there are, for another."""
        ledger = self.ledger(job_id)
        if not ledger.exists():
            known = ", ".join(sorted(each.job for each in self)[-5:]) or "none at all"
            raise BatchError(f"there is no batch job {job_id!r} in {self.path}; there are: {known}")
        return ledger

    def find(self, name: str) -> Ledger:
        """The ledger of the job of that id, or of the one that a batch of the provider's with that
        id belongs to; `BatchError`, with those there are, for what is neither.
        """
        if isinstance(name, str) and _JOB_ID.match(name) and self.ledger(name).exists():
            return self.ledger(name)
        for record in self.records():
            if any(part.batch_id == name for part in record.parts):
                return self.ledger(record.header.job)
        return self.existing(name)

    def records(self) -> list[Record]:
        """All jobs, the oldest first. One that cannot be read is left out, with a warning."""
        found = []
        for ledger in self:
            try:
                found.append(ledger.read())
            except BatchError as error:
                logger.warning("%s", error)
        return sorted(found, key=lambda record: record.header.created_at)

    def __iter__(self) -> Iterator[Ledger]:
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(f"batch_folder: {self.path} cannot be read: {error}") from None
        for name in names:
            if _JOB_ID.match(name) and self.ledger(name).exists():
                yield self.ledger(name)


def new_job_id() -> str:
    """An id that says when, and is nobody else's."""
    return f"batch-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
