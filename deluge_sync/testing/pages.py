"""What the pages beside the models have in common: a request for one, and forms of answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from .checks import VendorError
from .codec import JSON_TYPE, dump_json
from .files import FileStore
from .http import Answer, Headers, Incoming

_PREFIXES = ("/openai", "/anthropic")


class Visit(NamedTuple):
    """One request for a page. `prefix` is what a host has before the vendor's `path`; `wire` is
    the vendor; `now` is seconds since the epoch.
    """

    incoming: Incoming
    wire: str
    prefix: str
    path: str
    query: Mapping[str, list[str]]
    store: FileStore
    now: float
    strict: bool = True

    def asked(self, name: str, usual: str) -> str:
        """The value of `name` in the query, or the usual one."""
        return self.query.get(name, [usual])[0]

    def number(self, name: str, usual: int) -> int:
        """The same for a whole number."""
        text = self.asked(name, "")
        return int(text) if text.isdecimal() else usual

    def require(self, *methods: str) -> None:
        """Raise the 405 for all but these methods."""
        if self.incoming.method not in methods:
            raise VendorError(405, f"Not allowed to {self.incoming.method} here.")

    @property
    def site(self) -> str:
        """Scheme and host as the client calls them, and the prefix."""
        return f"http://{self.incoming.headers.get('host', '127.0.0.1')}{self.prefix}"


class Download(NamedTuple):
    """An answer that is made while it is sent."""

    headers: Headers
    pieces: Iterable[bytes]

    def whole(self) -> Answer:
        """All of it at once."""
        return Answer(200, self.headers, b"".join(self.pieces))

    def chunks(self) -> Iterator[bytes]:
        """Its body in HTTP's chunks."""
        for piece in self.pieces:
            yield b"%x\r\n%s\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"


class Identified(Protocol):
    """What is listed by its id."""

    @property
    def id(self) -> str:
        """Its id."""


Item = TypeVar("Item", bound=Identified)


def split_prefix(path: str) -> tuple[str, str]:
    """A host's prefix, where there is one, and the vendor's path."""
    for prefix in _PREFIXES:
        if path.startswith(prefix + "/v1/"):
            return prefix, path[len(prefix) :]
    return "", path


def page_after(items: Sequence[Item], after: str, limit: int) -> tuple[list[Item], bool]:
    """The items behind the one of that id, and whether there are more."""
    start = next((at + 1 for at, item in enumerate(items) if item.id == after), 0)
    end = start + (limit or 20)
    return list(items[start:end]), end < len(items)


def json_answer(body: Any, headers: Headers = ()) -> Answer:
    """`body` as a good answer."""
    return Answer(200, (JSON_TYPE, *headers), dump_json(body))
