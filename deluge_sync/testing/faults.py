"""What goes wrong, and when: scripted, by prompt, or at random with a seed."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Union

KINDS = {
    "quota": "429 of an account out of credit",
    "reset": "TCP RST before any byte of the answer",
    "reset_body": "TCP RST in the middle of the body",
    "truncated": "half of the announced body, then a clean close",
    "malformed": "a body that is cut JSON",
    "empty": "an empty body",
    "html": "an HTML page where JSON is expected (502 unless `status` is given)",
    "slow_headers": "the head `size` bytes (16) every `seconds` (0.1)",
    "drip": "the body `size` bytes (1) every `seconds` (0.1)",
    "black_hole": "no answer, ever",
    "oversized": "a good body blown up to `size` bytes (64 MiB) with white space",
    "redirect": "307 to `location`",
    "gzip": "the body compressed",
    "chunked": "the body in chunks of `size` bytes (16)",
    "early_hints": "an informational 103 before the answer",
    "close": "the connection closed after a good answer",
    "delay": "a good answer after `seconds` more",
    "stream_end": "the stream ended in good form after `after` events",
    "stream_cut": "the connection closed after `after` events, without the end of the body",
    "stream_reset": "TCP RST after `after` events",
    "stream_black_hole": "nothing more after `after` events, and the connection stays open",
    "stream_malformed": "the event that comes after `after` others is cut JSON",
    "stream_error": "the vendor's error event (of `status`, 500) after `after` events",
    "stream_bytes": "the stream in chunks of `size` bytes (1), so that characters are split",
    "stream_crlf": "a stream whose lines end with CRLF",
    "stream_comments": "a stream with a comment before each event",
}
"""Every kind that is not a status code, and what it does to an answer."""

RETRY_AFTER_FORMS = ("seconds", "ms", "date")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    `kind` is a status code from 400 to 599 as a string ("429", "503", "529": the vendor's own
    error body) or one of `KINDS`. `retry_after` (seconds, for status codes) is sent in
    `retry_after_form`: "seconds" and "date" make a `retry-after` header, "ms" a `retry-after-ms`;
    None sends none. `times` is how many requests it applies to. `code` and `message` replace the
    vendor's usual ones, `headers` are added to the answer. The kinds that begin with "stream_"
    leave answers alone that are no streams; `after` is how many whole events those send first that
    break off.

    `match` restricts a scripted fault to prompts that contain it, or where there is no prompt
    (files, batches, models) to a method and path that do, as in "POST /v1/batches". What a request
    to files or batches asks for is not done where the fault is a status code; with every other
    kind it is done and only the answer is lost or spoiled.
    """

    kind: str
    retry_after: float | None = None
    retry_after_form: str = "seconds"
    match: str | None = None
    times: int = 1
    seconds: float = 0.1
    size: int | None = None
    status: int | None = None
    location: str = "/v1/elsewhere"
    code: str | None = None
    message: str | None = None
    after: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.error_status is None:
            known = ", ".join(sorted(KINDS))
            raise ValueError(f"unknown fault {self.kind!r}; known: 400 to 599, {known}")
        if self.retry_after_form not in RETRY_AFTER_FORMS:
            raise ValueError(f"retry_after_form must be one of {', '.join(RETRY_AFTER_FORMS)}")
        if self.times < 1:
            raise ValueError("times must be at least 1")
        if self.size is not None and self.size < 1:
            raise ValueError("size must be at least 1")
        if self.after < 0:
            raise ValueError("after must be at least 0")

    @property
    def error_status(self) -> int | None:
        """The status where the fault is one of the vendor's own errors, else None."""
        if self.kind == "quota":
            return 429
        if len(self.kind) == 3 and self.kind.isdigit() and self.kind[0] in "45":
            return int(self.kind)
        return None


FaultLike = Union[Fault, str]


class FaultPlan:
    """Decides which fault each request gets: scripted ones first, then chance.

    `chances` gives each fault (or its kind) a probability; `seed` makes the draws repeatable in
    order of arrival. The lock guards the script, which other threads extend.
    """

    def __init__(self, chances: Mapping[FaultLike, float] | None, seed: int) -> None:
        self._random = random.Random(seed)
        self._chances = [(as_fault(fault), chance) for fault, chance in (chances or {}).items()]
        total = sum(chance for _, chance in self._chances)
        if any(chance < 0 for _, chance in self._chances) or total > 1 + 1e-9:
            raise ValueError("the chances of faults must be at least 0 and at most 1 together")
        self._script: deque[Fault | None] = deque()
        self._lock = threading.Lock()

    def script(self, faults: Iterable[FaultLike | None]) -> None:
        """Queue faults for the next requests, one each; None lets one request through."""
        entries: list[Fault | None] = []
        for fault in map(as_fault, faults):
            entries += [fault] * (fault.times if fault else 1)
        with self._lock:
            self._script.extend(entries)

    def clear(self) -> None:
        """Forget what is scripted."""
        with self._lock:
            self._script.clear()

    @property
    def pending(self) -> int:
        """Requests that scripted faults still wait for."""
        with self._lock:
            return len(self._script)

    def next(self, text: str) -> Fault | None:
        """The fault of the request that has just arrived; `text` is what `match` is sought in."""
        if self._script:
            applies, fault = self._from_script(text)
            if applies:
                return fault
        if not self._chances:
            return None
        drawn = self._random.random()
        for fault, chance in self._chances:
            drawn -= chance
            if drawn < 0:
                return fault
        return None

    def _from_script(self, text: str) -> tuple[bool, Fault | None]:
        with self._lock:
            for at, fault in enumerate(self._script):
                if fault is None or fault.match is None or fault.match in text:
                    del self._script[at]
                    return True, fault
        return False, None


def as_fault(fault: FaultLike | None) -> Fault | None:
    """`fault`, or the fault of that kind; None stays None."""
    return Fault(fault) if isinstance(fault, str) else fault
