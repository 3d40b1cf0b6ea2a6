"""Telling the user something once."""

from __future__ import annotations

import logging
import sys
import warnings

from .values.errors import DelugeWarning

logger = logging.getLogger(__name__)

MOST = 1_000
"""Messages told; some hold numbers, and a process may live long."""

_told: set[str] = set()


def warn_once(message: str) -> None:
    """A `DelugeWarning`, once per process for the same words.

    Where the user has made warnings errors it is logged instead: the call that happened to find it
    out is not at fault.
    """
    if message in _told or len(_told) >= MOST:
        return
    _told.add(message)
    try:
        warnings.warn(message, DelugeWarning, stacklevel=_callers_level())
    except DelugeWarning:
        logger.warning("%s", message)


def _callers_level() -> int:
    """How many frames up the caller's own code is, for a warning to point at."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(__package__):
        level, frame = level + 1, frame.f_back
    return level
