"""Embeddings of many texts at once, response by response, and stacked into vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .client import Client, sending_client
from .embeddings.places import Lists, Matrix, Places
from .embeddings.run import failure
from .embeddings.start import EmbedOptions
from .values.embedding import Embedding, EmbedResponse
from .values.errors import ConfigError, DecodeError, EmbedError

__all__ = ["EmbedError", "EmbedResponse", "Embedding", "embed_parallel", "stack_results"]

DEFAULT_MODEL = "text-embedding-3-small"
"""Where neither a model nor a client is given."""


def embed_parallel(
    texts: Iterable[str],
    model: str | None = None,
    *,
    client: Client | None = None,
    dimensions: int | None = None,
    input_type: str | None = None,
    batch_size: int | None = None,
    timeout: float | None = None,
    use_cache: bool = True,
    max_cost: float | None = None,
    progress: str | None = None,
    **client_options: Any,
) -> list[EmbedResponse]:
    """The vectors of all texts: one response for each request that was made, and one for what the
    cache had, in the order of their first texts.

    Failures are responses with an `error`; they cost the others nothing. It is sent by `client`,
    or by a client made for it with `client_options` (`api_key`, `base_url`,
    `max_requests_per_minute`, `cache`, ...). Without a `model` it is that of `client`, or
    text-embedding-3-small. The other options are those of `Client.embed`.
    """
    asked = EmbedOptions(dimensions, input_type, batch_size, use_cache)
    chosen = DEFAULT_MODEL if model is None else model
    with sending_client(client, chosen, client_options) as sender:
        return sender._embed_responses(
            texts,
            asked,
            model=model,
            timeout=timeout,
            max_cost=max_cost,
            progress=progress,
        )


def stack_results(
    responses: Iterable[EmbedResponse], *, numpy: bool = False, missing: str = "error"
) -> Any:
    """The vectors of all texts in their order, out of the responses of one `embed_parallel`: a list
    of lists of floats, or with `numpy` one float32 array of shape (texts, dimensions).

    Where some texts have no vector, because of an error or because their response is not among
    these, it raises `EmbedError`, which names them; with `missing="none"` they get None, or a row
    of NaN. `ConfigError` where a text has two, as in the responses of two calls.
    """
    if missing not in ("error", "none"):
        raise ConfigError(f"missing must be 'error' or 'none', not {missing!r}")
    every = list(responses)
    places: Places = Matrix() if numpy else Lists()
    repeats: dict[int, Sequence[int]] = {}
    given: set[int] = set()
    count = size = 0
    for response in every:
        count = max([count, *(max(positions) + 1 for positions in response.indices)])
        if response.error is not None:
            continue
        size = _checked_size(response, size)
        _claim(response, given)
        places.put([positions[0] for positions in response.indices], response.vectors)
        repeats.update((one[0], one[1:]) for one in response.indices if len(one) > 1)
    gaps = [position for position in range(count) if position not in given]
    if gaps and missing == "error":
        first = next((response.error for response in every if response.error is not None), None)
        raise failure(every, count, first) from first
    whole = places.whole(count, repeats, size)
    if numpy and gaps and size:
        whole[gaps] = float("nan")
    return whole


def _claim(response: EmbedResponse, given: set[int]) -> None:
    """Count the positions of `response` among those `given`, each of which has one vector."""
    for positions in response.indices:
        for position in positions:
            if position in given:
                raise ConfigError(
                    f"text {position} has two vectors: stack the responses of each call apart"
                )
            given.add(position)


def _checked_size(response: EmbedResponse, size: int) -> int:
    """The vectors' length, which all have."""
    for positions, vector in zip(response.indices, response.vectors):
        if size and len(vector) != size:
            raise DecodeError(
                f"the vector of text {positions[0]} has {len(vector)} numbers, those before it "
                f"have {size}"
            )
        size = len(vector)
    return size
