"""How to sample: one vocabulary for all vendors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True)
class SamplingParams:
    """How an answer is to be drawn. None means: not sent, the vendor's default holds.

    `max_new_tokens` counts thinking too. `stop` is up to four strings. `reasoning_effort` and
    `verbosity` are words ("low", "medium", "high", ...); `thinking_budget` is in tokens.
    `service_tier` is the vendor's word ("flex", "priority", "standard_only", ...).
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    thinking_budget: int | None = None
    verbosity: str | None = None
    service_tier: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        elif isinstance(self.stop, (list, tuple)):
            object.__setattr__(self, "stop", tuple(self.stop))
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in given.items():
            _check_type(name, value)
        object.__setattr__(self, "_given", given)  # asked for with each call
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= 20:
            raise ConfigError(f"top_logprobs must be 0 to 20, not {self.top_logprobs}")
        if self.thinking_budget is not None and self.thinking_budget < -1:
            raise ConfigError(
                f"thinking_budget must be a number of tokens, not {self.thinking_budget}"
            )
        if self.reasoning_effort is not None and self.reasoning_effort not in EFFORTS:
            raise ConfigError(
                f"reasoning_effort must be one of {', '.join(EFFORTS)}, "
                f"not {self.reasoning_effort!r}"
            )

    def given(self) -> Mapping[str, Any]:
        """The parameters that are set, by name; not to be changed."""
        return self._given  # type: ignore[attr-defined, no-any-return]

    def merged(self, changes: Mapping[str, Any]) -> SamplingParams:
        """These with `changes` on top; an unknown name is a `ConfigError`."""
        return dataclasses.replace(self, **changes) if changes else self

    def without(self, names: frozenset[str]) -> SamplingParams:
        """These with `names` unset."""
        return dataclasses.replace(self, **dict.fromkeys(names))


_WHOLE = frozenset(("max_new_tokens", "seed", "thinking_budget", "top_k", "top_logprobs"))
_WORDS = frozenset(("reasoning_effort", "service_tier", "verbosity"))


def _check_type(name: str, value: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == "stop":
        good = isinstance(value, tuple) and all(isinstance(word, str) for word in value)
        wanted = "a string or a list of strings"
    elif name == "logprobs":
        good, wanted = isinstance(value, bool), "True or False"
    elif name in _WORDS:
        good, wanted = isinstance(value, str), "a word"
    elif name in _WHOLE:
        good, wanted = is_number and isinstance(value, int), "a whole number"
    else:
        good, wanted = is_number and math.isfinite(value), "a number"
    if not good:
        raise ConfigError(f"{name} must be {wanted}, not {value!r}")


SAMPLING_FIELDS = frozenset(field.name for field in dataclasses.fields(SamplingParams))
