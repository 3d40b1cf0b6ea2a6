"""The transport over a `requests.Session` that the user brings, with its adapters and auth."""

from __future__ import annotations

import http.client
import io
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Optional, Union

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from ..values.errors import (
    CallCancelledError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DelugeError,
    TransientError,
)
from ..values.secret import Credential
from ..values.wire import HttpRequest, HttpResponse
from .cancellation import Cancellation
from .clock import Clock, monotonic
from .endpoints import FAILURES, Endpoint, bare, connection_failure
from .exchange import cut_short, decoded, too_large
from .heads import header_problem, target_of
from .sent_files import SentFile
from .streams import AnswerStream, unpacked
from .transport import MAX_RESPONSE_BYTES, BodyStream

_BUFFER = 65_536
_UNUSABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)
_READ_TIMEOUTS = (requests.exceptions.ReadTimeout, ReadTimeoutError)


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
        self._most_bytes = max_response_bytes
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
        flight = _Flight(self, request, deadline, cancellation)
        try:
            return self._send(request, credentials, flight)
        except FAILURES as error:
            failure = flight.failure(error)
        finally:
            flight.end()
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
        """See `Transport.stream`. Where the adapter is not an `HTTPAdapter`, pieces come when it
        gives them.
        """
        flight = _Flight(self, request, deadline, cancellation, silence)
        if max_bytes is not None:
            flight.most_bytes = max_bytes
        try:
            head = self._send(unpacked(request), credentials, flight)
            return AnswerStream(head, flight, flight.most_bytes)
        except FAILURES as error:
            failure = flight.failure(error)
        except BaseException:
            flight.end()
            raise
        flight.end()
        raise bare(failure)

    def close(self) -> None:
        """Wake the calls in flight; every later `send` is cancelled."""
        self._closed = True
        for flight in list(self._flights):
            flight.interrupt()

    def _send(
        self, request: HttpRequest, credentials: tuple[Credential, ...], flight: _Flight
    ) -> HttpResponse:
        """The answer, or its head alone where the flight is a stream's."""
        if self._closed:
            flight.interrupt()
        if flight.interrupted:
            raise CallCancelledError("the call was cancelled")
        target_of(request.url)
        if request.file is None:
            return self._exchanged(request, request.body, credentials, flight)
        body = _TimedBody(request, flight)
        try:
            return self._exchanged(request, body, credentials, flight)
        finally:
            body.close()

    def _exchanged(
        self,
        request: HttpRequest,
        body: Union[bytes, SentFile],
        credentials: tuple[Credential, ...],
        flight: _Flight,
    ) -> HttpResponse:
        prepared = self._prepared(request, body, credentials)
        prepared.hooks["response"].append(flight.take)
        url = prepared.url or request.url
        settings = self._session.merge_environment_settings(url, {}, True, None, None)
        self._track(prepared, settings)
        left = flight.left()
        patience = (min(left, self._connect_timeout), min(left, flight.silence))
        _current.flight = flight
        try:
            self._session.send(prepared, allow_redirects=False, timeout=patience, **settings)
        except FAILURES:
            if flight.answer is None:
                raise
        finally:
            _current.flight = None
        if flight.answer is None:
            raise ConnectionFailedError("the session gave no answer")
        return flight.answer._replace(received_at=self._wall_clock())

    def _prepared(
        self,
        request: HttpRequest,
        body: Union[bytes, SentFile],
        credentials: tuple[Credential, ...],
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
            data=body if len(body) else b"",  # what is empty but not bytes, requests sends chunked
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


class _Flight:
    """One call under way: its deadline, the socket it waits on, and its answer as it comes.

    Where `silence` is finite the call is a stream, and this its `Source`.
    """

    def __init__(
        self,
        transport: SessionTransport,
        request: HttpRequest,
        deadline: float,
        cancellation: Cancellation,
        silence: float = math.inf,
    ) -> None:
        self.silence = silence
        self.interrupted = False
        self.answer: Optional[HttpResponse] = None
        self.connection: Any = None
        self.sock: Any = None
        self.met_end = False
        self.sending = False
        self.most_bytes = transport._most_bytes
        self._transport = transport
        self._request = request
        self._deadline = deadline
        self._cancellation = cancellation
        self._response: Optional[requests.Response] = None
        self._pieces: Iterator[bytes] = iter(())
        self._size: Optional[int] = None
        transport._flights.add(self)
        cancellation.add(self.interrupt)

    def left(self) -> float:
        """Seconds to the deadline; raises where there are none."""
        left = self._deadline - self._transport._clock()
        if left <= 0:
            raise self._too_late()
        return left

    def interrupt(self) -> None:
        """Shut the socket down that is waited on, if there is one in reach."""
        self.interrupted = True
        sock = self.sock or getattr(self.connection, "sock", None)
        if sock is not None:
            with suppress(OSError, TypeError):
                # See `Connection.interrupt` for why it is not the socket's own method.
                socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)

    def keep_time(self) -> None:
        """Have the sending of the next piece end by the deadline; raises where the call is over."""
        self.sending = True
        left = self.left()
        self._check()
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            sock.settimeout(left)

    def take(self, response: requests.Response, **_: Any) -> None:
        """Take the answer, whole unless the call is a stream; a response hook.

        It runs before requests looks at redirects, as that would read a redirect's body without a
        cap. So redirects are taken whole, too.
        """
        self._response = response
        if self.met_end:
            raise cut_short(self._progress())  # http.client takes half a head for a whole one
        self._size = 0
        self._pieces = _raw_pieces(response.raw, of_ours=self.sock is not None)
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = b""
        if self.silence == math.inf:
            body = self._whole(response)
            if body and "content-encoding" in headers:
                body = decoded(body, headers["content-encoding"], self.most_bytes)
            vars(response).update(_content=body)
        elif response.is_redirect:
            self._pieces = iter((self._whole(response),))
            self._size = 0
        self.answer = HttpResponse(response.status_code, headers, body)

    def receive(self) -> bytes:
        """See `Source.receive`."""
        self.left()
        self._check()
        piece = next(self._pieces, b"")
        self._size = (self._size or 0) + len(piece)
        if self._size > self.most_bytes:
            raise too_large(self.most_bytes)
        raw = self._response.raw if self._response is not None else None
        if getattr(raw, "closed", True):
            self._let_go()
        if not piece:
            self._check()
            if self.met_end and getattr(raw, "chunked", False):
                raise cut_short(self._progress())  # urllib3 lets the last chunk's end be missing
            self._mark_read()
        return piece

    def failure(self, error: Exception) -> DelugeError:
        """See `Source.failure`."""
        if self.interrupted:
            return CallCancelledError("the call was cancelled while under way")
        if isinstance(error, DelugeError):
            return error
        if self._transport._clock() >= self._deadline:
            return self._too_late()
        if isinstance(error, _READ_TIMEOUTS) and self.silence < math.inf:
            return TransientError(f"nothing came for {self.silence:g} s {self._progress()}")
        endpoint = Endpoint(*target_of(self._request.url)[:3])
        if isinstance(error, _UNUSABLE):
            name = type(error).__name__
            return ConfigError(f"the session cannot send to {endpoint.server} ({name})")
        if isinstance(error, requests.exceptions.ConnectTimeout):
            within = f"{self._transport._connect_timeout:g} s"
            return ConnectionFailedError(f"no connection to {endpoint.server} within {within}")
        return connection_failure(error, endpoint)

    def end(self) -> None:
        """See `Source.end`."""
        self._cancellation.discard(self.interrupt)
        self._transport._flights.discard(self)
        response = self._response
        if response is not None:
            if not vars(response)["_content_consumed"]:
                self.interrupt()  # a forked child may hold the socket open
            response.close()
        self._let_go()

    def cut(self) -> None:
        """See `Source.cut`: urllib3's pool, to which `end` gives the connection, has a lock."""
        self._transport._flights.discard(self)
        self.interrupt()
        if self._response is not None:
            self._response.raw.close()

    def _whole(self, response: requests.Response) -> bytes:
        body = b"".join(iter(self.receive, b""))
        response.close()
        return body

    def _mark_read(self) -> None:
        """Have requests believe that it has read the body: it keeps the connection then."""
        if self._response is not None:
            vars(self._response).update(_content=b"", _content_consumed=True)

    def _let_go(self) -> None:
        """The socket may be another call's now."""
        self.sock = self.connection = None

    def _check(self) -> None:
        if self.interrupted:
            raise CallCancelledError("the call was cancelled")

    def _progress(self) -> str:
        """What is waited for."""
        if self._size is not None:
            return f"while reading the body, {self._size:,} bytes so far"
        if self.sock is not None:
            return "while waiting for the head of the answer"
        if self.sending:
            return "while sending the request"
        return "before the request was sent"

    def _too_late(self) -> DeadlineExceededError:
        return DeadlineExceededError(f"the deadline passed {self._progress()}")


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


class _TimedBody(SentFile):
    """Gives every send of a piece what is left of the call's time."""

    def __init__(self, request: HttpRequest, flight: _Flight) -> None:
        super().__init__(request)
        self._flight = flight

    def read(self, most: int = -1) -> bytes:
        """See `SentFile.read`."""
        self._flight.keep_time()
        return super().read(most)


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
        flight = self._flight
        self._sock.settimeout(min(flight.left(), flight.silence))
        count: Optional[int] = self._raw.readinto(buffer)
        if not count:
            flight.met_end = True
            if flight.interrupted:
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


def _raw_pieces(raw: Any, *, of_ours: bool) -> Iterator[bytes]:
    """The body as it came; `raw` is urllib3's response, or what a foreign adapter has for it.

    `of_ours` if it reads from a connection of ours: then pieces are given as they come, while
    urllib3's `stream` waits for whole chunks, or as much as was asked for.
    """
    if of_ours and isinstance(raw, BaseHTTPResponse):
        yield from iter(lambda: raw.read1(_BUFFER, decode_content=False) or b"", b"")
    elif hasattr(raw, "stream"):
        yield from raw.stream(_BUFFER, decode_content=False)
    elif raw is not None:
        yield from iter(lambda: raw.read(_BUFFER) or b"", b"")


def _no_auth(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _problem_of(
    headers: CaseInsensitiveDict[str], credentials: tuple[Credential, ...]
) -> Optional[str]:
    fields = list(headers.items())
    fields += [(name, prefix + secret.reveal()) for name, prefix, secret in credentials]
    problems = (header_problem(name, value) for name, value in fields)
    return next((problem for problem in problems if problem is not None), None)
