"""Files that a prompt names by URL, fetched by us: what may be asked of whom, and what is taken.

A URL in a prompt may come from anybody, and this machine may reach what that person cannot: other
services, routers, a cloud's metadata. So a URL is asked only of the public Internet, by https, at
the addresses that were looked at and no others; nothing it answers leads anywhere else.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional
from urllib.parse import unquote

from ._version import __version__
from .engine.addresses import (
    AddressInfo,
    is_loopback,
    is_public,
    numeric,
    resolved_within,
)
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.connections import Connection, RequestHead
from .engine.endpoints import FOREIGN_ERRORS, Endpoint, connection_failure
from .engine.exchange import AnswerReader
from .engine.heads import Target, rendered_head, target_of
from .engine.proxies import proxy_for
from .engine.trust import Trust
from .values.errors import (
    CallCancelledError,
    CallError,
    ConfigError,
    DeadlineExceededError,
    PromptError,
    ResponseTooLargeError,
)
from .values.media import Audio, File, Image, Media, media_type_of
from .values.prompt import Conversation, Message, Part
from .values.wire import HttpRequest

MOST_BYTES = 20_000_000
"""Of one file, as it comes and decoded."""
MOST_SECONDS = 10.0
"""From the look-up of the name to the last byte."""

USER_AGENT = f"deluge-sync/{__version__}"

_MEDIA = (Image, Audio, File)

_OTHER_NAMES = {
    "audio/mpeg": "audio/mp3",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
}
_TEXTS = ("application/json", "application/xml", "application/yaml")


class _Download(NamedTuple):
    """What came; `kind` is its media type by its first bytes, "" where they do not tell."""

    host: str
    data: bytes
    kind: str
    name: str


Download = Callable[[str], _Download]


class Fetcher:
    """Fetches files for one program: its proxies, its CA bundles.

    `trust` says which certificates are believed. `proxies` and `use_environment`: see `proxy_for`;
    a URL that has a proxy is refused, as it is the proxy that would look the name up, and nobody
    could tell what it connects to. With `allow_loopback`, this machine may be asked too, and by
    plain http: for tests.
    """

    def __init__(
        self,
        *,
        trust: Optional[Trust] = None,
        proxies: Optional[Mapping[str, Optional[str]]] = None,
        use_environment: bool = True,
        allow_loopback: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._trust = trust or Trust()
        self._proxies = proxies
        self._use_environment = use_environment
        self._allow_loopback = allow_loopback
        self._clock = clock

    def fetched(self, part: Media, *, deadline: float, cancellation: Cancellation) -> Media:
        """`part` with the file itself in place of its URL; one without `fetch` is left alone.

        At most `MOST_BYTES`, within `MOST_SECONDS` and before `deadline` (a monotonic instant).
        What it is its first bytes say, and that must be what was promised: a picture for an
        `Image`, sound for an `Audio`; a PDF, a text or a picture for a `File`; and the
        `media_type`, where the part has one. Raises `PromptError`, which names the host but never
        the rest of the URL; `DeadlineExceededError`, `CallCancelledError`, and `ConfigError` for
        a proxy or CA bundle that cannot be used. Nothing is tried twice.
        """
        if not part.fetch:
            return part
        return _filled(part, self._download(part.url, deadline, cancellation))

    def fetch_all(
        self, conversation: Conversation, *, deadline: float, cancellation: Cancellation
    ) -> Conversation:
        """`conversation` with all parts fetched that are to be, each URL once; see `fetched`."""
        if not conversation.has_files_to_fetch:
            return conversation
        known: dict[str, _Download] = {}

        def download(url: str) -> _Download:
            if url not in known:
                known[url] = self._download(url, deadline, cancellation)
            return known[url]

        messages = tuple(_with_files(one, download) for one in conversation.messages)
        return Conversation(messages, conversation.model)

    def _download(self, url: str, deadline: float, cancellation: Cancellation) -> _Download:
        target = self._target(url)
        until = min(deadline, self._clock() + MOST_SECONDS)
        try:
            reader = self._asked(url, target, until, cancellation)
            data = _good_body(reader, target.host)
        except (CallCancelledError, ConfigError, PromptError):
            raise
        except DeadlineExceededError:
            if until == deadline:
                raise
            took_long = f"the file took longer than {MOST_SECONDS:g} s"
            raise _refusal(target.host, took_long) from None
        except ResponseTooLargeError:
            too_large = f"the file is larger than {MOST_BYTES:,} bytes"
            raise _refusal(target.host, too_large) from None
        except CallError as error:
            raise _refusal(target.host, error.message) from None
        name = _name(target.path)
        return _Download(target.host, data, media_type_of(data, name), name)

    def _target(self, url: str) -> Target:
        """Where `url` leads, if it may be asked there."""
        try:
            target = target_of(url)
        except ConfigError as error:
            raise PromptError(f"a file cannot be fetched: {error.message}") from None
        if target.scheme != "https" and not self._allow_loopback:
            raise _refusal(target.host, "files are fetched by https only")
        proxy = proxy_for(url, self._proxies, use_environment=self._use_environment)
        if proxy is not None:
            raise _refusal(
                target.host,
                "it would have to go through a proxy, which could connect to anything; fetch it "
                "yourself and give its bytes, or have the provider fetch it (without fetch=True)",
            )
        return target

    def _asked(
        self, url: str, target: Target, until: float, cancellation: Cancellation
    ) -> AnswerReader:
        """One request, and its answer whatever it is."""
        request = HttpRequest("GET", url, (), b"")
        head = RequestHead(rendered_head(request, (), target=target, user_agent=USER_AGENT), "GET")
        endpoint = Endpoint(target.scheme, target.host, target.port)
        reader = AnswerReader(max_bytes=MOST_BYTES)
        connection = None
        cancellation.check()
        try:
            addresses = resolved_within(
                target.host,
                target.port,
                deadline=until,
                cancellation=cancellation,
                clock=self._clock,
            )
            self._check(target, addresses)
            endpoint = endpoint._replace(addresses=tuple(addresses))
            connection = Connection(endpoint, reader, self._clock)
            cancellation.add(connection.interrupt)
            connection.open(self._trust, until)
            connection.exchange(head, b"", until)
            return reader
        except (socket.timeout, TimeoutError):
            failure: CallError = DeadlineExceededError("the time was up while fetching a file")
        except FOREIGN_ERRORS as error:
            failure = connection_failure(error, endpoint)
        finally:
            if connection is not None:
                cancellation.discard(connection.interrupt)
                connection.close()
        cancellation.check()  # a socket that was shut down fails in many ways
        raise failure

    def _check(self, target: Target, addresses: list[AddressInfo]) -> None:
        """All of them: a name that leads here and there at once is up to something."""
        for address in numeric(addresses):
            loopback = self._allow_loopback and is_loopback(address)
            if not loopback and (target.scheme != "https" or not is_public(address)):
                raise _refusal(
                    target.host,
                    f"{address} is not on the public Internet, and files are fetched from there "
                    "only; read it yourself and give its bytes",
                )


def _with_files(message: Message, download: Download) -> Message:
    parts = tuple(_fetched_part(part, download) for part in message.parts)
    return dataclasses.replace(message, parts=parts)


def _fetched_part(part: Part, download: Download) -> Part:
    if isinstance(part, _MEDIA) and part.fetch:
        return _filled(part, download(part.url))
    return part


def _filled(part: Media, download: _Download) -> Media:
    kind = _checked_kind(part, download)
    if isinstance(part, File) and not part.name:
        part = dataclasses.replace(part, name=download.name)
    return dataclasses.replace(part, data=download.data, media_type=kind, url="", fetch=False)


def _name(path: str) -> str:
    """What a URL's path calls its file, if that can be a file's name."""
    name = unquote(path.partition("?")[0].rpartition("/")[2])
    return name if name.isprintable() and "/" not in name and len(name) <= 255 else ""


def _good_body(reader: AnswerReader, host: str) -> bytes:
    if 300 <= reader.status <= 399:
        raise _refusal(host, f"it answered {reader.status}: redirects are not followed")
    if reader.status != 200:
        raise _refusal(host, f"it answered {reader.status}")
    data = reader.body()
    if not data:
        raise _refusal(host, "the file is empty")
    return data


def _checked_kind(part: Media, download: _Download) -> str:
    """The media type of what came, or a `PromptError` where it is not what was promised."""
    promised = part.media_type.partition(";")[0].strip().lower()
    promised = _OTHER_NAMES.get(promised, promised)
    kind = download.kind
    if isinstance(part, Image):
        good, wanted = kind.startswith("image/"), "a picture (png, jpeg, gif or webp)"
    elif isinstance(part, Audio):
        good, wanted = kind.startswith("audio/"), "a sound (wav, mp3, ogg or flac)"
    else:
        kind = kind if _is_told_by_content(download) else _kind_of_text(promised, download)
        good, wanted = (
            bool(kind) and not kind.startswith("audio/"),
            "a PDF, a text in UTF-8 or a picture",
        )
    if promised and good and kind != promised:
        good, wanted = False, promised
    if not good:
        raise _refusal(download.host, f"it gave {kind or 'an unknown kind of file'}, not {wanted}")
    return kind


def _is_told_by_content(download: _Download) -> bool:
    return bool(media_type_of(download.data))


def _kind_of_text(promised: str, download: _Download) -> str:
    """The type of what bears no mark of its own: a text, as promised or as its name says, or ""."""
    if b"\0" in download.data:
        return ""
    try:
        download.data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    if promised.startswith("text/") or promised.endswith("+json") or promised in _TEXTS:
        return promised
    return download.kind or "text/plain"


def _refusal(host: str, reason: str) -> PromptError:
    return PromptError(f"a file at {host} cannot be fetched: {reason}")
