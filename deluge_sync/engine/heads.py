"""The head of an HTTP/1.1 request as bytes. The secrets go in here, and nowhere before."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from ..values.errors import ConfigError
from ..values.secret import Credential
from ..values.wire import HttpRequest
from .proxies import Proxy

_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00\r\n]")
_OURS = frozenset(("content-length", "transfer-encoding"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """Where a request goes: `authority` as the Host header has it, `path` with its query."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def target_of(url: str) -> Target:
    """Take `url` apart; anything but a plain http or https URL is a `ConfigError`."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        parts = None
    if (
        parts is None
        or parts.scheme not in _DEFAULT_PORTS
        or parts.host is None
        or _VISIBLE.fullmatch(parts.host) is None
        or _VISIBLE.fullmatch(parts.request_uri) is None
    ):
        raise ConfigError("the URL is malformed; expected http://host/... or https://host/...")
    if parts.auth is not None:
        raise ConfigError("the URL holds a user name or password; give keys as keys instead")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    is_default = port == _DEFAULT_PORTS[parts.scheme]
    authority = parts.host if is_default else f"{parts.host}:{port}"
    return Target(parts.scheme, parts.host.strip("[]"), port, authority, parts.request_uri)


def rendered_head(
    request: HttpRequest,
    credentials: tuple[Credential, ...],
    *,
    target: Target,
    forwarder: Proxy | None = None,
    user_agent: str,
) -> bytes:
    """The head of `request`, up to and including the last header's line end.

    Content-Length and the empty line are missing: they differ from call to call. Defaults (Host,
    User-Agent, Accept, Accept-Encoding) go first and give way to headers of the request, and those
    to credentials. `forwarder` is the proxy that a plain-http request is handed to. What cannot be
    put on the wire is a `ConfigError` that names the header, never its value.
    """
    head, problem = _rendered(request, credentials, target, forwarder, user_agent)
    if problem is not None:
        raise ConfigError(problem)
    return head


def _rendered(
    request: HttpRequest,
    credentials: tuple[Credential, ...],
    target: Target,
    forwarder: Proxy | None,
    user_agent: str,
) -> tuple[bytes, Optional[str]]:
    """The head, or what is wrong with it: returned, so that no traceback has secrets in it."""
    if _TOKEN.fullmatch(request.method) is None:
        return b"", f"{request.method!r} is not an HTTP method"
    fields: dict[str, list[tuple[str, str]]] = {
        "host": [("Host", target.authority)],
        "user-agent": [("User-Agent", user_agent)],
        "accept": [("Accept", "*/*")],
        "accept-encoding": [("Accept-Encoding", "gzip")],
    }
    defaults = set(fields)
    for name, value in request.headers:
        key = name.lower()
        if key in defaults:
            defaults.remove(key)
            fields[key] = []
        fields.setdefault(key, []).append((name, value))
    for header, prefix, secret in credentials:
        fields[header.lower()] = [(header, prefix + secret.reveal())]
    origin = ""
    if forwarder is not None:
        origin = f"{target.scheme}://{target.authority}"
        if forwarder.authorization is not None:
            value = forwarder.authorization.reveal()
            fields["proxy-authorization"] = [("Proxy-Authorization", value)]
    lines = [f"{request.method} {origin}{target.path} HTTP/1.1\r\n"]
    for repeated in fields.values():
        for name, value in repeated:
            problem = header_problem(name, value)
            if problem is not None:
                return b"", problem
            lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1"), None


def header_problem(name: str, value: str) -> str | None:
    """What is wrong with a header, in words without its value; None if it can be sent."""
    if _TOKEN.fullmatch(name) is None:
        return f"{name!r} is not the name of an HTTP header"
    if name.lower() in _OURS:
        return f"the header {name!r} is set by the transport, from the body"
    if _FORBIDDEN_IN_VALUE.search(value) is not None:
        return (
            f"the value of the header {name!r} holds a line break or a NUL; if it is a key, strip "
            "the white space around it"
        )
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return f"the value of the header {name!r} holds characters that HTTP headers cannot"
    return None
