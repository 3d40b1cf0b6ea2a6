"""What a cache needs from the place where it keeps answers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Callable

from ..values.errors import ConfigError, DelugeError


class StoreError(DelugeError):
    """A store could not keep or find what it should; the call that asked is not at fault."""

    kind = "store"


def check_number(name: str, value: object, *, none: bool = False) -> None:
    """Raise `ConfigError` unless `value` is a number above 0 (or None, with `none`)."""
    if value is None and none:
        return
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    if not good:
        raise ConfigError(f"{name} must be a number above 0, not {value!r}")


class Store:
    """Bytes by key, shared by all threads; subclass it to keep answers elsewhere.

    `get` and `put` are enough. Keys are hexadecimal, values opaque and at most some MB. A store
    that fails costs its caller nothing but the hit: whatever `get_many` and `put` raise is logged
    once, and the call goes on without a cache.
    """

    @property
    def place(self) -> Hashable:
        """Stores with the same place hold the same answers; by default each is its own."""
        return self

    def get(self, key: str) -> bytes | None:
        """The value last put under `key`, or None."""
        raise NotImplementedError

    def put(
        self,
        key: str,
        value: bytes,
        *,
        tags: tuple[str, ...] = (),
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep `value` under `key`; may return before it is written.

        `then` is called, from any thread, as soon as other processes can see the value, or when it
        is clear that they never will.
        """
        raise NotImplementedError

    def get_many(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """The values there are of `keys`."""
        found = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in found if value is not None}

    def claim(self, key: str) -> bool:
        """Take on the work of making the value of `key`, unless another process has.

        A process's claims end with `release`, or with the process, however that ends. Within a
        process they do not exclude each other.
        """
        return True

    def release(self, key: str) -> None:
        """Give a claim back."""

    def flush(self) -> None:
        """Return when all that was put is written."""

    def close(self) -> None:
        """Write what is left and close the files; the store can be used again."""
