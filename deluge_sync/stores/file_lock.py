"""Locks on files that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


def lock(file: int, *, at: int = 0, wait: bool = False) -> bool:
    """Lock the byte `at` of an open file against other processes; False if one holds it.

    The byte need not exist. A lock belongs to the process: a fork does not have it, threads of one
    process do not exclude each other, and closing *any* descriptor of the file frees all its locks,
    so a file that is locked is opened once and kept open.
    """
    try:
        if sys.platform == "win32":
            os.lseek(file, at, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, at)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def unlock(file: int, *, at: int = 0) -> None:
    """Free the byte `at`."""
    if sys.platform == "win32":
        os.lseek(file, at, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, at)


@contextmanager
def held(file: int, *, at: int = 0) -> Iterator[None]:
    """Hold the lock for a `with` block, waiting for it."""
    lock(file, at=at, wait=True)
    try:
        yield
    finally:
        unlock(file, at=at)
