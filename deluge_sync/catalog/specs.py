"""What a configuration may say: every field of every section, and the check it has to pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, NoReturn

from ..values.errors import ConfigError
from ..values.params import EFFORTS, SAMPLING_FIELDS

Check = Callable[[Any, str], Any]
"""Takes a value and the path of its field; returns it normalised or raises a `ConfigError`."""

SUPPORTS = (
    "vision",
    "pdf",
    "audio_in",
    "tools",
    "forced_tool_choice",
    "json_schema",
    "reasoning",
    "prompt_caching",
    "cache_breakpoints",
    "responses_tools",
    "web_search",
    "computer_use",
    "prefill",
    "echo_reasoning",
    "mid_system",
    "dimensions",
    "base64_vectors",
    "task_prefixes",
)
"""The words of `Model.supports`. From `prefill` on: the conversation may end with an assistant turn
to be continued; the thinking of earlier turns has to be sent back; system turns may come later.
Embedding models: vectors can be had shorter; they can be had as base64, which is read twenty times
as quickly; what a text is embedded for is said in the text itself, not beside it."""

_SECRET_FIELDS = frozenset({"api_key", "apikey", "key", "token", "secret", "password"})
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"}
)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_BRACED = re.compile(r"\{[^}]*\}?|\}")
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")


def fail(field: str, must_be: str, value: Any, hint: str = "") -> NoReturn:
    """Raise the error for a field whose value is not what it has to be."""
    raise ConfigError(f"{field} must be {must_be}, not {_shown(value)}{hint}")


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except Exception:  # a number too long to print, or whatever a foreign object raises
        shown = f"this {type(value).__name__}"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def suggestion(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for a word close to known ones, else ""."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=3)
    names = " or ".join(repr(by_lower[name]) for name in close)
    return f"; did you mean {names}?" if names else ""


def check_document(document: Any) -> dict[str, dict[str, Any]]:
    """A configuration with every field checked; all four sections are there, perhaps empty."""
    if document is None:
        document = {}
    if not isinstance(document, Mapping):
        fail("a configuration", f"a mapping of the sections {', '.join(_SECTIONS)}", document)
    checked: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for name, section in document.items():
        if name not in _SECTIONS:
            _unknown(name, _SECTIONS, "a configuration")
        if section is not None:
            checked[name] = _SECTIONS[name](section, name)
    return checked


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        fail(field, "text", value)
    if not value.isprintable():
        fail(field, "text without control characters", value)
    return value


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        fail(field, "true or false", value)
    return value


def _count(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 63:
        fail(field, "a whole number of at least 1", value)
    return value


def _price(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(field, "a number", value)
    if not 0 <= value < 1e12:
        fail(field, "a price of at least 0", value)
    return float(value)


def _day(value: Any, field: str) -> str:
    text = value.isoformat() if isinstance(value, date) else value
    try:
        return date.fromisoformat(text).isoformat()
    except (TypeError, ValueError):
        fail(field, "a date such as 2026-11-22", value)


def _or_null(check: Check) -> Check:
    return lambda value, field: None if value is None else check(value, field)


def _texts(value: Any, field: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        fail(field, "a list of texts", value)
    return tuple(_text(item, f"{field}[{index}]") for index, item in enumerate(value))


def _word(words: Iterable[str]) -> Check:
    known = tuple(words)

    def check(value: Any, field: str) -> str:
        if not isinstance(value, str) or value not in known:
            hint = suggestion(value, known) if isinstance(value, str) else ""
            fail(field, f"one of {', '.join(map(repr, known))}", value, hint)
        return value

    return check


def _words(words: Iterable[str]) -> Check:
    known = tuple(words)

    def check(value: Any, field: str) -> tuple[str, ...]:
        items = _texts(value, field)
        for item in items:
            if item not in known:
                _unknown(item, known, field)
        return items

    return check


def _env_names(value: Any, field: str) -> tuple[str, ...]:
    """Names of environment variables. The value is not shown: it may be a key put here."""
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, (list, tuple)) and all(
        isinstance(name, str) and _ENV_NAME.match(name) for name in names
    )
    if not good:
        raise ConfigError(
            f"{field} must name environment variables (OPENAI_API_KEY), without $ or braces; "
            "a key itself does not belong in a configuration"
        )
    return tuple(names)


def _headers(value: Any, field: str) -> dict[str, str]:
    checked: dict[str, str] = _mapping(_text)(value, field)
    for name in checked:
        if not _HEADER_NAME.match(name):
            fail(field, "a mapping whose keys are names of HTTP headers", name)
        if name.lower() in SECRET_HEADERS:
            raise ConfigError(
                f"{field}.{name}: a key does not belong here; name its environment variable with "
                "key_env, its header with auth_header and auth_prefix"
            )
    return checked


def _mapping(check: Check, name_check: Check = _text) -> Check:
    """A mapping with free names, every value passing `check`."""

    def check_all(value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            fail(field, "a mapping", value)
        return {
            name_check(name, f"a name in {field}"): check(item, f"{field}.{name}")
            for name, item in value.items()
        }

    return check_all


def _fields(fields: Mapping[str, Check]) -> Check:
    """A mapping with these fields and no others; null counts as empty."""

    def check_all(value: Any, field: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            fail(field, "a mapping", value)
        checked: dict[str, Any] = {}
        for name, item in value.items():
            check = fields.get(name) if isinstance(name, str) else None
            if check is None:
                _no_secret(name, field)
                _unknown(name, fields, field)
            checked[name] = check(item, f"{field}.{name}")
        return checked

    return check_all


def _unknown(name: Any, known: Iterable[str], where: str) -> NoReturn:
    known = tuple(known)
    hint = suggestion(name, known) if isinstance(name, str) else ""
    hint = hint or f", only {', '.join(known)}"
    raise ConfigError(f"{where} does not know {_shown(name)}{hint}")


def _no_secret(name: Any, where: str) -> None:
    if isinstance(name, str) and name.lower() in _SECRET_FIELDS:
        raise ConfigError(
            f"{where}.{name}: a key does not belong in a configuration; "
            "name the environment variable that holds it with key_env"
        )


def _path(value: Any, field: str) -> str:
    """A path with the place of the model's id, or none at all."""
    text = _text(value, field)
    if text and not (text.startswith("/") and _BRACED.findall(text) == ["{id}"]):
        fail(field, "a path such as /model/{id}/invoke", value)
    return text


def _provider_name(value: Any, field: str) -> str:
    if not isinstance(value, str) or not _PROVIDER_NAME.match(value):
        fail(field, "made of letters, digits, '_', '-' and '.'", value)
    return value


def _option_name(value: Any, field: str) -> str:
    _no_secret(value, "client")
    return _text(value, field)


_PRICES: dict[str, Check] = {
    "input": _or_null(_price),
    "output": _or_null(_price),
    "cached_input": _or_null(_price),
    "cache_write": _or_null(_price),
    "cache_write_long_ttl": _or_null(_price),
    "batch_input": _or_null(_price),
    "batch_output": _or_null(_price),
    "batch_cached_input": _or_null(_price),
    "long_context_above": _or_null(_count),
    "long_input": _or_null(_price),
    "long_output": _or_null(_price),
    "long_cached_input": _or_null(_price),
    "per_search": _or_null(_price),
}

_TRAITS: dict[str, Check] = {
    "mode": _word(("chat", "responses", "embedding", "rerank")),
    "prices": _fields(_PRICES),
    "context_window": _or_null(_count),
    "max_output_tokens": _or_null(_count),
    "refuses": _words(sorted({*SAMPLING_FIELDS, "stream_options"})),
    "effort_gated": _words(sorted(SAMPLING_FIELDS)),
    "efforts": _words(EFFORTS),
    "default_effort": _or_null(_word(EFFORTS)),
    "thinking": _word(("", "effort", "budget", "level", "adaptive", "always")),
    "max_tokens_field": _text,
    "seed_field": _text,
    "dimensions_field": _text,
    "api_version": _or_null(_text),
    "legacy_api_version": _or_null(_text),
    "endpoints": _texts,
    "supports": _words(SUPPORTS),
    "prompt_cache_min_tokens": _or_null(_count),
    "embedding_size": _or_null(_count),
    "max_inputs": _or_null(_count),
    "max_request_tokens": _or_null(_count),
    "independent_scores": _flag,
    "streams": _flag,
    "tokenizer": _text,
    "path": _path,
    "stream_path": _path,
    "in_path": _words(("model", "stream")),
    "version_field": _text,
}
"""What a family may say of its models."""

_BATCH: dict[str, Check] = {
    "wire": _word(("openai", "anthropic", "gemini", "mistral")),
    "max_requests": _count,
    "max_bytes": _count,
    "max_request_bytes": _or_null(_count),
    "max_enqueued_tokens": _or_null(_count),
    "window": _text,
}

_DEFAULTS: dict[str, Check] = {"family": _text, **_TRAITS}

MODEL_FIELDS: dict[str, Check] = {
    "provider": _provider_name,
    "id": _text,
    "aliases": _texts,
    "adapter": _text,
    "base_url": _text,
    "limit_group": _text,
    "retires": _or_null(_day),
    "successor": _or_null(_text),
    **_DEFAULTS,
}

PROVIDER_FIELDS: dict[str, Check] = {
    "adapter": _text,
    "base_url": _text,
    "base_url_env": _env_names,
    "base_url_vars": _mapping(_env_names),
    "base_urls": _mapping(_text),
    "key_env": _env_names,
    "auth_header": _text,
    "auth_prefix": _text,
    "auth": _word(("key", "sigv4", "google")),
    "auth_service": _text,
    "headers": _headers,
    "allow_http": _flag,
    "launch": _word(("", "sandbox", "local")),
    "file_store": _flag,
    "batch": _or_null(_fields(_BATCH)),
    "requests_per_minute": _or_null(_count),
    "tokens_per_minute": _or_null(_count),
    "model_defaults": _fields(_DEFAULTS),
    "unknown_models": _fields(_DEFAULTS),
}

_SECTIONS: dict[str, Check] = {
    "providers": _mapping(_fields(PROVIDER_FIELDS), _provider_name),
    "families": _mapping(_fields(_TRAITS)),
    "models": _mapping(_fields(MODEL_FIELDS)),
    "client": _mapping(lambda value, field: value, _option_name),
}
