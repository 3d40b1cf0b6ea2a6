"""How an MCP server is started or reached, checked before anything is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from urllib.parse import urlsplit, urlunsplit

from ..catalog.environment import check_url
from ..catalog.specs import suggestion
from ..values.errors import ConfigError
from ..values.tool import NAME

INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ")
"""Variables that a server gets of ours, besides those that the `mcp` package passes on by itself
(HOME, LOGNAME, PATH, SHELL, TERM, USER; their like on Windows). No others: a key may be in them."""

SHORTEST_SECRET = 6
"""What is shorter is not hidden in texts: it would be found in ordinary words."""

_LOCAL_FIELDS = ("args", "command", "cwd", "env")
_REMOTE_FIELDS = ("headers", "url")
_KINDS = {"stdio": _LOCAL_FIELDS, "http": _REMOTE_FIELDS, "streamable-http": _REMOTE_FIELDS}


@dataclass(frozen=True)
class LocalServer:
    """A program that speaks MCP over its stdin and stdout. `command` is a whole path."""

    name: str
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Optional[str] = None

    def hidden(self, text: str) -> str:
        """`text` without the values that were given in `env`."""
        return _without(text, self.env.values())

    def told(self, reason: str, errors: str) -> str:
        """Why it could not be started, of what the protocol and its stderr say."""
        said = f"; its stderr ends: {errors}" if errors else " and wrote nothing to stderr"
        return f"{self.command} did not speak MCP over its stdout ({reason}){said}"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What the server gets, besides what the `mcp` package adds to it."""
        return {**{name: environ[name] for name in INHERITED if name in environ}, **self.env}


@dataclass(frozen=True)
class RemoteServer:
    """A server reached by streamable HTTP. `url` has no query; `query` and `headers` may be keys,
    and are added when a request leaves.
    """

    name: str
    url: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def told(self, reason: str, errors: str) -> str:
        """Why it could not be reached."""
        return f"{self.url}: {reason}"

    def hidden(self, text: str) -> str:
        """`text` without the values of headers, whole or without "Bearer", and of the query."""
        values = list(self.headers.values())
        values += [value.partition(" ")[2] for value in values]
        values += [part.partition("=")[2] for part in self.query.split("&")]
        return _without(text, values)


Server = Union[LocalServer, RemoteServer]


def server_of(
    name: str,
    *,
    command: str | os.PathLike[str] | None = None,
    args: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Server:
    """The server that these name; a `ConfigError` says what is wrong with them."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(
            f"an MCP server's name is of letters, digits, _ and -, at most 64: {name!r}"
        )
    if (command is None) == (url is None):
        raise ConfigError(f"MCP server {name}: give either command or url")
    if url is not None:
        if args or env or cwd:
            raise ConfigError(f"MCP server {name}: args, env and cwd go with command, not with url")
        return _remote(name, url, headers)
    if headers:
        raise ConfigError(f"MCP server {name}: headers go with url, not with command")
    if isinstance(args, str) or not all(isinstance(word, str) for word in args):
        raise ConfigError(f"MCP server {name}: args must be a list of strings")
    given = _strings(name, "env", env)
    folder = None if cwd is None else os.path.abspath(os.fspath(cwd))
    if folder is not None and not os.path.isdir(folder):
        raise ConfigError(f"MCP server {name}: no such folder for cwd: {folder}")
    found = _program(name, command, given, folder)
    return LocalServer(name, found, tuple(args), given, folder)


def servers_of(config: Mapping[str, Any]) -> tuple[Server, ...]:
    """The servers of the usual configuration, `{"mcpServers": {name: {...}}}`."""
    servers = config.get("mcpServers") if isinstance(config, Mapping) else None
    if not isinstance(servers, Mapping):
        raise ConfigError('the MCP configuration must be {"mcpServers": {name: {...}}}')
    return tuple(_configured(name, fields) for name, fields in servers.items())


def _configured(name: str, fields: Any) -> Server:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"mcpServers.{name} must hold command or url")
    kind = fields.get("type", "http" if "url" in fields else "stdio")
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise ConfigError(f"mcpServers.{name}.type: {kind!r} is not supported, only {known}")
    known_fields = _KINDS[kind]
    for key in fields:
        if key != "type" and key not in known_fields:
            hint = suggestion(str(key), known_fields)
            raise ConfigError(f"mcpServers.{name}.{key}: no such field of a {kind} server{hint}")
    return server_of(name, **{key: value for key, value in fields.items() if key != "type"})


def _remote(name: str, url: Any, headers: Mapping[str, str] | None) -> RemoteServer:
    where = f"MCP server {name}: url"
    if not isinstance(url, str):
        raise ConfigError(f"{where} must be a string")
    check_url(url, where, allow_http=None)
    parts = urlsplit(url)
    given = _strings(name, "headers", headers)
    for key, value in given.items():
        # Checked here, as the HTTP library's own error would show the value.
        if not key or not (key + value).isascii() or not (key + value).isprintable():
            raise ConfigError(f"MCP server {name}: header {key!r} is not printable ASCII")
    return RemoteServer(name, urlunsplit(parts._replace(query="")), parts.query, given)


def _strings(name: str, what: str, given: Any) -> dict[str, str]:
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in given.items()
    ):
        raise ConfigError(f"MCP server {name}: {what} must map strings to strings")
    return dict(given)


def _program(name: str, command: Any, env: Mapping[str, str], cwd: str | None) -> str:
    """The whole path of `command`, so that what runs is what was found here."""
    if not isinstance(command, (str, os.PathLike)):
        raise ConfigError(f"MCP server {name}: command must be a string")
    word = os.path.expanduser(os.fspath(command))
    if os.path.dirname(word):
        word = os.path.join(cwd or os.getcwd(), word)
    found = shutil.which(word, path=env.get("PATH", os.environ.get("PATH")))
    if found is None:
        hint = "; put its arguments into args" if " " in word.strip() else ""
        raise ConfigError(f"MCP server {name}: no such command: {os.fspath(command)!r}{hint}")
    return os.path.abspath(found)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "****")
    return text
