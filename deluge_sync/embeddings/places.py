"""Where vectors go as they arrive: each to the place of its text."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..values.errors import ConfigError

GROWTH = 1.25
"""By which a matrix grows whose rows nobody could count before; it is never held twice."""


class Places(Protocol):
    """One place for each text."""

    def put(self, positions: Sequence[int], vectors: Sequence[array[float]]) -> None:
        """Put each vector in its place."""

    def vector(self, position: int) -> array[float]:
        """The vector put there."""

    def whole(self, count: int, repeats: Mapping[int, Sequence[int]], size: int) -> Any:
        """All of them, `count`; at the `repeats` of a position there is its vector once more. A
        place that nothing was put in is None, or NaN. `size` is the vectors' length.
        """


class Lists:
    """A list of lists of floats."""

    def __init__(self) -> None:
        self._rows: dict[int, list[float]] = {}

    def put(self, positions: Sequence[int], vectors: Sequence[array[float]]) -> None:
        """See `Places.put`."""
        for position, vector in zip(positions, vectors):
            self._rows[position] = vector.tolist()

    def vector(self, position: int) -> array[float]:
        """See `Places.vector`."""
        return array("f", self._rows[position])

    def whole(
        self, count: int, repeats: Mapping[int, Sequence[int]], size: int
    ) -> list[list[float] | None]:
        """See `Places.whole`."""
        rows = self._rows
        for first, others in repeats.items():
            if first in rows:
                rows.update((position, rows[first][:]) for position in others)
        return [rows.get(position) for position in range(count)]


class Matrix:
    """One float32 array of NumPy's, with a row for each text; `count` is how many there are, where
    somebody knows.
    """

    def __init__(self, count: int | None = None) -> None:
        self._numpy = numpy()
        self._count = count
        self._rows: Any = None

    def put(self, positions: Sequence[int], vectors: Sequence[array[float]]) -> None:
        """See `Places.put`."""
        if not vectors:
            return
        last = max(positions)
        if self._rows is None:
            rows = last + 1 if self._count is None else max(self._count, last + 1)
            self._rows = self._numpy.empty((rows, len(vectors[0])), dtype="float32")
        elif last >= len(self._rows):
            self._resize(max(int(len(self._rows) * GROWTH), last + 1))
        rows, read = self._rows, self._numpy.frombuffer
        if last - positions[0] == len(vectors) - 1:
            # One copy for all of them, where none was left out: a row's own costs more than it.
            block = rows[positions[0] : last + 1]
            self._numpy.concatenate([read(one, "float32") for one in vectors], out=block.ravel())
            return
        for position, vector in zip(positions, vectors):
            rows[position] = read(vector, "float32")

    def vector(self, position: int) -> array[float]:
        """See `Places.vector`."""
        return array("f", self._rows[position].tobytes())

    def whole(self, count: int, repeats: Mapping[int, Sequence[int]], size: int) -> Any:
        """See `Places.whole`."""
        if self._rows is None:
            return self._numpy.full((count, size), self._numpy.nan, dtype="float32")
        if len(self._rows) != count:
            self._resize(count)
        for first, others in repeats.items():
            self._rows[list(others)] = self._rows[first]
        return self._rows

    def _resize(self, count: int) -> None:
        # In place: a view of the old one would be left without its memory, but we gave none out.
        self._rows.resize((count, self._rows.shape[1]), refcheck=False)


class Arrays:
    """The vectors as they came."""

    def __init__(self) -> None:
        self._rows: dict[int, array[float]] = {}

    def put(self, positions: Sequence[int], vectors: Sequence[array[float]]) -> None:
        """See `Places.put`."""
        self._rows.update(zip(positions, vectors))

    def vector(self, position: int) -> array[float]:
        """See `Places.vector`."""
        return self._rows[position]

    def whole(
        self, count: int, repeats: Mapping[int, Sequence[int]], size: int
    ) -> dict[int, array[float]]:
        """See `Places.whole`; here only what there is, by position."""
        return self._rows


def numpy() -> Any:
    """NumPy, or a `ConfigError` where it is not installed."""
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise ConfigError("numpy=True needs NumPy: pip install 'deluge-sync[numpy]'") from error
