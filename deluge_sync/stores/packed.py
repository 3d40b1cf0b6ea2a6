"""Values as rows of a database hold them: compressed, and trusted in nothing."""

from __future__ import annotations

import zlib

MODE_RAW = 1
"""diskcache's word for "the bytes are in the row"; the only mode that we write or read."""


class UnsoundError(ValueError):
    """A row that this library did not write; the message says what is wrong with it."""


def pack(value: bytes) -> bytes:
    """What the row of `value` holds."""
    return zlib.compress(value, 1)


def unpack(mode: object, filename: object, data: object, most: int) -> bytes:
    """The value of a row, of at most `most` bytes.

    Raises `UnsoundError` for all that `pack` did not make. Nothing is unpickled and no file is
    opened.
    """
    if mode != MODE_RAW:
        raise UnsoundError("of a kind that would run code or read files")
    if filename is not None:
        raise UnsoundError("names a file")
    if type(data) is not bytes:
        raise UnsoundError("holds no bytes, or too many")
    return unpack_data(data, most)


def unpack_data(data: bytes, most: int) -> bytes:
    """The value that `pack` made these bytes of; no more than `most` of it are ever made."""
    unpacking = zlib.decompressobj()
    try:
        value = unpacking.decompress(data, most + 1)
    except zlib.error:
        raise UnsoundError("is not compressed as it should be") from None
    if len(value) > most:
        raise UnsoundError("is too large")
    if not unpacking.eof or unpacking.unused_data:
        raise UnsoundError("is cut short, or goes on after its end")
    return value
