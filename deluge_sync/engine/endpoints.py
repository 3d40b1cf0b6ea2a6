"""Where a connection leads, and how its failures read. The border: foreign errors end here."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple, Optional

from urllib3.exceptions import HTTPError
from urllib3.util.ssl_match_hostname import CertificateError

from ..values.errors import ConnectionFailedError, DelugeError
from .addresses import AddressInfo
from .proxies import Proxy

FOREIGN_ERRORS = (OSError, HTTPError, http.client.HTTPException, UnicodeError, CertificateError)
"""What connecting, sending and receiving raise."""
FAILURES = (DelugeError, *FOREIGN_ERRORS)
"""How an exchange fails, before its errors are made ours."""

_NOT_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
)


class Endpoint(NamedTuple):
    """A server, and the proxy that leads to it. Connections of one endpoint are interchangeable.

    Where `addresses` (see `addresses.resolved`) are given, they are connected to, and the name of
    the server, or of its proxy, is not looked up.
    """

    scheme: str
    host: str
    port: int
    proxy: Optional[Proxy] = None
    addresses: tuple[AddressInfo, ...] = ()

    @property
    def server(self) -> str:
        """The server's name for messages."""
        return f"{self.host}:{self.port}"

    @property
    def peer(self) -> str:
        """The name, for messages, of the one we connect to."""
        proxy = self.proxy
        return self.server if proxy is None else f"the proxy {proxy.host}:{proxy.port}"


def bare(failure: DelugeError) -> DelugeError:
    """`failure` without its past, to be raised outside of any except clause: the frames below hold
    the prompt, and the exceptions of others hold who knows what.
    """
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)


def connection_failure(error: BaseException, endpoint: Endpoint) -> ConnectionFailedError:
    """The error of ours for `error`, which may be urllib3's, requests' or the standard library's.

    Only words that cannot hold a secret are taken over: an errno's text, OpenSSL's reason, a class
    name; never `str()` of a library's exception, which may hold URLs and headers. Certificates
    that are not trusted, servers without TLS and proxies without an address are not retried.
    """
    found: Optional[BaseException] = None
    for found in _causes(error):
        if isinstance(found, (ssl.SSLCertVerificationError, CertificateError)):
            return _distrust(found, endpoint)
        if isinstance(found, socket.gaierror):
            return _unresolved(found, endpoint)
        if isinstance(found, UnicodeError):
            return ConnectionFailedError(f"{endpoint.peer} is not a host name", retryable=False)
        if isinstance(found, ssl.SSLError):
            return _tls_failure(found, endpoint)
        if isinstance(found, OSError) and found.strerror:
            return ConnectionFailedError(
                f"the connection to {endpoint.peer} failed: {found.strerror}"
            )
    name = type(found if isinstance(found, OSError) else error).__name__
    return ConnectionFailedError(f"the connection to {endpoint.peer} failed ({name})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what is wrapped in it, by any of the ways libraries wrap."""
    pending = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        wrapped = (getattr(current, "reason", None), *current.args)
        pending += [inner for inner in wrapped if isinstance(inner, BaseException)]
        pending += [inner for inner in (current.__cause__, current.__context__) if inner]


def _distrust(error: BaseException, endpoint: Endpoint) -> ConnectionFailedError:
    reason = getattr(error, "verify_message", None) or "it is for another host"
    return ConnectionFailedError(
        f"the certificate of {endpoint.server} is not trusted: {reason}. If your network inspects "
        "TLS, name its CA bundle (verify=path, or REQUESTS_CA_BUNDLE)",
        retryable=False,
    )


def _unresolved(error: socket.gaierror, endpoint: Endpoint) -> ConnectionFailedError:
    message = f"the name of {endpoint.peer} cannot be resolved: {error.strerror}"
    if endpoint.proxy is None or error.errno == socket.EAI_AGAIN:
        return ConnectionFailedError(message)
    return ConnectionFailedError(
        f"{message}; check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or proxies=", retryable=False
    )


def _tls_failure(error: ssl.SSLError, endpoint: Endpoint) -> ConnectionFailedError:
    reason = error.reason or type(error).__name__
    if reason in _NOT_TLS:
        return ConnectionFailedError(
            f"{endpoint.peer} does not speak TLS on this port ({reason}); should the URL, or the "
            "proxy's, begin with http://?",
            retryable=False,
        )
    return ConnectionFailedError(f"TLS with {endpoint.server} failed: {reason}")
