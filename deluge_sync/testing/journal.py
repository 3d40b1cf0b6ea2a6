"""What arrived: small records that tests assert on, also from another process."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

SECRET_HEADERS = frozenset(("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"))


class Record(NamedTuple):
    """One request as it arrived and what was decided about it.

    `index` counts from 0 over the sandbox's life; `at` is the sandbox's clock (monotonic seconds);
    `path` has no query (keys may be in there); `headers` has lower-case names; `body` is the parsed
    JSON, or None where it was not JSON or bodies are not kept; `prompt` is the last user text;
    `wire` is "openai", "anthropic" or "gemini"; `fault` is the kind of the fault that was applied;
    `status` is the HTTP status answered with, None where no answer begins (reset, black_hole).
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants here
    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    prompt: str | None
    model: str | None
    wire: str
    has_key: bool
    fault: str | None
    status: int | None

    def __repr__(self) -> str:
        return (
            f"Record({self.index}, {self.method} {self.path}, status={self.status}, "
            f"fault={self.fault}, model={self.model!r}, prompt={self.prompt!r})"
        )

    def as_json(self) -> dict[str, Any]:
        """For other processes; the values of headers that hold keys are masked."""
        headers = {
            name: "****" if name in SECRET_HEADERS else value
            for name, value in self.headers.items()
        }
        return {**self._asdict(), "headers": headers}


class Journal:
    """The records in order of arrival, the newest `limit` of them (None: all).

    Written by the server's thread, read by any. The lock guards everything here. `keep_bodies`
    False drops bodies and headers.
    """

    def __init__(self, *, keep_bodies: bool, limit: int | None) -> None:
        self._keep_bodies = keep_bodies
        self._records: deque[Record] = deque(maxlen=limit)
        self._requests = 0
        self._statuses: Counter[int | None] = Counter()
        self._faults: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._waiting = 0

    def add(self, record: Record) -> None:
        """Write one record."""
        if not self._keep_bodies:
            record = record._replace(body=None, headers={})
        with self._changed:
            self._records.append(record)
            self._requests += 1
            self._statuses[record.status] += 1
            if record.fault is not None:
                self._faults[record.fault] += 1
            if self._waiting:
                self._changed.notify_all()

    def snapshot(self, since: int = 0) -> list[Record]:
        """A copy of the records whose index is at least `since`."""
        with self._changed:
            return [record for record in self._records if record.index >= since]

    @property
    def requests(self) -> int:
        """Requests since the start or the last `clear`."""
        return self._requests

    def clear(self) -> None:
        """Forget all records and counts; indexes go on."""
        with self._changed:
            self._records.clear()
            self._requests = 0
            self._statuses.clear()
            self._faults.clear()

    def wait_for(self, count: int, timeout: float) -> None:
        """Block until `count` requests have arrived; `TimeoutError` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                while self._requests < count:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(f"{self._requests} of {count} requests arrived")
                    self._changed.wait(left)
            finally:
                self._waiting -= 1

    def stats(self) -> dict[str, Any]:
        """Counts: requests, by status ("none" where no answer began), by fault."""
        with self._changed:
            statuses = {str(key or "none"): count for key, count in self._statuses.items()}
            return {
                "requests": self._requests,
                "statuses": statuses,
                "faults": dict(self._faults),
            }
