"""What one call draws from its limits, and what it may cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from .engine.lane import Weights
from .values.errors import CallError, ConfigError, DecodeError
from .values.media import Audio, File, Image, Media
from .values.model import Model
from .values.prompt import ToolResult
from .values.request import Request
from .values.response import Answer
from .values.wire import HttpRequest

OUTPUT_GUESS = 1_024
"""Output tokens to reserve where the request does not bound them; settled afterwards."""

CHOICES = ("n", "best_of", "candidatecount", "candidate_count")
"""What `extra_body` may call the number of answers to one prompt, in any vendor's words."""

PRICED_AS_USUAL: dict[str, tuple[Any, ...]] = {
    "model": (),
    "servicetier": (None, "auto", "default", "standard", "standard_only", "flex"),
    "speed": (None, "standard"),
}
"""What `extra_body` may say of these, and the catalog's prices still hold, or are too high."""

DEARER_TIERS = frozenset(("priority", "fast", "scale", "ultrafast", "ON_DEMAND_PRIORITY"))
"""What answers may say served them, in any vendor's words, that the catalog has no price of."""

BYTES_PER_TOKEN = 4
"""Of a request's body, the usual rule of thumb; settled afterwards."""

PICTURE_GUESS, PICTURE_MOST = 1_000, 20_000
"""Tokens of a picture: about what one costs at the usual sizes, and more than any vendor counts for
the largest it takes."""

MEDIA_BYTES_PER_TOKEN = 40
"""Of documents and sound, roughly."""


def weights(http: HttpRequest, request: Request, model: Model) -> Weights:
    """What the call is expected to draw; tokens by the length of its body."""
    written = request.params.max_new_tokens or min(
        OUTPUT_GUESS, model.max_output_tokens or OUTPUT_GUESS
    )
    read = http.size() / BYTES_PER_TOKEN
    for part in _media(request):
        read -= _encoded(part) / BYTES_PER_TOKEN
        is_picture = isinstance(part, Image)
        read += PICTURE_GUESS if is_picture else len(part.data) / MEDIA_BYTES_PER_TOKEN
    return {
        "requests": 1,
        "tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
    }


def actual(answer: Answer | None, failure: CallError | None, answered: bool) -> Optional[Weights]:
    """What the call really drew; None where nobody knows.

    A request that the server refused counts as a request, but its tokens were never used; those of
    an answer that cannot be read, or that broke off, were.
    """
    if answer is not None:
        usage = answer.usage
        if not usage.total_tokens:
            return None
        return {
            "tokens": usage.total_tokens,
            "input_tokens": usage.input_tokens - usage.cache_read_tokens,
            "output_tokens": usage.output_tokens,
        }
    if not answered or isinstance(failure, DecodeError):
        return None
    return {"tokens": 0, "input_tokens": 0, "output_tokens": 0}


def cost_of(answer: Answer, model: Model, *, batch: bool = False) -> float | None:
    """What an answer costs in US dollars, live or in a batch; None where nobody knows, as for tiers
    that are dearer than the catalog's prices. A cheaper one ("flex") counts as its most.
    """
    if answer.service_tier in DEARER_TIERS:
        return None
    return model.prices.cost(answer.usage, batch=batch)


def is_free(failure: CallError, answered: bool) -> bool:
    """Whether the server surely did nothing that it could bill.

    It says so with an error of its own; a gateway's says nothing of the server behind it, nor does
    an error in an answer that began as a good one.
    """
    if not answered:
        return not failure.may_have_been_sent
    status = failure.status or 0
    return status in (500, 501, 503, 529) or (400 <= status < 500 and status != 408)


def ceiling(http: HttpRequest, request: Request, model: Model, *, batch: bool = False) -> float:
    """US dollars that one attempt costs at most, live or in a batch; `ConfigError` where that
    cannot be told.

    A token is at least a byte, so the body's length bounds what is read: the text of it, that is.
    A document that the server fetches or has may fill the model's window. Tools that it runs cannot
    be told from here; the budget learns from the first answer that costs more than this.
    """
    extra = list(_leaves(request.extra_body))
    for name, value in extra:
        known = PRICED_AS_USUAL.get(name.replace("_", ""))
        if known is not None and value not in known:
            raise ConfigError(f"max_cost does not know what {name}={value!r} in extra_body costs")
        if ("token" in name or name in CHOICES) and type(value) is not int:
            raise ConfigError(
                f"max_cost needs whole numbers: {name}={value!r} in extra_body is none"
            )
    asked = [value for name, value in extra if "token" in name]
    written = max([request.params.max_new_tokens or model.max_output_tokens or 0, *asked])
    if not written:
        raise ConfigError(
            f"max_cost needs to know how long an answer of {model.name} can get: give "
            "max_new_tokens, or set max_output_tokens in the model's YAML entry (config=)"
        )
    if request.params.service_tier not in PRICED_AS_USUAL["servicetier"]:
        raise ConfigError(
            f"max_cost does not know what service_tier={request.params.service_tier!r} costs"
        )
    choices = max([1, *(value for name, value in extra if name in CHOICES)])
    most_read = _most_read(http, request, model)
    ceiling = model.prices.ceiling(most_read, written * choices, batch=batch)
    if ceiling is None:
        raise ConfigError(unpriced(model))
    return ceiling


def _most_read(http: HttpRequest, request: Request, model: Model) -> int:
    most = len(http.body)
    for part in _media(request):
        if isinstance(part, Image):
            most += PICTURE_MOST - min(_encoded(part), most)
        elif not part.data:
            if model.context_window is None:
                raise ConfigError(
                    f"max_cost cannot tell what a {type(part).__name__} costs that the server "
                    f"fetches: set context_window in the YAML entry of {model.name} (config=)"
                )
            most += model.context_window
    if request.previous_response_id is not None:
        most += model.context_window or 0
    return most


def _media(request: Request) -> Iterator[Media]:
    for message in request.conversation.messages:
        for part in message.parts:
            if isinstance(part, (Image, Audio, File)):
                yield part
            elif isinstance(part, ToolResult):
                yield from part.images


def _encoded(part: Media) -> int:
    """Bytes that `part` takes in the body."""
    return -(-len(part.data) // 3) * 4


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What `extra_body` holds at whatever depth, with its names in lower case."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, str(key).lower())
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value


def unpriced(model: Model) -> str:
    """What to say of a model whose price a budget needs and nobody gave."""
    return (
        f"max_cost needs the price of {model.name}, which the catalog does not know: set "
        f"`prices: {{input: ..., output: ...}}` (US dollars per million tokens) for it under "
        f"`models:` in your YAML (config=)"
    )
