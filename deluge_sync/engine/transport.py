"""The one way out to the network: one request, one answer, by a total deadline."""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Optional, Protocol

from ..values.errors import (
    CallCancelledError,
    CallError,
    ConnectionFailedError,
    DeadlineExceededError,
    DelugeError,
    TransientError,
)
from ..values.secret import Credential
from ..values.wire import HttpRequest, HttpResponse
from .cancellation import Cancellation
from .clock import Clock, monotonic
from .connections import Connection, RequestHead
from .endpoints import FAILURES, Endpoint, bare, connection_failure
from .exchange import AnswerReader, ParserFactory
from .heads import rendered_head, target_of
from .proxies import proxy_for
from .sent_files import SentFile
from .streams import AnswerStream, unpacked
from .trust import Trust

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MOST_PLANS = 256


class BodyStream(Protocol):
    """An answer whose body is read as it comes, by one thread.

    `head` has status and headers; its body is empty. The deadline given to `Transport.stream` holds
    for all of it.
    """

    head: HttpResponse

    def read(self) -> bytes:
        """The next piece of the body, decoded, as soon as there is one; b"" at its end.

        Raises what `Transport.send` does: an answer that is cut short is a
        `ConnectionFailedError`.
        """
        ...

    def close(self) -> None:
        """Done: the connection is kept where the body has come to its end, else cut at once.

        More than once is fine. It belongs into a `finally`: what is dropped without it keeps its
        connection until Python notices.
        """
        ...

    def cut(self) -> None:
        """Cut the connection, taking no lock that this very thread may hold; `close` follows."""
        ...


class Transport(Protocol):
    """Sends requests, from many threads at once."""

    def send(
        self,
        request: HttpRequest,
        *,
        credentials: tuple[Credential, ...],
        deadline: float,
        cancellation: Cancellation,
    ) -> HttpResponse:
        """Send `request` exactly once, with `credentials` as headers, and return its answer,
        whatever its status: redirects are not followed.

        A request's `file` is opened before anything is sent and read while it is, a piece at a
        time: one that is missing, or has not the size that was said, is a `ConfigError`, and so is
        one that gets shorter meanwhile. Its connection is cut then, so that no server can take what
        it got for the whole. Reading the file is as quick as its disk: no deadline interrupts that.

        `deadline` is an instant of the monotonic clock for all of it. Raises
        `ConnectionFailedError` (no connection, or lost before the answer was complete),
        `DecodeError` (not HTTP, or a damaged encoding), `ResponseTooLargeError`,
        `DeadlineExceededError` (says in which phase), `CallCancelledError` (by `cancellation` or
        `close`) and `ConfigError` (a URL, header, proxy or CA bundle that cannot be used). Errors
        hold no secrets, nor do their tracebacks.
        """
        ...

    def stream(
        self,
        request: HttpRequest,
        *,
        credentials: tuple[Credential, ...],
        deadline: float,
        silence: float,
        cancellation: Cancellation,
        max_bytes: Optional[int] = None,
    ) -> BodyStream:
        """The same, but return as soon as the head of the answer is there, whatever its status.

        Besides the deadline, no wait for more bytes may take longer than `silence` seconds: that is
        a `TransientError`. `max_bytes` caps this one answer, as it comes and decoded, in place of
        the transport's own cap: what is written to disk as it comes may well be larger than that.
        The caller closes what it is given.
        """
        ...

    def close(self) -> None:
        """End idle connections and calls in flight; every later `send` is cancelled."""
        ...


class _Plan(NamedTuple):
    """What all calls of one model share."""

    endpoint: Endpoint
    head: RequestHead
    idle: deque[Connection]


class PooledTransport:
    """Keep-alive connections made by urllib3, and an exchange of our own over them.

    `verify`: see `Trust`. `proxies`: see `proxy_for`; with `use_environment` False the proxy
    variables are not looked at. A server's proxy is chosen once. Neither .netrc nor cookies are
    ever used. `max_response_bytes` caps bodies as they come and decoded. Opening a connection may
    take `connect_timeout` seconds, and never longer than the deadline. Idle connections are
    reused, the latest first, for `idle_seconds`; at most `most_idle` of one endpoint are kept.
    Every `send` is one request on the wire: where the server closes a kept connection in that very
    moment it is a `ConnectionFailedError`, for the retry layer to count.

    No lock is held over I/O, nor is there one on the way of a call: stacks and dictionaries are
    used by single operations, which are atomic.
    """

    def __init__(
        self,
        *,
        verify: bool | str = True,
        proxies: Optional[Mapping[str, Optional[str]]] = None,
        use_environment: bool = True,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_timeout: float = 5.0,
        idle_seconds: float = 60.0,
        most_idle: int = 1_024,
        user_agent: str = "deluge-sync",
        clock: Clock = monotonic,
        wall_clock: Clock = time.time,
        parser: Optional[ParserFactory] = None,
    ) -> None:
        self._trust = Trust(verify)
        self._proxies = proxies
        self._use_environment = use_environment
        self._max_response_bytes = max_response_bytes
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._most_idle = most_idle
        self._user_agent = user_agent
        self._clock = clock
        self._wall_clock = wall_clock
        self._parser = parser
        self._closed = False
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._endpoints: dict[tuple[str, str, int], Endpoint] = {}
        self._idle: dict[Endpoint, deque[Connection]] = {}
        self._open: set[Connection] = set()

    def send(
        self,
        request: HttpRequest,
        *,
        credentials: tuple[Credential, ...],
        deadline: float,
        cancellation: Cancellation,
    ) -> HttpResponse:
        """See `Transport.send`."""
        loan = _Loan(self, deadline, cancellation)
        file = None
        try:
            if request.file is not None:
                file = SentFile(request)
            connection, head = self._lend(loan, request, credentials)
            connection.exchange(head, request.body, deadline, file)
            return self._answer(connection.reader)
        except FAILURES as error:
            failure = loan.failure(error)
        finally:
            loan.end()
            if file is not None:
                file.close()
        raise bare(failure)

    def stream(
        self,
        request: HttpRequest,
        *,
        credentials: tuple[Credential, ...],
        deadline: float,
        silence: float,
        cancellation: Cancellation,
        max_bytes: Optional[int] = None,
    ) -> BodyStream:
        """See `Transport.stream`."""
        loan = _Loan(self, deadline, cancellation, silence)
        file = None
        most = self._max_response_bytes if max_bytes is None else max_bytes
        try:
            if request.file is not None:
                file = SentFile(request)
            connection, head = self._lend(loan, unpacked(request), credentials)
            connection.begin(head, request.body, deadline, file=file, max_bytes=most)
            return AnswerStream(loan.head(self._wall_clock), loan, most)
        except FAILURES as error:
            failure = loan.failure(error)
        except BaseException:
            loan.end()
            raise
        finally:
            if file is not None:
                file.close()
        loan.end()
        raise bare(failure)

    def close(self) -> None:
        """See `Transport.close`. It does not wait for the calls in flight to notice."""
        self._closed = True
        for connection in list(self._open):
            connection.interrupt()
        self._close_idle()
        self._plans.clear()

    def _check(self, cancellation: Cancellation) -> None:
        if self._closed:
            raise CallCancelledError("the transport is closed")
        cancellation.check()

    def _answer(self, reader: AnswerReader) -> HttpResponse:
        return HttpResponse(reader.status, reader.headers, reader.body(), self._wall_clock())

    def _lend(
        self, loan: _Loan, request: HttpRequest, credentials: tuple[Credential, ...]
    ) -> tuple[Connection, RequestHead]:
        """A connection for `request`, and its head: all that goes before sending."""
        self._check(loan.cancellation)
        plan = self._plan(request, credentials)
        connection = self._idle_connection(plan.idle) or self._new_connection(plan.endpoint)
        loan.idle = plan.idle
        loan.connection = connection
        loan.cancellation.add(connection.interrupt)
        if not connection.is_open:
            self._connect(connection, loan.deadline)
        loan.sent = True
        return connection, plan.head

    def _connect(self, connection: Connection, deadline: float) -> None:
        peer = connection.endpoint.peer
        now = self._clock()
        if now >= deadline:
            raise DeadlineExceededError(f"the deadline passed before connecting to {peer}")
        try:
            connection.open(self._trust, min(deadline, now + self._connect_timeout))
        except (socket.timeout, TimeoutError):
            if self._clock() >= deadline:
                raise DeadlineExceededError(
                    f"the deadline passed while connecting to {peer}"
                ) from None
            raise ConnectionFailedError(
                f"no connection to {peer} within {self._connect_timeout:g} s"
            ) from None

    def _plan(self, request: HttpRequest, credentials: tuple[Credential, ...]) -> _Plan:
        key = (request.method, request.url, request.headers, credentials)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._new_plan(request, credentials)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _new_plan(self, request: HttpRequest, credentials: tuple[Credential, ...]) -> _Plan:
        target = target_of(request.url)
        origin = target[:3]
        endpoint = self._endpoints.get(origin)
        if endpoint is None:
            proxy = proxy_for(request.url, self._proxies, use_environment=self._use_environment)
            endpoint = self._endpoints.setdefault(origin, Endpoint(*origin, proxy))
        head = rendered_head(
            request,
            credentials,
            target=target,
            forwarder=endpoint.proxy if target.scheme == "http" else None,
            user_agent=self._user_agent,
        )
        idle = self._idle.setdefault(endpoint, deque())
        return _Plan(endpoint, RequestHead(head, request.method), idle)

    def _new_connection(self, endpoint: Endpoint) -> Connection:
        reader = AnswerReader(max_bytes=self._max_response_bytes, parser=self._parser)
        connection = Connection(endpoint, reader, self._clock)
        self._open.add(connection)
        if self._closed:
            connection.interrupt()
        return connection

    def _idle_connection(self, idle: deque[Connection]) -> Optional[Connection]:
        now = self._clock()
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                break
            if connection.idle_since >= now - self._idle_seconds and not connection.is_stale():
                return connection
            self._drop(connection)
        return None

    def _give_back(
        self, connection: Connection, idle: deque[Connection], cancellation: Cancellation
    ) -> None:
        # `cancelled` is looked at after `discard`: while it is False no interrupter was taken to
        # be run, so none can hit the connection's next user.
        if not connection.reader.reusable or cancellation.cancelled or connection.interrupted:
            self._drop(connection)
            return
        connection.idle_since = self._clock()
        idle.append(connection)
        self._trim(idle, connection.idle_since - self._idle_seconds)
        if self._closed:
            self._close_idle()

    def _trim(self, idle: deque[Connection], oldest: float) -> None:
        """Close what lies deepest in the stack, too long or too deep. New ones come on top, so a
        stack that shrinks in the meantime loses at most a good connection.
        """
        try:
            while len(idle) > self._most_idle or idle[0].idle_since < oldest:
                self._drop(idle.popleft())
        except IndexError:
            pass

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _close_idle(self) -> None:
        for idle in list(self._idle.values()):
            while idle:
                try:
                    self._drop(idle.pop())
                except IndexError:
                    break


class _Loan:
    """A connection while one request has it, and the `Source` of that request's stream."""

    __slots__ = ("_pool", "_silence", "cancellation", "connection", "deadline", "idle", "sent")

    def __init__(
        self,
        pool: PooledTransport,
        deadline: float,
        cancellation: Cancellation,
        silence: float = math.inf,
    ) -> None:
        self._pool = pool
        self._silence = silence
        self.deadline = deadline
        self.cancellation = cancellation
        self.connection: Optional[Connection] = None
        self.idle: deque[Connection] = _NOWHERE
        self.sent = False

    def head(self, wall_clock: Clock) -> HttpResponse:
        """Wait for the answer's head."""
        connection = self.connection
        assert connection is not None
        reader = connection.reader
        while not reader.head_done:
            self._advance(connection)
        return HttpResponse(reader.status, reader.headers, b"", wall_clock())

    def receive(self) -> bytes:
        """See `Source.receive`."""
        connection = self.connection
        assert connection is not None
        reader = connection.reader
        if connection.interrupted:
            raise CallCancelledError
        while True:
            piece = reader.take()
            if piece or reader.complete:
                return piece
            self._advance(connection)

    def failure(self, error: Exception) -> DelugeError:
        """See `Source.failure`."""
        connection = self.connection
        if connection is not None and connection.interrupted:
            failure: DelugeError = CallCancelledError("the call was cancelled while under way")
        elif isinstance(error, DelugeError):
            failure = error
        elif connection is not None:
            failure = connection_failure(error, connection.endpoint)
        else:
            raise error
        if isinstance(failure, CallError):
            failure.may_have_been_sent = self.sent
        return failure

    def end(self) -> None:
        """See `Source.end`."""
        connection = self.connection
        if connection is not None:
            self.cancellation.discard(connection.interrupt)
            reader = connection.reader
            if reader.head_done and not reader.complete and not connection.interrupted:
                connection.look()  # vendors' own end of a stream comes just before HTTP's
            if not reader.reusable:
                connection.interrupt()  # a forked child may hold the socket open
            self._pool._give_back(connection, self.idle, self.cancellation)

    def cut(self) -> None:
        """See `Source.cut`."""
        if self.connection is not None:
            self.connection.interrupt()
            self._pool._drop(self.connection)

    def _advance(self, connection: Connection) -> None:
        """Feed the reader what comes next."""
        until = min(self.deadline, self._pool._clock() + self._silence)
        connection.keep_time_here()
        try:
            connection.advance(until)
        except DeadlineExceededError:
            if until < self.deadline:
                progress = connection.reader.progress()
                raise TransientError(f"nothing came for {self._silence:g} s {progress}") from None
            raise


_NOWHERE: deque[Connection] = deque(maxlen=0)
