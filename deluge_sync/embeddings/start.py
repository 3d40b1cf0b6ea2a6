"""From what `embed` was told to its run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, Optional

from ..adapters import EmbedAdapter
from ..engine.budget import Budget
from ..engine.cancellation import Cancellation
from ..paid import Terms
from ..process import Workers
from ..progress import Progress
from ..route import Route
from ..settings import Settings, check_count
from ..stats import Tally
from ..values.embedding import INPUT_TYPES, EmbedRequest
from ..values.errors import ConfigError, PromptError
from .packs import Reader, Texts, limits_of
from .records import VectorCache
from .run import TEXTS_IN_FLIGHT, EmbedRun
from .sending import Sender


class EmbedOptions(NamedTuple):
    """What `embed` was asked for, beside its texts."""

    dimensions: Optional[int] = None
    input_type: Optional[str] = None
    batch_size: Optional[int] = None
    use_cache: bool = True
    lazy: bool = False


def embed_options(options: Mapping[str, Any], use_cache: bool) -> EmbedOptions:
    """Those of a batch of texts; `ConfigError` for one that is none of them."""
    for name in options:
        if name not in ("dimensions", "input_type"):
            raise ConfigError(
                f"a batch of an embedding model takes dimensions and input_type, not {name!r}"
            )
    return EmbedOptions(**options, use_cache=use_cache)


def check_texts(texts: Any) -> None:
    """Raise `PromptError` for what is no iterable of texts."""
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        raise PromptError(
            f"embed takes many texts, this is one {type(texts).__name__}: use embed([text])[0]"
        )


def embed_run(
    texts: Iterable[Any],
    asked: EmbedOptions,
    route: Route[EmbedAdapter],
    settings: Settings,
    workers: Workers,
    *,
    tally: Tally,
    budget: Budget | None,
    deadline: float | None,
    progress: Callable[[], Progress],
) -> EmbedRun:
    """The run, which begins when its outcome is asked for. What is wrong with the options is
    raised here, a `ConfigError`.
    """
    request = request_of(asked, settings)
    route.adapter.encode(request._replace(texts=("x",)), route.model)  # raises what is wrong
    if asked.batch_size is not None:
        check_count("batch_size", asked.batch_size)
    limits = limits_of(route.model, asked.batch_size, _most_tokens(route))
    cache = None
    if asked.use_cache and route.answers is not None:
        cache = VectorCache(route.answers, route, lambda few: request._replace(texts=tuple(few)))
    cancellation = Cancellation(workers.pool_cancellation)
    until = math.inf if deadline is None else deadline
    # Read lazily, texts are the caller's to stop: each gets its error.
    source = Texts(texts, math.inf if asked.lazy else until)
    return EmbedRun(
        source,
        Reader(source, limits, cache=cache, lazy=asked.lazy),
        Sender(route, request, Terms(until, cancellation, budget), cache),
        model=route.model.name,
        execute=workers.execute,
        width=min(workers.width, max(1, TEXTS_IN_FLIGHT // limits.texts)),
        cancellation=cancellation,
        tally=tally,
        progress=progress,
    )


def request_of(asked: EmbedOptions, settings: Settings) -> EmbedRequest:
    """What all requests have in common, without texts. `ConfigError` for a word there is not."""
    if asked.input_type is not None and asked.input_type not in INPUT_TYPES:
        known = ", ".join(INPUT_TYPES)
        raise ConfigError(f"input_type must be one of {known}, not {asked.input_type!r}")
    return EmbedRequest(
        (),
        asked.dimensions,
        asked.input_type,
        settings.extra_body,
        settings.extra_headers,
    )


def _most_tokens(route: Route[EmbedAdapter]) -> float:
    """More than these the limits do not let go in a minute."""
    return min(
        limit
        for lane in route.lanes
        for limit in (math.inf, *(lane.limits.get(name) for name in ("tokens", "input_tokens")))
        if limit is not None
    )
