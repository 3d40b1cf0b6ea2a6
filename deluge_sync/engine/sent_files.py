"""Bodies that end in a file: opened before anything is sent, read while it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from ..values.errors import ConfigError
from ..values.wire import FileBody, HttpRequest

PIECE = 262_144
"""Bytes in memory at a time."""


class SentFile:
    """The whole body of a request that has a file, to be read from any place, by one thread.

    Opening raises `ConfigError` where there is no such file or it does not have the size that it
    should; so does reading where it got shorter in the meantime. What is added to the file is not
    sent. It has the face that requests wants of a body with a length.
    """

    def __init__(self, request: HttpRequest) -> None:
        assert request.file is not None, "a request without a file"
        self._file = request.file
        self._before = request.body
        self._size = request.size()
        self._position = 0
        self._handle = _opened(self._file)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read_piece, b"")

    def read_piece(self) -> bytes:
        """The next bytes; b"" at the end."""
        return self.read(PIECE)

    def read(self, most: int = -1) -> bytes:
        """The next bytes, at most so many; fewer only means that there may be more. All that are
        left if `most` is negative.
        """
        if most < 0:
            return b"".join(self)
        start, size = self._position - len(self._before), self._file.size
        if start < 0:
            piece = self._before[self._position :][:most]
        elif start < size:
            piece = self._of_file(min(most, size - start))
        else:
            piece = self._file.after[start - size :][:most]
        self._position += len(piece)
        return piece

    def tell(self) -> int:
        """How much was read."""
        return self._position

    def seek(self, position: int) -> None:
        """Go on reading from there: what sends a body twice (retries, digest auth) goes back."""
        self._position = position
        self._handle.seek(max(0, position - len(self._before)))

    def close(self) -> None:
        """Close the file; more than once is fine."""
        self._handle.close()

    def _of_file(self, most: int) -> bytes:
        try:
            piece = self._handle.read(most)
        except OSError as error:
            raise _unreadable(self._file, error) from None
        if most and not piece:
            raise ConfigError(
                f"{self._file.path} was cut short while it was sent: it had {self._file.size:,} "
                "bytes before"
            )
        return piece


def _opened(file: FileBody) -> BinaryIO:
    """The file, unbuffered. A pipe would hold up who opens it, so nothing is waited for."""
    try:
        number = os.open(file.path, _FLAGS)
        try:
            _check(file, os.fstat(number))
            return os.fdopen(number, "rb", buffering=0)
        except BaseException:
            os.close(number)
            raise
    except OSError as error:
        raise _unreadable(file, error) from None


def _check(file: FileBody, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{file.path} is not a regular file")
    if status.st_size != file.size:
        raise ConfigError(
            f"{file.path} has {status.st_size:,} bytes, not the {file.size:,} that were to be sent"
        )


def _unreadable(file: FileBody, error: OSError) -> ConfigError:
    return ConfigError(f"{file.path} cannot be read: {error.strerror}")


_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
