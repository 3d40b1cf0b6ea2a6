"""The transport over a `requests.Session` that the user brings, with its adapters and auth."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Optional

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from ..values.errors import (
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DelugeError,
)
from ..values.secret import Credential
from ..values.wire import HttpRequest, HttpResponse
from .cancellation import Cancellation
from .clock import Clock, monotonic
from .endpoints import FOREIGN_ERRORS, Endpoint, connection_failure
from .exchange import decoded, too_large
from .heads import header_problem, target_of
from .transport import MAX_RESPONSE_BYTES

_BUFFER = 65_536
_UNUSABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


class SessionTransport:
    """The contract of `Transport`, over `session`; `close` leaves the session itself open.

    The session's adapters, auth, hooks, cookies, proxies, `verify` and `cert` are honoured;
    credentials are added last, and where there are any and the session has no auth of its own,
    .netrc is not asked for one. Redirects are not followed. An adapter with retries or an auth
    that answers challenges may send more than once: that is the session's say.

    Where the adapter is a `requests.adapters.HTTPAdapter` (as is, or a subclass), the deadline is
    total from the answer's first byte on, and a cancelled call is woken; its urllib3 connections
    are made of a subclass for that. With other adapters both are as good as the adapter's own
    timeouts. Connecting takes `connect_timeout` for each address of the server.
    """

    def __init__(
        self,
        session: requests.Session,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_timeout: float = 5.0,
        clock: Clock = monotonic,
        wall_clock: Clock = time.time,
    ) -> None:
        self._session = session
        self._max_response_bytes = max_response_bytes
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._closed = False
        self._flights: set[_Flight] = set()

    def send(
        self,
        request: HttpRequest,
        *,
        credentials: tuple[Credential, ...],
        deadline: float,
        cancellation: Cancellation,
    ) -> HttpResponse:
        """See `Transport.send`."""
        flight = _Flight(deadline, self._clock, self._max_response_bytes)
        self._flights.add(flight)
        cancellation.add(flight.interrupt)
        failure: Optional[DelugeError] = None
        try:
            self._send(request, credentials, flight)
        except DelugeError as error:
            failure = error
        except FOREIGN_ERRORS as error:
            failure = self._translated(error, request, flight)
        finally:
            cancellation.discard(flight.interrupt)
            self._flights.discard(flight)
            flight.end()
        if flight.answer is not None:
            return flight.answer._replace(received_at=self._wall_clock())
        failure = failure or ConnectionFailedError("the session gave no answer")
        if flight.interrupted:
            failure = CallCancelledError("the call was cancelled while it was being sent")
        # Without its past: exceptions of requests hold the request, and so the keys.
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    def close(self) -> None:
        """Wake the calls in flight; every later `send` is cancelled."""
        self._closed = True
        for flight in list(self._flights):
            flight.interrupt()

    def _send(
        self, request: HttpRequest, credentials: tuple[Credential, ...], flight: _Flight
    ) -> None:
        if self._closed:
            flight.interrupt()
        if flight.interrupted:
            raise CallCancelledError("the call was cancelled")
        target_of(request.url)
        prepared = self._prepared(request, credentials)
        prepared.hooks["response"].append(flight.read)
        url = prepared.url or request.url
        settings = self._session.merge_environment_settings(url, {}, True, None, None)
        self._track(prepared, settings)
        left = flight.left()
        _current.flight = flight
        try:
            self._session.send(
                prepared,
                allow_redirects=False,
                timeout=(min(left, self._connect_timeout), left),
                **settings,
            )
        finally:
            _current.flight = None

    def _prepared(
        self, request: HttpRequest, credentials: tuple[Credential, ...]
    ) -> requests.PreparedRequest:
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        for name, value in request.headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        headers.setdefault("Accept-Encoding", "gzip")
        problem = _problem_of(headers, credentials)
        if problem is not None:
            raise ConfigError(problem)
        netrc_matters = bool(credentials) and self._session.auth is None
        own = requests.Request(
            request.method,
            request.url,
            headers=headers,
            data=request.body,
            auth=_no_auth if netrc_matters else None,
        )
        prepared = self._session.prepare_request(own)
        for header, prefix, secret in credentials:
            prepared.headers[header] = prefix + secret.reveal()
        return prepared

    def _track(self, prepared: requests.PreparedRequest, settings: Any) -> None:
        adapter = self._session.get_adapter(prepared.url or "")
        if isinstance(adapter, HTTPAdapter):
            pool: Any = adapter.get_connection_with_tls_context(
                prepared, settings["verify"], proxies=settings["proxies"], cert=settings["cert"]
            )
            made_of: Any = getattr(pool, "ConnectionCls", None)
            if isinstance(made_of, type) and issubclass(made_of, http.client.HTTPConnection):
                pool.ConnectionCls = _tracked(made_of)

    def _translated(
        self, error: BaseException, request: HttpRequest, flight: _Flight
    ) -> DelugeError:
        target = target_of(request.url)
        endpoint = Endpoint(*target[:3])
        if self._clock() >= flight.deadline:
            return flight.too_late()
        if isinstance(error, _UNUSABLE):
            name = type(error).__name__
            return ConfigError(f"the session cannot send to {endpoint.server} ({name})")
        if isinstance(error, requests.exceptions.ConnectTimeout):
            within = f"{self._connect_timeout:g} s"
            return ConnectionFailedError(f"no connection to {endpoint.server} within {within}")
        return connection_failure(error, endpoint)


class _Flight:
    """One call under way: its deadline, the socket it waits on, and in the end its answer."""

    def __init__(self, deadline: float, clock: Clock, max_bytes: int) -> None:
        self.deadline = deadline
        self.interrupted = False
        self.answer: Optional[HttpResponse] = None
        self.connection: Any = None
        self.sock: Any = None
        self._clock = clock
        self._max_bytes = max_bytes
        self._size: Optional[int] = None

    def left(self) -> float:
        """Seconds to the deadline; raises where there are none."""
        left = self.deadline - self._clock()
        if left <= 0:
            raise self.too_late()
        return left

    def too_late(self) -> DeadlineExceededError:
        """The error that says what was waited for."""
        if self._size is not None:
            where = f"while reading the body, {self._size:,} bytes so far"
        elif self.sock is not None:
            where = "while waiting for the head of the answer"
        else:
            where = "before the request was sent"
        return DeadlineExceededError(f"the deadline passed {where}")

    def interrupt(self) -> None:
        """Shut the socket down that is waited on, if there is one in reach."""
        self.interrupted = True
        sock = self.sock or getattr(self.connection, "sock", None)
        if sock is not None:
            with suppress(OSError, TypeError):
                # See `Connection.interrupt` for why it is not the socket's own method.
                socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of the socket: it may be another call's now."""
        self.sock = self.connection = None

    def read(self, response: requests.Response, **_: Any) -> None:
        """Read the body; a response hook, run before requests looks at redirects, as it would
        read a redirect's body without a cap.
        """
        pieces = []
        self._size = 0
        try:
            for piece in _raw_pieces(response.raw):
                pieces.append(piece)
                self._size += len(piece)
                if self._size > self._max_bytes:
                    raise too_large(self._max_bytes)
                self.left()
            if self.interrupted:
                raise CallCancelledError("the call was cancelled")
            body = b"".join(pieces)
            headers = {name.lower(): value for name, value in response.headers.items()}
            if body and "content-encoding" in headers:
                body = decoded(body, headers["content-encoding"], self._max_bytes)
        except BaseException:
            response.close()
            raise
        vars(response).update(_content=body, _content_consumed=True)
        response.close()
        self.answer = HttpResponse(response.status_code, headers, body)


class _Current(threading.local):
    flight: Optional[_Flight] = None


_current = _Current()


class _Tracked:
    """Mixed into a urllib3 connection: tells the call of its thread which socket it waits on, and
    gives every read of the answer what is left of the call's time.
    """

    def connect(self) -> None:
        self._tell()
        super().connect()  # type: ignore[misc]

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._tell()
        super().request(*args, **kwargs)  # type: ignore[misc]

    def response_class(self, sock: Any, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        flight = _current.flight
        if flight is not None:
            flight.sock = sock
            sock = _TimedSocket(sock, flight)
        return http.client.HTTPResponse(sock, *args, **kwargs)

    def _tell(self) -> None:
        flight = _current.flight
        if flight is not None:
            flight.connection = self
            if flight.interrupted:
                raise CallCancelledError("the call was cancelled")


class _TimedSocket:
    def __init__(self, sock: Any, flight: _Flight) -> None:
        self._sock = sock
        self._flight = flight

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = self._sock.makefile(mode, buffering=0)
        return io.BufferedReader(_TimedReader(raw, self._sock, self._flight))


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: Any, sock: Any, flight: _Flight) -> None:
        self._raw = raw
        self._sock = sock
        self._flight = flight

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._sock.settimeout(self._flight.left())
        count: Optional[int] = self._raw.readinto(buffer)
        if not count and self._flight.interrupted:
            raise CallCancelledError("the call was cancelled")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


_tracked_types: dict[type, type] = {}


def _tracked(made_of: type) -> type:
    if issubclass(made_of, _Tracked):
        return made_of
    if made_of not in _tracked_types:
        _tracked_types[made_of] = type(f"Tracked{made_of.__name__}", (_Tracked, made_of), {})
    return _tracked_types[made_of]


def _raw_pieces(raw: Any) -> Iterator[bytes]:
    """The body as it came; `raw` is urllib3's response, or what a foreign adapter has for it."""
    if hasattr(raw, "stream"):
        yield from raw.stream(_BUFFER, decode_content=False)
        return
    while True:
        piece = raw.read(_BUFFER) if raw is not None else b""
        if not piece:
            return
        yield piece


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _problem_of(
    headers: CaseInsensitiveDict[str], credentials: tuple[Credential, ...]
) -> Optional[str]:
    fields = list(headers.items())
    fields += [(name, prefix + secret.reveal()) for name, prefix, secret in credentials]
    problems = (header_problem(name, value) for name, value in fields)
    return next((problem for problem in problems if problem is not None), None)
