"""Texts to be embedded as the requests of a batch, and what was answered as responses."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from ..adapters import EmbedAdapter
from ..embeddings.records import VectorCache, packed, unpacked
from ..outcome import forget_frames
from ..outlay import BYTES_PER_TOKEN
from ..route import Route
from ..values.embedding import EmbedRequest, EmbedResponse
from ..values.errors import CallError, ConfigError, DelugeError, PromptError
from ..values.wire import HttpResponse
from .entries import Prepared
from .results import Shown


class TextKind:
    """Texts, each in a request of its own, made of `request`."""

    word = "text"

    def __init__(
        self, route: Route[EmbedAdapter], request: EmbedRequest, cache: VectorCache | None
    ) -> None:
        self._route = route
        self._request = request
        self._cache = cache

    def prepared(self, item: Any, index: int) -> Prepared:
        """The request of one; see `Kind`."""
        if not isinstance(item, str) or not item:
            what = "empty" if item == "" else f"a {type(item).__name__}, not a text"
            raise PromptError(f"it is {what}")
        route = self._route
        http = route.adapter.encode(self._request._replace(texts=(item,)), route.model)
        key = None if self._cache is None else route.keys.key(http)

        def most() -> float:
            ceiling = route.model.prices.ceiling(len(item.encode()), 0, batch=True)
            if ceiling is None:
                raise ConfigError(f"max_cost needs the batch price of {route.model.name}")
            return ceiling

        return Prepared(http, len(http.body) / BYTES_PER_TOKEN, most, key)

    def found(self, keys: Iterable[str]) -> dict[str, Any]:
        """Vectors of the cache, as they are written down."""
        found = {} if self._cache is None else self._cache.find(list(keys))
        return {key: base64.b64encode(packed(one)).decode() for key, one in found.items()}


class TextReader:
    """Makes an `EmbedResponse` of each text that was answered; see `Reader`. Vectors go into the
    cache.
    """

    def __init__(
        self, route: Route[EmbedAdapter], request: EmbedRequest, cache: VectorCache | None
    ) -> None:
        self._route = route
        self._request = request
        self._cache = cache

    def answered(self, response: HttpResponse, shown: Shown) -> EmbedResponse:
        """The response of an answer as a live request has it."""
        model = self._route.model
        request = self._request._replace(texts=(shown.prompt,))
        try:
            found = self._route.adapter.decode(response, request, model)
        except CallError as error:
            return self.failed(error, shown)
        if self._cache is not None and shown.key is not None:
            self._cache.keep([shown.key], found.vectors)
        return EmbedResponse(
            model=model.name,
            indices=((shown.position,),),
            vectors=found.vectors,
            usage=found.usage,
            cost=model.prices.cost(found.usage, batch=True) if found.usage.input_tokens else None,
            attempts=1,
        )

    def cached(self, answer: Any, shown: Shown) -> EmbedResponse:
        """The response of what the cache had."""
        vector = unpacked(base64.b64decode(answer))
        return EmbedResponse(
            model=self._route.model.name,
            indices=((shown.position,),),
            vectors=() if vector is None else (vector,),
            cost=0.0,
            cached=True,
        )

    def failed(self, error: DelugeError, shown: Shown) -> EmbedResponse:
        """The response of a text that has no vector."""
        forget_frames(error)
        return EmbedResponse(
            model=self._route.model.name,
            indices=((shown.position,),),
            error=error,
            attempts=0 if isinstance(error, PromptError) else 1,
        )

    def alone(self) -> TextReader:
        """One that touches nothing else; see `Reader`."""
        return TextReader(self._route, self._request, None)

    def is_answer(self, response: EmbedResponse) -> bool:
        """Whether there is a vector."""
        return bool(response.vectors)
