"""Opening a connection: urllib3 does TLS, names and proxies; connecting is interruptible here."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Callable, Optional

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util import parse_url
from urllib3.util.wait import wait_for_write

from ..values.errors import ConnectionFailedError
from .addresses import resolved
from .clock import Clock
from .endpoints import Endpoint
from .exchange import AnswerReader
from .proxies import Proxy
from .trust import Trust

Watch = Callable[[Optional[socket.socket]], None]
"""Told which socket to shut down on an interrupt; raises `CallCancelledError` after one."""

_UNDER_WAY = frozenset((errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", -1)))
_LONGEST_SLICE = 0.25
_TUNNEL_BODY_LIMIT = 65_536


class Dialer:
    """Opens one connection to `endpoint`, all of it before the instant `until`.

    Name resolution is the one step that cannot be interrupted or timed: getaddrinfo takes as long
    as the system lets it, and the instant is looked at after it. The other steps end with
    `socket.timeout` at `until`, and with `CallCancelledError` on an interrupt: at once where
    shutting a socket down wakes those who wait for it (Linux), else within a quarter of a second.
    """

    def __init__(
        self, endpoint: Endpoint, trust: Trust, *, until: float, clock: Clock, watch: Watch
    ) -> None:
        self._endpoint = endpoint
        self._trust = trust
        self._until = until
        self._clock = clock
        self._watch = watch
        self._twin: Optional[socket.socket] = None

    def dial(self) -> socket.socket:
        """The connected socket, with TLS where the endpoint has it."""
        connection = self._connection()
        try:
            connection.connect()
            sock: socket.socket = connection.sock
            # In TLS within TLS it is an SSLTransport, which wraps the socket.
            self._watch(getattr(sock, "socket", sock))
            return sock
        except BaseException:
            self._watch_nothing()
            connection.close()
            raise
        finally:
            if self._twin is not None:
                self._twin.close()

    def new_socket(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of `host` that answers; each gets its share of the time."""
        addresses = self._endpoint.addresses or resolved(host, port)
        failure: OSError = socket.timeout("timed out")
        for position, (*kind, _, address) in enumerate(addresses):
            share = self._left() / (len(addresses) - position)
            try:
                return self._connected(socket.socket(*kind), address, self._clock() + share)
            except OSError as error:
                failure = error
        raise failure

    def tunnel(self, sock: socket.socket, host: str, port: int) -> None:
        """Have the proxy at the other end of `sock` connect us to `host`."""
        reader = AnswerReader(max_bytes=_TUNNEL_BODY_LIMIT)
        reader.start(bodiless=True)
        sock.settimeout(self._left())
        sock.sendall(_connect_request(host, port, self._endpoint.proxy))
        while not reader.complete:
            sock.settimeout(self._left())
            data = sock.recv(_TUNNEL_BODY_LIMIT)
            if data:
                reader.feed(data)
            else:
                reader.finish()
        if reader.status // 100 != 2 or reader.leftover:
            raise self._refused(reader.status)
        sock.settimeout(self._left())

    def _connection(self) -> Any:
        endpoint, proxy = self._endpoint, self._endpoint.proxy
        connection: Any
        if proxy is not None and endpoint.scheme == "https":
            context = self._trust.context()
            connection = _HttpsConnection(
                proxy.host,
                proxy.port,
                ssl_context=context,
                proxy=parse_url(f"{proxy.scheme}://{proxy.host}:{proxy.port}"),
                proxy_config=ProxyConfig(context, False, None, None),
            )
            connection.set_tunnel(endpoint.host, endpoint.port, scheme=proxy.scheme)
        else:
            scheme, host, port = (proxy or endpoint)[:3]
            if scheme == "https":
                connection = _HttpsConnection(host, port, ssl_context=self._trust.context())
            else:
                connection = _HttpConnection(host, port)
        connection.dialer = self
        return connection

    def _connected(self, sock: socket.socket, address: Any, until: float) -> socket.socket:
        try:
            for option in _SOCKET_OPTIONS:
                sock.setsockopt(*option)
            sock.setblocking(False)
            self._watch(sock)
            self._connect(sock, address, until)
            if self._endpoint.scheme == "https" or self._uses_tls_to_proxy():
                # The TLS layer takes the socket over, and cannot be reached before its handshake
                # is done; a twin of the socket can.
                self._twin = sock.dup()
                self._watch(self._twin)
            sock.settimeout(self._left())
            return sock
        except BaseException:
            self._watch_nothing()
            sock.close()
            raise

    def _connect(self, sock: socket.socket, address: Any, until: float) -> None:
        code = sock.connect_ex(address)
        if code in _UNDER_WAY:
            left = until - self._clock()
            while not wait_for_write(sock, timeout=max(0.0, min(left, _LONGEST_SLICE))):
                self._watch(sock)
                left = until - self._clock()
                if left <= 0:
                    raise socket.timeout("timed out")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._watch(sock)
        if code:
            raise OSError(code, os.strerror(code))

    def _uses_tls_to_proxy(self) -> bool:
        proxy = self._endpoint.proxy
        return proxy is not None and proxy.scheme == "https"

    def _watch_nothing(self) -> None:
        self._watch(None)

    def _left(self) -> float:
        left = self._until - self._clock()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    def _refused(self, status: int) -> ConnectionFailedError:
        endpoint = self._endpoint
        message = f"{endpoint.peer} does not lead to {endpoint.server}: it answered {status}"
        if status == 407:
            message += "; it wants http://user:password@host:port as the proxy's URL"
        return ConnectionFailedError(message, retryable=status in (408, 429) or status >= 500)


class _Dialled:
    """What a urllib3 connection does for itself, handed over to a `Dialer`.

    urllib3's own connect gives every address the whole timeout and hides the socket until it is
    connected; its CONNECT request times each read, but not all of them together.
    """

    dialer: Dialer

    def _new_conn(self) -> socket.socket:
        return self.dialer.new_socket(self._dns_host, self.port)  # type: ignore[attr-defined]

    def _tunnel(self) -> None:
        self.dialer.tunnel(
            self.sock,  # type: ignore[attr-defined]
            self._tunnel_host,  # type: ignore[attr-defined]
            self._tunnel_port,  # type: ignore[attr-defined]
        )


class _HttpConnection(_Dialled, HTTPConnection):
    pass


class _HttpsConnection(_Dialled, HTTPSConnection):
    pass


def _connect_request(host: str, port: int, proxy: Optional[Proxy]) -> memoryview:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    authorization = proxy.authorization if proxy is not None else None
    login = f"Proxy-Authorization: {authorization.reveal()}\r\n" if authorization else ""
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n"
    return memoryview(head.encode("latin-1"))


def _socket_options() -> list[tuple[int, int, int]]:
    """No Nagle; and probes on silent connections, as NAT boxes forget calls that think for long."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options


_SOCKET_OPTIONS = _socket_options()
