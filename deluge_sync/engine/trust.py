"""Which servers are trusted: the CA bundles and the TLS context, as users of requests expect."""

from __future__ import annotations

import os
import ssl
import threading
import warnings

from urllib3.exceptions import InsecureRequestWarning
from urllib3.util.ssl_ import create_urllib3_context

from ..values.errors import ConfigError

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Environment variables that name a CA bundle; the first one set wins."""

_warned = False


class Trust:
    """Makes one TLS context, at its first use, in the process that uses it.

    `verify` is True (the bundle named by the environment, else certifi's), the path of a bundle or
    of an OpenSSL certificate folder, or False: no verification, with one warning a process.
    TLS 1.2 is the least; HTTP/2 is not offered. A path that does not exist is a `ConfigError`.

    The lock guards the making of the context, which reads files and takes some 20 ms.
    """

    def __init__(self, verify: bool | str | os.PathLike[str] = True) -> None:
        self._verify = verify
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext:
        """The context, shared by all connections."""
        if self._context is None:
            with self._lock:
                if self._context is None:
                    self._context = self._new_context()
        return self._context

    def _new_context(self) -> ssl.SSLContext:
        if self._verify is False:
            _warn_once()
            return create_urllib3_context(cert_reqs=ssl.CERT_NONE)
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        path, origin = self._bundle()
        try:
            if os.path.isdir(path):
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except OSError as error:
            reason = error.strerror or "not a PEM file of certificates"
            raise ConfigError(f"{origin}: cannot use the CA bundle {path!r}: {reason}") from None
        return context

    def _bundle(self) -> tuple[str, str]:
        if not isinstance(self._verify, bool):
            return os.fspath(self._verify), "verify"
        for variable in BUNDLE_VARIABLES:
            path = os.environ.get(variable)
            if path:
                return path, variable
        import certifi

        return certifi.where(), "certifi"


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "verify=False: servers are not verified, so anyone on the way can read the keys and "
            "the prompts; name the CA bundle instead (verify=path or REQUESTS_CA_BUNDLE)",
            InsecureRequestWarning,
            stacklevel=2,
        )
