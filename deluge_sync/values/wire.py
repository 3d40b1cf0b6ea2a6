"""What crosses the network border: requests without secrets, answers without interpretation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional


class FileBody(NamedTuple):
    """What follows a request's `body`: the `size` bytes of the file at `path`, read while they are
    sent, and then `after`.
    """

    path: str
    size: int
    after: bytes = b""


class HttpRequest(NamedTuple):
    """One HTTP request, complete but for its secrets: those the transport adds, last.

    Its body is `body`, and behind that what `file` says.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    file: Optional[FileBody] = None

    def size(self) -> int:
        """Bytes of the whole body."""
        if self.file is None:
            return len(self.body)
        return len(self.body) + self.file.size + len(self.file.after)


class HttpResponse(NamedTuple):
    """One whole HTTP answer.

    `headers` has lower-case names; a repeated header keeps its values joined by ", ".
    `body` is decoded (gzip, deflate) and complete. `received_at` is wall-clock time in seconds
    since the epoch, for headers that give dates.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float = 0.0


class LimitHint(NamedTuple):
    """What an answer's headers say about one limit of the account.

    `name` is the bucket ("requests", "tokens", "input_tokens", "output_tokens"); `limit` is per
    minute; `remaining` is what is left now; `reset_after` is seconds until it is full again.
    """

    name: str
    limit: Optional[float] = None
    remaining: Optional[float] = None
    reset_after: Optional[float] = None
