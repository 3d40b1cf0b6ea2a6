"""Regular expressions of schemas: they are tried on texts that come from outside.

Python's `re` cannot be interrupted, and it keeps all other threads waiting. A pattern such as
`(a+)+$` takes twice as long for each character more: a repeat that is all there is in another
repeat can be divided in as many ways as there are. Such a one is not tried at all. What this does
not see (`(a|a)+`, a dozen repeats in a row) is bounded only by the length of the text.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# The parser of `re` itself; it has no public name, but has kept its form since Python 2.
_parser = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_MANY = 16
"""Times; a repeat that may go on for longer counts as one without end."""


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str] | None:
    """`pattern` as Python's; None where Python cannot read it, or it could take endless time."""
    try:
        expression = re.compile(pattern)
        return None if _explodes(_parser.parse(pattern)) else expression
    except (re.error, RecursionError, OverflowError):
        return None


def _explodes(sequence: Any) -> bool:
    """Whether a repeat in it is all there is in another repeat."""
    for operation, argument in sequence:
        if _is_repeat(operation, argument) and _is_one_repeat(argument[2]):
            return True
        if any(_explodes(part) for part in _parts(argument)):
            return True
    return False


def _is_repeat(operation: Any, argument: Any) -> bool:
    return str(operation) in _REPEATS and int(argument[1]) >= _MANY


def _is_one_repeat(sequence: Any) -> bool:
    """Whether it can be read as one repeat alone, all the rest of it being empty."""
    needed = [place for place in range(len(sequence)) if sequence[place : place + 1].getwidth()[0]]
    for place, (operation, argument) in enumerate(sequence):
        if needed not in ([], [place]):
            continue
        if _is_repeat(operation, argument):
            return True
        if str(operation) in ("SUBPATTERN", "BRANCH") and any(
            _is_one_repeat(part) for part in _parts(argument)
        ):
            return True
    return False


def _parts(argument: Any) -> Iterator[Any]:
    """The sequences in an operation's argument, however deep in tuples and lists."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for part in argument:
            yield from _parts(part)
