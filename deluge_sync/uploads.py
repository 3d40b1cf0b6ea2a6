"""Files in the providers' stores: each is uploaded once, and its id is remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from typing import Any

from .adapters.uploads import Stored, look, upload
from .background import FIRST_POLL, SLOWEST_POLL
from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.flights import Flights
from .errand import Errand
from .notices import warn_once
from .route import Route
from .stores.base import Store
from .values.errors import NotFoundError
from .values.media import Media

KEY_VERSION = "deluge-sync file 1"
RECORD_VERSION = 1

USEFUL_FOR = 900.0
"""Seconds a remembered file must still be kept by its vendor: as long as a call may take."""

MOST_KNOWN = 10_000
"""Files remembered in memory."""

LONGEST_WAIT = 300.0
"""Seconds to wait for another process that uploads the same file: one that is stopped, not dead,
keeps its claim for ever."""

FIRST_LOOK, SLOWEST_LOOK = 0.01, 0.5
"""Seconds between looks whether that process is done."""


class Uploads:
    """Puts files into the stores of providers, and remembers them by their content.

    The same data for the same owner at the same server is uploaded once: by all threads (`flights`
    may be shared by several of these), and with a `store` by all processes that share it, for as
    long as the vendor keeps the file. What the store remembers is looked up at the vendor before
    this process first relies on it. What the store raises costs a warning.
    """

    def __init__(
        self,
        flights: Flights[Stored],
        store: Store | None = None,
        *,
        clock: Clock = monotonic,
        wall_clock: Clock = time.time,
    ) -> None:
        self._flights = flights
        self._store = store
        self._clock = clock
        self._wall_clock = wall_clock
        self._known: dict[str, Stored] = {}

    def upload(
        self, part: Media, route: Route[Any], *, deadline: float, cancellation: Cancellation
    ) -> Media:
        """`part` with the id of its file in the provider's store in place of its data.

        Its requests draw on the route's lanes and are retried by its policy. Raises what a call
        would; `ConfigError` for a provider without a store, `PromptError` for a part without data.
        """
        key = _key(part, route)
        stored = self._remembered(key)
        if stored is None:
            errand = Errand(route, deadline=deadline, cancellation=cancellation, clock=self._clock)
            files = _Files(errand)
            stored, _ = self._flights.fetch(
                key,
                lambda: self._remembered(key) or self._led(key, part, files),
                deadline=deadline,
                cancellation=cancellation,
            )
        return dataclasses.replace(part, data=b"", file_id=stored.file_id)

    def _remembered(self, key: str) -> Stored | None:
        stored = self._known.get(key)
        return stored if stored is not None and self._is_useful(stored) else None

    def _is_useful(self, stored: Stored) -> bool:
        left = stored.expires_at
        return left is None or left - self._wall_clock() > USEFUL_FOR

    def _led(self, key: str, part: Media, files: _Files) -> Stored:
        """The file, uploaded if need be; the claim is given back, whatever happens."""
        claimed = kept = False
        try:
            claimed = self._claim(key, files)
            stored = self._found(key, files)
            if stored is None:
                stored = files.upload(part)
                kept = self._keep(key, stored, claimed=claimed)
            return self._remember(key, stored)
        finally:
            if claimed and not kept:
                self._release(key)

    def _found(self, key: str, files: _Files) -> Stored | None:
        """The file, where another process has put it there and it still is."""
        stored = self._kept(key)
        if stored is None or not self._is_useful(stored):
            return None
        seen = files.look(stored.file_id)
        return seen if seen is not None and self._is_useful(seen) else None

    def _remember(self, key: str, stored: Stored) -> Stored:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()  # the store, where there is one, still has them
        self._known[key] = stored
        return stored

    # The store; without one, nothing is kept and every claim granted

    def _kept(self, key: str) -> Stored | None:
        record = None
        if self._store is not None:
            try:
                record = self._store.get(key)
            except Exception as error:  # a store may be the user's own
                _warn(error)
        return None if record is None else _stored(record)

    def _keep(self, key: str, stored: Stored, *, claimed: bool) -> bool:
        """Put the file's id into the store; whether that will give the claim back."""
        if self._store is None:
            return False
        record = {"version": RECORD_VERSION, **stored._asdict()}
        release = (lambda: self._release(key)) if claimed else _nothing
        try:
            self._store.put(key, json.dumps(record).encode(), tags=("files",), then=release)
        except Exception as error:
            _warn(error)
            return False
        return True

    def _claim(self, key: str, files: _Files) -> bool:
        """Wait until uploading the file is ours to do; False where another process has done it, or
        seems to have stopped.
        """
        began = self._clock()
        pause = FIRST_LOOK
        while not self._try_claim(key):
            if self._kept(key) is not None or self._clock() - began >= LONGEST_WAIT:
                return False
            files.pause(pause, "another process uploaded the same file")
            pause = min(pause * 1.5, SLOWEST_LOOK)
        return True

    def _try_claim(self, key: str) -> bool:
        """True also where the store cannot tell: better twice than never."""
        try:
            return self._store is None or self._store.claim(key)
        except Exception as error:
            _warn(error)
            return True

    def _release(self, key: str) -> None:
        try:
            if self._store is not None:
                self._store.release(key)
        except Exception as error:
            _warn(error)


class _Files:
    """One provider's store, as far as one upload needs it."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self.pause = errand.pause

    def upload(self, part: Media) -> Stored:
        """Upload, and wait until the vendor is done with the file."""
        stored = self._errand.flow(lambda: upload(part, self._errand.route.model))
        return stored if stored.ready else self._ready(stored)

    def look(self, file_id: str) -> Stored | None:
        """The file as the vendor has it, once it is done with it; None where it has none."""
        stored = self._seen(file_id)
        return stored if stored is None or stored.ready else self._ready(stored)

    def _seen(self, file_id: str) -> Stored | None:
        return self._errand.flow(lambda: look(file_id, self._errand.route.model))

    def _ready(self, stored: Stored) -> Stored:
        pause = FIRST_POLL
        while not stored.ready:
            self.pause(pause, "the vendor processed a file")
            pause = min(pause * 1.5, SLOWEST_POLL)
            seen = self._seen(stored.file_id)
            if seen is None:
                raise NotFoundError("the vendor lost a file while it was processing it")
            stored = seen
        return stored


def _key(part: Media, route: Route[Any]) -> str:
    """What makes two uploads the same, as a key of a kind of its own: whose they are, where they
    go, what they hold and what kind of file that is said to be.
    """
    keys = route.keys
    digest = hashlib.sha256()
    content = hashlib.sha256(part.data).hexdigest()
    provider = route.model.provider.name
    for text in (KEY_VERSION, keys.owner, provider, keys.server, part.media_type, content):
        piece = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(piece))  # so that no two lists of texts read the same
        digest.update(piece)
    return digest.hexdigest()


def _stored(record: bytes) -> Stored | None:
    try:
        value = json.loads(record)
        file_id, expires_at = value["file_id"], value["expires_at"]
        if value["version"] == RECORD_VERSION and isinstance(file_id, str):
            return Stored(file_id, None if expires_at is None else float(expires_at))
    except (ValueError, TypeError, LookupError):
        pass
    warn_once("the cache holds a record of an uploaded file that cannot be read")
    return None


def _nothing() -> None:
    pass


def _warn(error: Exception) -> None:
    warn_once(f"uploaded files are not remembered: {error or type(error).__name__}")
