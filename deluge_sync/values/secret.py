"""A key that cannot be printed, logged or pickled by accident."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from .errors import ConfigError


class Secret:
    """Holds a key; only `reveal()`, called by the transport, gives it back."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise ConfigError("a literal API key is not pickled; name an environment variable instead")


class Credential(NamedTuple):
    """Where a secret goes: the header's name, what stands before the secret, the secret."""

    header: str
    prefix: str
    secret: Secret
