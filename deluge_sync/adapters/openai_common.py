"""What OpenAI's wire formats share: how errors are worded, the headers about limits, where cache
breakpoints go, and what pictures and files may be.

From the openai SDK 3.54 (`_exceptions.py`, `types/responses/response_error.py`) and OpenAI's
published error codes and guides.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from ..values.errors import (
    BadRequestError,
    CallError,
    ConfigError,
    PromptError,
    RefusalError,
    TooLongError,
)
from ..values.media import File, Image
from ..values.model import Model
from ..values.prompt import Message, ToolResult
from ..values.request import OutputFormat, PromptCache
from ..values.wire import HttpResponse, LimitHint
from .body import details, dump, load
from .failures import Fault, sentence, words
from .headers import LimitHeaders, duration, limit_hints
from .schemas import closed, openai_refuses, softened, strict_problem

_TOO_LONG = re.compile(
    r"(?i)maximum (?:context|model) length|context (?:length|window|size)|prompt is too long"
    r"|reduce the length of the (?:messages|prompt|input)"
)
_LIMIT_AND_REQUESTED = re.compile(
    r"\bLimit:? ([0-9]{1,15}), (?:Used:? [0-9]+, )?Requested:? ([0-9]{1,15})"
)
_FLAGGED = re.compile(r"(?i)usage polic|flagged")
_HEADERS = tuple(
    LimitHeaders(name, *(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset")))
    for name in ("requests", "tokens")
)
_CALLERS_FAULT = frozenset(
    {
        "data_residency_mismatch",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)
"""Codes of a failed run that would fail again; those of a policy are told by their word."""


_PICTURES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))
_DETAILS = ("auto", "low", "high", "original")
_MOST_BYTES = 50_000_000
"""Of one file (OpenAI's guide to file inputs)."""
_TTLS = ("30m", "12h")


def limits(response: HttpResponse) -> tuple[LimitHint, ...]:
    """The `x-ratelimit-*` headers."""
    return limit_hints(response, _HEADERS, duration)


def fault(body: Any, status: int) -> Fault:
    """What went wrong, out of `{"error": {...}}`, `{"error": "text"}` or an error event."""
    error = details(body, "error") or body
    if type(error) is not dict:
        return Fault(sentence(error))
    message = sentence(error.get("message")) or sentence(error.get("detail"))
    kind = None if error.get("type") == "error" else error.get("type")  # an event's own type
    codes = words(error.get("code"), kind)
    return Fault(message, codes, _kind(message, codes, status))


def schema_of(output: OutputFormat) -> Mapping[str, Any]:
    """The schema of `output`, in strict mode brought into the form OpenAI takes.

    One that cannot be brought into it is a `ConfigError` that names the place in the schema.
    """
    schema = dict(output.schema or {})
    if not output.strict:
        return schema
    strict, problem = strict_form(dump(schema))
    if problem is not None:
        raise ConfigError(f"OpenAI's strict mode does not take this output_schema: {problem}")
    return strict


@functools.lru_cache(maxsize=256)  # a run sends the same ones with every prompt
def strict_form(text: bytes) -> tuple[Mapping[str, Any], str | None]:
    """A schema, given as JSON, in the form of strict mode; and why that would not take it yet."""
    schema = softened(closed(load(text)), openai_refuses)
    return schema, strict_problem(schema)


@functools.lru_cache(maxsize=256)  # the same
def fits_strict(text: bytes) -> bool:
    """Whether a schema, given as JSON, is one that strict mode takes as it stands."""
    return strict_problem(load(text)) is None


def marked_turns(turns: tuple[Message, ...], cache: PromptCache, model: Model) -> frozenset[int]:
    """The positions of the messages that get a cache breakpoint behind them.

    What OpenAI has no breakpoint for is a `ConfigError`.
    """
    if "prompt_caching" not in model.supports:
        raise ConfigError(f"{model.name} takes no cache= (its entry lacks 'prompt_caching')")
    if "cache_breakpoints" not in model.supports:
        return frozenset()  # caches by itself whatever begins alike (OpenAI's before gpt-5.6)
    if cache.ttl is not None and cache.ttl not in _TTLS:
        raise ConfigError(f"cache_ttl at OpenAI is '30m' or '12h', not {cache.ttl!r}")
    if cache.pattern == "tools_only":
        raise ConfigError(
            "OpenAI has no cache breakpoint behind the tools: "
            "use cache='system_and_tools', whose breakpoint has the tools before it"
        )
    if cache.pattern == "system_and_tools":
        leading = leading_system(turns)
        return frozenset((leading - 1,)) if leading else frozenset()
    users = [at for at, turn in enumerate(turns) if turn.role == "user" and _is_asking(turn)]
    return frozenset(users[-cache.user_messages :])


def leading_system(turns: tuple[Message, ...]) -> int:
    """How many system messages the conversation begins with."""
    return next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))


def _is_asking(turn: Message) -> bool:
    return not any(isinstance(part, ToolResult) for part in turn.parts)


def require(word: str, what: str, model: Model) -> None:
    """Raise `PromptError` unless the model's entry has `word` in its `supports`."""
    if word not in model.supports:
        raise PromptError(f"{model.name} takes no {what} (its entry's `supports` lacks {word!r})")


def check_picture(image: Image, model: Model) -> None:
    """Raise `PromptError` for a picture that OpenAI or the model does not take."""
    require("vision", "pictures", model)
    if image.detail is not None and image.detail not in _DETAILS:
        raise PromptError(f"a picture's detail is one of {', '.join(_DETAILS)}")
    if image.data and image.media_type not in _PICTURES:
        raise PromptError(f"OpenAI takes png, jpeg, gif and webp pictures, not {image.media_type}")


def check_size(file: File) -> None:
    """Raise `PromptError` for a file that is too large."""
    if len(file.data) > _MOST_BYTES:
        raise PromptError(f"OpenAI takes files of up to 50 MB; {file.name or 'this one'} is larger")


def _kind(message: str, codes: tuple[str, ...], status: int) -> type[CallError] | None:
    if (status <= 400 and _TOO_LONG.search(message)) or _never_fits(message):
        return TooLongError
    code = codes[0] if codes else ""
    if "policy" in code or (code == "invalid_prompt" and _FLAGGED.search(message)):
        return RefusalError
    return BadRequestError if code in _CALLERS_FAULT or code == "invalid_prompt" else None


def _never_fits(message: str) -> bool:
    """Whether one request asks for more tokens than a whole minute allows (a 429 for ever)."""
    match = _LIMIT_AND_REQUESTED.search(message)
    return match is not None and int(match[2]) > int(match[1])
