"""From texts, as they are read, to packs of them that fit one request each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sized
from hashlib import blake2b
from typing import Any, NamedTuple, Optional, Union

from ..engine.clock import Clock, monotonic
from ..values.errors import ConfigError, DelugeError, PromptError
from ..values.model import Model
from .records import VectorCache

BATCH_SIZE = 256
"""Texts in one request where nobody says otherwise: beyond it larger ones are hardly quicker, and
each holds its whole answer in memory."""

MOST_BYTES = 1 << 20
"""Of the texts of one request to a model whose `max_request_tokens` nobody knows."""

EXTRA_TOKENS = 4
"""Of each text, for the marks that a tokenizer sets around it."""

LOOKUPS = 256
"""Texts looked up in the cache at once."""

LONG = 64
"""Characters from which on a text that was read is remembered by its digest, so that it need not
stay in memory."""

SPAN = 8_192
"""Texts that a lazy reader reads past one that waits for its pack to be full."""


class Pack(NamedTuple):
    """Texts for one request, with their positions in the input, and their cache keys if any."""

    positions: list[int]
    texts: list[str]
    keys: list[str]


class Known(NamedTuple):
    """What needs no request: texts that the cache has the vectors of and those that cannot be sent,
    with their positions; and how many more texts had been read before.
    """

    found: list[tuple[int, str, array[float]]]
    bad: list[tuple[int, DelugeError]]
    repeated: int


Item = Union[Pack, Known]


class PackLimits(NamedTuple):
    """What one request may hold. A token is a byte at least, so bytes bound the tokens."""

    texts: int
    size: float


def limits_of(model: Model, batch_size: int | None, most_tokens: float) -> PackLimits:
    """What fits a request to `model`, and what the account lets go at once: `most_tokens`."""
    most = model.max_inputs
    if batch_size is not None and most is not None and batch_size > most:
        raise ConfigError(f"batch_size={batch_size}: {model.name} takes {most} texts at most")
    texts = batch_size or min(BATCH_SIZE, most or BATCH_SIZE)
    return PackLimits(texts, min(model.max_request_tokens or MOST_BYTES, most_tokens))


class Texts:
    """Texts, as far as they come before `until`, which may be infinite; `late` says whether there
    was one that did not. `count` is how many there are, where somebody knows.
    """

    def __init__(
        self, texts: Iterable[Any], until: float = math.inf, *, clock: Clock = monotonic
    ) -> None:
        self.count = len(texts) if isinstance(texts, Sized) else None
        self.late = False
        self._texts = texts
        self._until = until
        self._clock = clock

    def __iter__(self) -> Iterator[Any]:
        return iter(self._texts) if self._until == math.inf else self._timely()

    def _timely(self) -> Iterator[Any]:
        for text in self._texts:
            if self._clock() >= self._until:
                self.late = True
                return
            yield text


class Reader:
    """Reads texts and packs those that have to be sent, each once.

    `repeats` has, by the position where a text was read first, those where it came again. With
    `lazy`, packs are not filled at the price of reading far ahead.
    """

    def __init__(
        self,
        texts: Iterable[Any],
        limits: PackLimits,
        *,
        cache: VectorCache | None = None,
        lazy: bool = False,
    ) -> None:
        self.read = 0
        self.repeats: dict[int, list[int]] = {}
        self._source = iter(texts)
        self._limits = limits
        self._cache = cache
        self._lazy = lazy
        self._seen: dict[str | bytes, int] = {}
        self._pack = Pack([], [], [])
        self._size = 0

    def items(self) -> Iterator[Item]:
        """Packs, and what is known already, about in the order of the texts."""
        while True:
            chunk = self._chunk(min(self._limits.texts, LOOKUPS))
            if chunk is None:
                break
            texts, sizes, positions, known = chunk
            keys = self._look_up(texts, positions, known)
            if any(known):
                yield known
            for at, text in enumerate(texts):
                if keys is not None and not keys[at]:
                    continue  # the cache had it
                if self._is_full(sizes[at]):
                    yield self._closed()
                self._pack.positions.append(positions[at])
                self._pack.texts.append(text)
                if keys is not None:
                    self._pack.keys.append(keys[at])
                self._size += sizes[at]
            if self._lazy and self._waits_long():
                yield self._closed()
        if self._pack.texts:
            yield self._closed()

    def forget(self, item: Item) -> None:
        """Send the texts of `item`, which have their outcome, again where they come again."""
        texts = [text for _, text, _ in item.found] if isinstance(item, Known) else item.texts
        for text in texts:
            self._seen.pop(_mark(text), None)

    def _chunk(self, most: int) -> tuple[list[str], list[int], list[int], Known] | None:
        """The next texts that are new, with their sizes and positions; None at the end."""
        texts: list[str] = []
        sizes: list[int] = []
        positions: list[int] = []
        known = Known([], [], 0)
        seen, began, position, repeated = self._seen, self.read, self.read, 0
        for text in self._source:
            self.read = position + 1
            size = _size(text)
            if size is None:
                known.bad.append((position, _problem(text, position)))
            elif (mark := _mark(text)) in seen:
                self.repeats.setdefault(seen[mark], []).append(position)
                repeated += 1
            else:
                seen[mark] = position
                texts.append(text)
                sizes.append(size)
                positions.append(position)
            position += 1
            if len(texts) >= most or position - began >= SPAN:
                break
        if position == began:
            return None
        return texts, sizes, positions, known._replace(repeated=repeated)

    def _look_up(self, texts: list[str], positions: list[int], known: Known) -> Optional[list[str]]:
        """The cache's keys, "" for what it has, which goes into `known`; None without a cache."""
        if self._cache is None:
            return None
        keys = self._cache.keys(texts)
        found = self._cache.find(keys)
        if not found:
            return keys
        for at, key in enumerate(keys):
            vector = found.get(key)
            if vector is not None:
                known.found.append((positions[at], texts[at], vector))
                keys[at] = ""
        return keys

    def _is_full(self, size: int) -> bool:
        texts = len(self._pack.texts)
        return texts >= self._limits.texts or (texts > 0 and self._size + size > self._limits.size)

    def _waits_long(self) -> bool:
        if not self._pack.texts:
            return False
        full = len(self._pack.texts) >= self._limits.texts
        return full or self.read - self._pack.positions[0] >= SPAN

    def _closed(self) -> Pack:
        pack, self._pack, self._size = self._pack, Pack([], [], []), 0
        return pack


def _mark(text: str) -> str | bytes:
    """What `text` is remembered by."""
    return text if len(text) < LONG else blake2b(text.encode(), digest_size=16).digest()


def _size(text: Any) -> int | None:
    """More than the tokens of `text`; None for what cannot be sent."""
    if not isinstance(text, str) or not text:
        return None
    if text.isascii():
        return len(text) + EXTRA_TOKENS
    try:
        return len(text.encode()) + EXTRA_TOKENS
    except UnicodeEncodeError:
        return None


def _problem(text: Any, position: int) -> PromptError:
    if not isinstance(text, str):
        what = f"is of type {type(text).__name__}, not a string"
    elif not text:
        what = "is empty"
    else:
        what = "holds half of a surrogate pair, which cannot be sent"
    return PromptError(f"text {position} {what}")
