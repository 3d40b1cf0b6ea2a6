"""A client's options, checked once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .catalog.specs import SECRET_HEADERS
from .options import NO_OPTIONS, CallOptions
from .outcome import Postprocess
from .progress import STYLES
from .stores import opened_store
from .stores.base import Store
from .stores.memory import MemoryStore
from .values.errors import ConfigError, MissingKeyError
from .values.params import SAMPLING_FIELDS, SamplingParams
from .values.secret import Secret

NAME_LIST = Sequence[str]

DEFAULTS_OF_CALLS = frozenset(
    ("use_responses_api", "background", "completion_window", "strict", "repair", "json_mode")
)
"""Options of a call that a client may be made with."""

LONGEST_SECONDS = 31_536_000.0


@dataclass(frozen=True)
class Settings:
    """What a `Client` was made with; see there for the meaning of each field."""

    model_names: tuple[str, ...] = ("gpt-4.1-mini",)
    model_weights: tuple[float, ...] | str | None = None
    name: str | None = None
    api_key: Secret | None = None
    base_url: str | None = None
    max_requests_per_minute: float | None = 1_000
    max_tokens_per_minute: float | None = 100_000
    max_concurrent_requests: int = 225
    sampling_params: SamplingParams = SamplingParams()
    max_attempts: int = 5
    request_timeout: float = 300.0
    timeout: float | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    postprocess: Postprocess | None = None
    cache: Store | None = None
    cache_owner: str | None = None
    cache_incomplete: bool = False
    max_cost: float | None = None
    batch_folder: str | os.PathLike[str] | None = None
    progress: str = "auto"
    session: Any = None
    verify: bool | str = True
    proxies: Mapping[str, str] | None = field(default=None, repr=False)
    call_options: CallOptions = NO_OPTIONS
    named: frozenset[str] = frozenset()
    """The options that were given; the others have their defaults."""

    def __post_init__(self) -> None:
        for name in ("max_requests_per_minute", "max_tokens_per_minute"):
            _check_limit(name, getattr(self, name))
        for name in ("max_concurrent_requests", "max_attempts"):
            check_count(name, getattr(self, name))
        if self.request_timeout is None:
            raise ConfigError("request_timeout must be a positive number of seconds, not None")
        check_seconds("request_timeout", self.request_timeout)
        self._check_types()
        self._check_cache_and_cost()
        check_seconds("timeout", self.timeout)
        if self.progress not in STYLES:
            raise ConfigError(f"progress must be one of {', '.join(STYLES)}, not {self.progress!r}")
        if self.postprocess is not None and not callable(self.postprocess):
            raise ConfigError("postprocess must be callable")

    def request_fields(self, asked: CallOptions) -> Mapping[str, Any]:
        """Those of every `Request` beside its conversation and parameters."""
        return {
            "extra_body": self.extra_body,
            "extra_headers": self.extra_headers,
            **asked.of_request(),
        }

    def _check_types(self) -> None:
        for name in ("name", "base_url", "cache_owner"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise ConfigError(f"{name} must be a string, not {getattr(self, name)!r}")
        if not isinstance(self.api_key, (Secret, type(None))):
            raise ConfigError(f"api_key must be a string, not {type(self.api_key).__name__}")
        if not isinstance(self.extra_body, Mapping):
            raise ConfigError(f"extra_body must be a dict, not {self.extra_body!r}")
        for name in ("extra_headers", "proxies"):
            table = getattr(self, name)
            if table is not None and not _holds_strings(table):
                raise ConfigError(f"{name} must be a dict of strings")
        if not isinstance(self.verify, (bool, str)):
            raise ConfigError(f"verify must be True, False or a path, not {self.verify!r}")
        if self.session is not None and not hasattr(self.session, "get_adapter"):
            raise ConfigError(f"session must be a requests.Session, not {self.session!r}")

    def _check_cache_and_cost(self) -> None:
        if not isinstance(self.cache_incomplete, bool):
            raise ConfigError(
                f"cache_incomplete must be True or False, not {self.cache_incomplete!r}"
            )
        check_cost("max_cost", self.max_cost)
        folder = self.batch_folder
        if folder is not None and not (isinstance(folder, (str, os.PathLike)) and str(folder)):
            raise ConfigError(f"batch_folder must be the path of a folder, not {folder!r}")
        if self.session is not None and self.cache is not None and self.cache_owner is None:
            raise ConfigError(
                "a cache with a session of your own needs cache_owner: whose answers they are "
                "cannot be told from the session"
            )


def checked_settings(model_names: str | NAME_LIST, options: Mapping[str, Any]) -> Settings:
    """Settings from a client's arguments; `options` may name sampling parameters too."""
    for name in ("named", "call_options"):
        if name in options:
            raise ConfigError(f"unknown option {name!r}")
    fields = dict(options, named=frozenset(options))
    of_calls = {name: fields.pop(name) for name in DEFAULTS_OF_CALLS.intersection(fields)}
    fields["call_options"] = dataclasses.replace(NO_OPTIONS, **of_calls)
    sampling = {name: fields.pop(name) for name in SAMPLING_FIELDS.intersection(fields)}
    _check_names(fields, {*Settings.__dataclass_fields__, *DEFAULTS_OF_CALLS})
    given: Any = model_names
    names: tuple[Any, ...] = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"model_names must be a model's name or a list of them, not {names!r}")
    fields["model_names"] = names
    fields["model_weights"] = _weights(fields.get("model_weights"), names)
    base = fields.get("sampling_params") or SamplingParams()
    if isinstance(base, Mapping):
        base = sampling_params(base)
    if not isinstance(base, SamplingParams):
        raise ConfigError(f"sampling_params must be SamplingParams or a dict, not {base!r}")
    fields["sampling_params"] = base.merged(sampling_options(sampling))
    if isinstance(fields.get("api_key"), str):
        if not fields["api_key"].strip():
            raise MissingKeyError("api_key is empty; leave it out to use the environment's")
        fields["api_key"] = Secret(fields["api_key"])
    for name in ("extra_headers", "extra_body"):
        fields[name] = fields.get(name) or {}
    fields["cache"] = opened_store(fields.get("cache"))
    return Settings(**fields)


def sampling_params(options: Mapping[str, Any]) -> SamplingParams:
    """Sampling parameters from a mapping; an unknown name is a `ConfigError`."""
    return SamplingParams(**sampling_options(options))


def sampling_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """`options` if each is a sampling parameter."""
    _check_names(options, SAMPLING_FIELDS)
    return options


def check_seconds(name: str, value: float | None) -> None:
    """Raise `ConfigError` unless `value` is None or a positive number of seconds."""
    if value is not None and not (_is_number(value) and 0 < value <= LONGEST_SECONDS):
        raise ConfigError(
            f"{name} must be a positive number of seconds (a year at most), not {value!r}"
        )


def check_picklable(settings: Settings) -> None:
    """Raise `ConfigError` for what another process must not, or cannot, be given."""
    if settings.api_key is not None:
        raise ConfigError(
            "a client with a literal api_key is not pickled: leave it out, and set the provider's "
            "environment variable where the client is used"
        )
    if settings.session is not None:
        raise ConfigError("a client with a session is not pickled: make it where it is used")
    secret = sorted(name for name in settings.extra_headers if name.lower() in SECRET_HEADERS)
    if secret:
        raise ConfigError(f"a client with extra_headers {secret[0]} is not pickled: it is a secret")
    if any("@" in url for url in (settings.proxies or {}).values()):
        raise ConfigError(
            "a client with a proxy's password is not pickled: name the proxy in HTTPS_PROXY where "
            "the client is used"
        )
    if isinstance(settings.cache, MemoryStore):
        raise ConfigError("a client with a MemoryStore is not pickled: name a folder as cache")


def check_cost(name: str, value: float | None) -> None:
    """Raise `ConfigError` unless `value` is None or an amount of US dollars."""
    if value is not None and not (_is_number(value) and value >= 0):
        raise ConfigError(f"{name} must be an amount of US dollars of at least 0, not {value!r}")


def _check_names(options: Mapping[str, Any], known: Any) -> None:
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, sorted({*known, *SAMPLING_FIELDS}), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"unknown option {name!r}{hint}")


def _check_limit(name: str, value: float | None) -> None:
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigError(
            f"{name} must be a positive number, or None to learn it from the server, not {value!r}"
        )


def check_count(name: str, value: int) -> None:
    """Raise `ConfigError` unless `value` is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")


def _holds_strings(table: Any) -> bool:
    return isinstance(table, Mapping) and all(
        isinstance(text, str) for pair in table.items() for text in pair
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _weights(weights: Any, names: tuple[str, ...]) -> tuple[float, ...] | str | None:
    if weights is None or weights == "uniform":
        return None
    if isinstance(weights, str) and weights in ("dynamic", "fallback"):
        return weights
    try:
        numbers = tuple(float(weight) for weight in weights)
    except (TypeError, ValueError):
        numbers = ()
    sound = all(math.isfinite(number) and number >= 0 for number in numbers)
    if len(numbers) != len(names) or not sound or not sum(numbers):
        raise ConfigError(
            f"model_weights must be 'uniform', 'dynamic', 'fallback' or {len(names)} numbers, one "
            f"for each model and not all zero, not {weights!r}"
        )
    return numbers
