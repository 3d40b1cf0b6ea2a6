"""Which proxy leads to a server, as users of requests expect."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional
from urllib.parse import unquote

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from ..values.errors import ConfigError
from ..values.secret import Secret

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """An HTTP proxy; `authorization` is the value of its Proxy-Authorization header."""

    scheme: str
    host: str
    port: int
    authorization: Optional[Secret] = None


def proxy_for(
    url: str, proxies: Mapping[str, str | None] | None, *, use_environment: bool = True
) -> Proxy | None:
    """The proxy for `url`, or None to go there directly.

    `proxies` has the keys of requests ("https", "https://host", "all", ...) and goes before the
    environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY; on macOS and Windows also the
    system's settings); None or "" as its value means: no proxy. A malformed or unsupported proxy
    URL is a `ConfigError`.
    """
    chosen: dict[str, Any] = dict(proxies or {})
    if not chosen and not (use_environment and urllib.request.getproxies()):
        return None
    # Imported only where there is a proxy: it is slow to import.
    from requests.utils import get_environ_proxies, select_proxy

    if use_environment:
        for key, value in get_environ_proxies(url, no_proxy=chosen.get("no_proxy")).items():
            chosen.setdefault(key, value)
    found = select_proxy(url, chosen)
    return parsed_proxy(found) if found else None


def parsed_proxy(url: str) -> Proxy:
    """The proxy that `url` names; "host:port" means http."""
    full_url = url if "://" in url else f"http://{url}"
    try:
        parts = parse_url(full_url)
    except LocationParseError:
        parts = None
    if parts is None or not parts.host:
        # The URL itself is not shown: it may hold a password.
        raise ConfigError("the proxy URL is malformed; expected http://[user:password@]host:port")
    scheme = parts.scheme or "http"
    if scheme not in _DEFAULT_PORTS:
        raise ConfigError(
            f"proxies of the kind {scheme!r} are not supported here; use an http proxy, or bring a "
            "requests.Session that knows this proxy (session=)"
        )
    authorization = None
    if parts.auth:
        encoded = base64.b64encode(unquote(parts.auth).encode("utf-8"))
        authorization = Secret(f"Basic {encoded.decode('ascii')}")
    return Proxy(
        scheme, parts.host.strip("[]"), parts.port or _DEFAULT_PORTS[scheme], authorization
    )
