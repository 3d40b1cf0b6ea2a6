"""What the environment says: keys, base URLs, and the `${NAME}` of a user's configuration.

Every function takes the environment as a mapping; None means `os.environ` as it is at the call.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..values.errors import ConfigError, MissingKeyError
from ..values.model import Model, Provider
from ..values.secret import Secret

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def api_key_for(provider: Provider, environ: Mapping[str, str] | None = None) -> Secret | None:
    """The provider's key out of its environment variables; None for a provider without keys, or
    whose `auth` stands in where none of them is set.

    A `MissingKeyError` names the variables otherwise.
    """
    if not provider.key_env:
        return None
    found = _first_set(provider.key_env, environ)
    if found is None and provider.auth != "key":
        return None
    if found is None:
        raise MissingKeyError(
            f"no API key for {provider.name}: set {' or '.join(provider.key_env)}, or pass api_key="
        )
    name, value = found
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ConfigError(
            f"the value of {name} cannot be a key: it has blanks or control characters"
        )
    return Secret(value)


def base_url_for(provider: Provider, environ: Mapping[str, str] | None = None) -> str:
    """The checked base URL, without a slash at its end; "" where a launcher will give it.

    One of `base_url_env` wins over `base_url`. A `ConfigError` says which variable is missing, or
    what is wrong with the URL (see `check_url`).
    """
    found = _first_set(provider.base_url_env, environ)
    if found is not None:
        name, url = found
        return check_url(url, name, allow_http=provider.allow_http)
    field = f"providers.{provider.name}.base_url"
    url = _VARIABLE.sub(
        lambda match: _variable(provider, match.group(1), environ), _template(provider, environ)
    )
    if url:
        return check_url(url, field, allow_http=provider.allow_http)
    if provider.launch:
        return ""
    ways = [f"set {' or '.join(provider.base_url_env)}"] if provider.base_url_env else []
    raise ConfigError(f"{field} is missing: {', or '.join([*ways, 'pass base_url='])}")


def located(model: Model, environ: Mapping[str, str] | None = None) -> Model:
    """`model` with its provider's `base_url` as `base_url_for` finds it."""
    url = base_url_for(model.provider, environ)
    return dataclasses.replace(model, provider=dataclasses.replace(model.provider, base_url=url))


def check_url(url: str, field: str, *, allow_http: bool | None = False) -> str:
    """`url` without a slash at its end, if a key may be sent there; else a `ConfigError`.

    It must be absolute and https; http is for loopback addresses, or where `allow_http` (None:
    there is no such setting to propose). It holds no user, password or fragment. The message names
    `field` and shows no more than the host.
    """
    parts = _split(url, field)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{field} must not hold a user or password; name the key with key_env")
    if parts.fragment or "#" in url:
        raise ConfigError(f"{field} must not have a fragment (#...)")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname or ""):
        hint = " (allow_http: true in the provider's configuration permits it)"
        raise ConfigError(
            f"{field} must be https: prompts and keys would go to {parts.hostname} unencrypted"
            f"{'' if allow_http is None else hint}"
        )
    return url if parts.query else url.rstrip("/")


def url_variables(url: str) -> tuple[str, ...]:
    """The names that stand in braces in a base URL."""
    return tuple(_VARIABLE.findall(url))


def expand(
    sections: dict[str, dict[str, Any]], environ: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Checked `sections` with `${NAME}` and `${NAME:-default}` filled in, once.

    Only base URLs and the values of headers are looked at. A variable that is not set, or empty,
    and has no default is a `ConfigError`.
    """
    result = dict(sections)
    for section in ("providers", "models"):
        result[section] = {
            name: _expanded(fields, f"{section}.{name}", environ)
            for name, fields in sections[section].items()
        }
    return result


def _expanded(
    fields: Mapping[str, Any], where: str, environ: Mapping[str, str]
) -> Mapping[str, Any]:
    changed: dict[str, Any] = {}
    if "base_url" in fields:
        changed["base_url"] = _filled(fields["base_url"], f"{where}.base_url", environ)
    if "headers" in fields:
        changed["headers"] = {
            name: _filled(value, f"{where}.headers.{name}", environ)
            for name, value in fields["headers"].items()
        }
    return {**fields, **changed} if changed else fields


def _filled(text: str, field: str, environ: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = environ.get(name) or default
        if value is None:
            raise ConfigError(f"{field}: the environment variable {name} is not set")
        if not value.isprintable():
            raise ConfigError(f"{field}: the value of {name} has control characters")
        return value

    if "${" in _REFERENCE.sub("", text):
        raise ConfigError(f"{field}: only ${{NAME}} and ${{NAME:-default}} are understood")
    return _REFERENCE.sub(value_of, text)


def _first_set(names: Iterable[str], environ: Mapping[str, str] | None) -> tuple[str, str] | None:
    """The first of the variables that has a value, with that value."""
    environ = os.environ if environ is None else environ
    for name in names:
        value = environ.get(name, "").strip()
        if value:
            return name, value
    return None


def _template(provider: Provider, environ: Mapping[str, str] | None) -> str:
    """`base_url`, or the one of the place that the variables name."""
    for variable in url_variables(provider.base_url) if provider.base_urls else ():
        place = _variable(provider, variable, environ)
        if place in provider.base_urls:
            return provider.base_urls[place]
    return provider.base_url


def _variable(provider: Provider, variable: str, environ: Mapping[str, str] | None) -> str:
    names = provider.base_url_vars.get(variable, ())
    found = _first_set(names, environ)
    if found is None:
        others = (*names, *provider.base_url_env)
        raise ConfigError(
            f"providers.{provider.name}.base_url needs its {variable}: set {' or '.join(others)}"
        )
    return found[1].rstrip("/")


def _split(url: str, field: str) -> SplitResult:
    """The parts of an absolute URL of plain characters."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{field} is not a URL: {error}") from None
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ConfigError(f"{field} is not a URL: it has blanks or characters outside ASCII")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"{field} must be a whole URL such as https://api.example.com/v1")
    if "{" in url or "}" in url:
        raise ConfigError(f"{field} still has braces to be filled in")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
