"""Where answers are kept: bytes by key. Stores know nothing of what the bytes mean."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ..values.errors import ConfigError
from ..values.request import CACHE_PATTERNS
from .base import Store


def opened_store(cache: Any) -> Store | None:
    """The store that a client's `cache=` means: a `Store`, a folder's path, or True for the user's
    own cache folder; None and False mean none. Nothing is opened yet.

    Raises `ConfigError` for anything else, and for a folder that cannot be used.
    """
    if cache is None or cache is False:
        return None
    if isinstance(cache, Store):
        return cache
    if cache is not True and not (isinstance(cache, (str, os.PathLike)) and str(cache).strip()):
        raise ConfigError(
            f"cache must be a folder's path, a Store, or True for the user's cache folder, "
            f"not {cache!r}"
        )
    if cache in CACHE_PATTERNS:
        raise ConfigError(
            f"cache={cache!r} is what the provider is to keep, and goes with each call; the "
            "client's own cache is a folder"
        )
    # Imported when asked for: diskcache brings sqlite3 and pickle with it.
    from .disk import DiskStore

    return DiskStore(default_folder() if cache is True else cache)


def default_folder() -> Path:
    """Where this user's caches are kept, by the conventions of the system."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "deluge_sync"
