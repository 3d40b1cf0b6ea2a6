"""JSON Schemas as Gemini takes them, of answers and of tools' arguments."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from .body import dump, load
from .schemas import closed, gemini_problem


def fitted(schema: Mapping[str, Any], *, strict: bool) -> tuple[dict[str, Any], str | None]:
    """A schema as the vendor takes it, closed where it is `strict`; and why it does not even so.

    It is shared by all who ask for the same, and never changed.
    """
    return _fitted(dump(dict(schema)), strict)


@functools.lru_cache(maxsize=256)  # the same for all prompts of a run
def _fitted(schema: bytes, strict: bool) -> tuple[dict[str, Any], str | None]:
    made = closed(load(schema)) if strict else load(schema)
    return made, gemini_problem(made)
