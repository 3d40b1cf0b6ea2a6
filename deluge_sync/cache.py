"""Answers kept by what would be sent: their keys, their records, and one call for many who ask."""

from __future__ import annotations

import copy
import functools
import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any, Callable, NamedTuple

from .engine.cancellation import Cancellation
from .engine.clock import Clock, monotonic
from .engine.flights import Flights
from .notices import warn_once
from .stores.base import Store
from .values.errors import ConfigError, DeadlineExceededError, RefusalError
from .values.plain import MalformedError, answer_from_plain, answer_to_plain
from .values.response import Answer
from .values.secret import Secret
from .values.wire import HttpRequest

KEY_VERSION = b"deluge-sync key 1"
RECORD_VERSION = 1

COMPLETE = frozenset({"stop", "tool_calls"})
"""How a complete answer ends. An end that we have no word for is not known to be one."""

TRACING = frozenset(
    {
        "baggage",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-correlation-id",
        "x-request-id",
    }
)
"""Headers that say who asks or when, not what. All others are taken to change the answer."""

LONGEST_WAIT = 900.0
"""Seconds to wait for another process that works on the same request: as long as a call may take.
One that is stopped, not dead, keeps its claim for ever."""

_readable = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_read = json.JSONDecoder().raw_decode

FIRST_LOOK, SLOWEST_LOOK = 0.005, 0.1
"""Seconds between looks whether that process is done."""


def owner_of(secret: Secret | None, name: str | None) -> str:
    """Whose answers they are: a digest of `name`, or else of the key, which it does not give away.

    Two owners never share an answer. A name outlives a change of the key.
    """
    if name is not None:
        return hmac.new(b"deluge-sync owner by name", name.encode(), hashlib.sha256).hexdigest()
    if secret is None:
        return ""
    key = secret.reveal().encode("utf-8", "replace")
    return hmac.new(key, b"deluge-sync owner by key", hashlib.sha256).hexdigest()


class KeySpace(NamedTuple):
    """What the keys of one owner's requests to one server have in common.

    `server` stands in for `base_url` where that changes from run to run (a server we start).
    """

    owner: str
    base_url: str
    server: str

    def key(self, request: HttpRequest, salt: str = "") -> str:
        """SHA-256 of what would be sent, in hexadecimal.

        The body counts byte by byte, as the adapters write it: the order of a schema's fields may
        well change an answer. `salt` asks for another sample of the same request. What a file
        holds is not known before it is sent: such a request has no key (`ConfigError`).
        """
        if request.file is not None:
            raise ConfigError("a request that sends a file cannot be answered from the cache")
        digest = _beginning(self, request.method, request.url, request.headers, salt).copy()
        digest.update(request.body)
        return str(digest.hexdigest())


@functools.lru_cache(maxsize=256)  # all requests of a run begin alike
def _beginning(
    space: KeySpace, method: str, url: str, headers: tuple[tuple[str, str], ...], salt: str
) -> Any:
    """The hash of all but the body."""
    if url.startswith(space.base_url):
        url = space.server + url[len(space.base_url) :]
    counted = sorted(
        (name.lower(), value) for name, value in headers if name.lower() not in TRACING
    )
    digest = hashlib.sha256(KEY_VERSION)
    for text in (space.owner, method, url, repr(counted), salt):
        piece = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(piece))  # so that no two lists of texts read the same
        digest.update(piece)
    return digest


class Answers:
    """A store of answers, and the requests under way whose answers it will hold.

    What the store raises costs the hit and one warning, never the call. With `incomplete`, answers
    that were cut short or refused are kept too.
    """

    def __init__(
        self,
        store: Store,
        flights: Flights[Answer],
        *,
        tags: tuple[str, ...] = (),
        incomplete: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._store = store
        self._flights = flights
        self._tags = tags
        self._incomplete = incomplete
        self._clock = clock

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers there are, by key."""
        answers = {}
        for key, record in self.records(keys).items():
            try:
                answer = _answer(record)
                if self._incomplete or is_complete(answer):
                    answers[key] = answer
            except (ValueError, TypeError) as error:
                warn_once(f"the cache holds a record that cannot be read: {error}")
        return answers

    def records(self, keys: Iterable[str]) -> dict[str, bytes]:
        """What the store has, as it was put there, by key."""
        try:
            return dict(self._store.get_many(keys))
        except Exception as error:  # a store may be the user's own
            _warn(error)
            return {}

    def keep_record(self, key: str, record: bytes) -> None:
        """Put into the store what is no answer of a chat."""
        try:
            self._store.put(key, record, tags=self._tags)
        except Exception as error:
            _warn(error)

    def once(
        self,
        key: str,
        fetch: Callable[[], Answer],
        *,
        tags: tuple[str, ...] = (),
        deadline: float,
        patience: float,
        cancellation: Cancellation,
    ) -> tuple[Answer, bool]:
        """The answer to the request of that key, and whether somebody else's call gave it.

        Of all who ask, in this process or in another one that shares the store, one calls `fetch`.
        When that fails the next takes over (see `Flights.fetch` for `patience`). Raises what
        `fetch` raises, and `DeadlineExceededError` or `CallCancelledError` from waiting.
        """
        found = False

        def lead() -> Answer:
            nonlocal found
            answer, found = self._led(key, fetch, tags, deadline, patience, cancellation)
            return answer

        answer, led = self._flights.fetch(
            self._flight(key), lead, deadline=deadline, patience=patience, cancellation=cancellation
        )
        return (answer if led else _own(answer)), found or not led

    def keep(self, key: str, answer: Answer, *, tags: tuple[str, ...] = ()) -> None:
        """Put an answer into the store that came without `once`, if it is one to keep."""
        if self._incomplete or is_complete(answer):
            self._keep(key, answer, tags, claimed=False)

    def granted(self, key: str) -> None:
        """The call for that key was let go: the time of those who wait for it begins with its."""
        self._flights.granted(self._flight(key))

    def _flight(self, key: str) -> tuple[str, bool]:
        """Who keeps what is incomplete does not wait for one who does not."""
        return key, self._incomplete

    def _led(
        self,
        key: str,
        fetch: Callable[[], Answer],
        tags: tuple[str, ...],
        deadline: float,
        patience: float,
        cancellation: Cancellation,
    ) -> tuple[Answer, bool]:
        """The answer, and whether it was found; the claim is given back, whatever happens."""
        claimed = kept = False
        try:
            claimed = self._claim(key, deadline, patience, cancellation)
            answer = self.find([key]).get(key)
            if answer is not None:
                return answer, True
            answer = fetch()
            if self._incomplete or is_complete(answer):
                kept = self._keep(key, answer, tags, claimed=claimed)
            return answer, False
        finally:
            if claimed and not kept:
                self._release(key)

    def _claim(
        self, key: str, deadline: float, patience: float, cancellation: Cancellation
    ) -> bool:
        """Wait until the work on `key` is ours; False where it is to be done without a claim, or
        where another process has come to its answer.
        """
        began = self._clock()
        # A call without a timeout goes on by itself in the end: the other process may be stopped.
        limit = deadline if patience >= LONGEST_WAIT else min(deadline, began + patience)
        pause = FIRST_LOOK
        while not self._try_claim(key):
            if self.find([key]):
                return False
            now = self._clock()
            if now >= limit:
                raise DeadlineExceededError(
                    "the call's time was up while another process worked on the same request"
                )
            if now >= began + LONGEST_WAIT:
                return False
            cancellation.sleep(min(pause, limit - now))
            pause = min(pause * 1.5, SLOWEST_LOOK)
        return True

    def _keep(self, key: str, answer: Answer, tags: tuple[str, ...], *, claimed: bool) -> bool:
        """Put the answer into the store; whether that will give the claim back."""
        release = (lambda: self._release(key)) if claimed else _nothing
        try:
            self._store.put(key, _record(answer), tags=(*self._tags, *tags), then=release)
        except Exception as error:
            _warn(error)
            return False
        return True

    def _try_claim(self, key: str) -> bool:
        """True also where the store cannot tell: better twice than never."""
        try:
            return self._store.claim(key)
        except Exception as error:
            _warn(error)
            return True

    def _release(self, key: str) -> None:
        try:
            self._store.release(key)
        except Exception as error:
            _warn(error)


def flush(store: Store) -> None:
    """Have `store` write what it has; what it raises costs a warning."""
    try:
        store.flush()
    except Exception as error:
        _warn(error)


def is_complete(answer: Answer) -> bool:
    """Whether the model said all it wanted to."""
    return answer.error is None and answer.finish_reason in COMPLETE


def _nothing() -> None:
    pass


def _own(answer: Answer) -> Answer:
    """`answer` for another caller: the arguments of tools can be changed, so each has its own."""
    if not answer.content.tool_calls:
        return answer
    return answer._replace(content=copy.deepcopy(answer.content))


def _record(answer: Answer) -> bytes:
    refusal = None if answer.error is None else answer.error.message
    record = {"version": RECORD_VERSION, "answer": answer_to_plain(answer), "refusal": refusal}
    try:
        return _readable(record).encode()
    except UnicodeEncodeError:  # half of a surrogate pair cannot be written as it is
        return json.dumps(record).encode()


def _answer(record: bytes) -> Answer:
    try:
        text = str(record, "utf-8")
        value, end = _read(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON ({error})") from None
    if end != len(text):
        raise MalformedError("not JSON (it goes on after its end)")
    if type(value) is not dict or value.get("version") != RECORD_VERSION:
        raise MalformedError("of another version")
    answer = answer_from_plain(value.get("answer"))
    refusal = value.get("refusal")
    return answer if refusal is None else answer._replace(error=RefusalError(str(refusal)))


def _warn(error: Exception) -> None:
    warn_once(f"going on without the cache: {error or type(error).__name__}")
