"""From JSON values to the types that a hint names: dataclasses, dates, enums, sets, tuples."""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any, Callable

from .type_hints import (
    NONE,
    allows_none,
    arms,
    bare,
    fields_of,
    is_pydantic,
    is_record,
    is_typed_dict,
)
from .type_schema import schema_of
from .validation import Path, Problem, shown, validate


class MisfitError(ValueError):
    """A value that fits its schema, but not its type; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def typed(value: Any, hint: Any, path: Path = ()) -> Any:
    """`value`, which fits the lenient schema of `hint`, as that type; else a `MisfitError`."""
    hint, _ = bare(hint)
    if arms(hint):
        return _of_union(value, hint, path)
    if is_record(hint):
        return _record(value, hint, path)
    if is_pydantic(hint):
        return _made(lambda: hint.model_validate(value), path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _made(lambda: hint(value), path)
    if typing.get_origin(hint) is typing.Literal:
        return _literal(value, hint)
    if isinstance(value, str):
        read = _READ.get(hint)
        return value if read is None else _made(lambda: read(value), path, value)
    if type(value) in (int, float) and hint in (int, float):
        return hint(value)
    return _members(value, hint, path)


def _members(value: Any, hint: Any, path: Path) -> Any:
    arguments = typing.get_args(hint)
    kind = typing.get_origin(hint) or hint
    if isinstance(value, list):
        each = _item_hints(kind, arguments, len(value))
        items = [typed(item, each[place], (*path, place)) for place, item in enumerate(value)]
        make = _COLLECTIONS.get(kind)
        return items if make is None else _made(lambda: make(items), path)
    if isinstance(value, Mapping) and len(arguments) == 2:
        return {name: typed(item, arguments[1], (*path, name)) for name, item in value.items()}
    return value


def _item_hints(kind: Any, arguments: tuple[Any, ...], size: int) -> tuple[Any, ...]:
    if kind is tuple and arguments[1:] != (...,):
        return arguments or (Any,) * size
    return (arguments or (Any,))[:1] * size


def _record(value: Mapping[str, Any], record: Any, path: Path) -> Any:
    given = {}
    for field in fields_cached(record):
        item = value.get(field.name)
        if item is None and field.optional and not allows_none(field.hint):
            continue  # null stands for what was left out
        if field.name in value:
            given[field.name] = typed(item, field.hint, (*path, field.name))
    return given if is_typed_dict(record) else _made(lambda: record(**given), path)


fields_cached = lru_cache(maxsize=256)(fields_of)


def _of_union(value: Any, union: Any, path: Path) -> Any:
    if value is None and allows_none(union):
        return None
    candidates = [arm for arm in arms(union) if bare(arm)[0] is not NONE]
    if len(candidates) == 1:
        return typed(value, candidates[0], path)
    misfit = None
    for arm in candidates:
        if validate(value, _schema_of(arm)):
            continue
        try:
            return typed(value, arm, path)
        except MisfitError as error:
            misfit = misfit or error
    raise misfit or MisfitError(Problem(path, f"{shown(value)} fits none of its types"))


def _schema_of(hint: Any) -> Any:
    try:
        return _cached_schema(hint)
    except TypeError:  # an Annotated with something unhashable in it
        return schema_of(hint, lenient=True)


@lru_cache(maxsize=256)
def _cached_schema(hint: Any) -> Any:
    return schema_of(hint, lenient=True)


def _literal(value: Any, hint: Any) -> Any:
    for member in typing.get_args(hint):
        plain = member.value if isinstance(member, enum.Enum) else member
        if plain == value and isinstance(plain, bool) == isinstance(value, bool):
            return member
    return value


def _made(make: Callable[[], Any], path: Path, value: Any = None) -> Any:
    """What `make` gives. Classes check their fields in their own way and raise what they like."""
    try:
        return make()
    except MisfitError:
        raise
    except Exception as error:
        raise MisfitError(Problem(path, _words(error, value))) from error


def _words(error: Exception, value: Any) -> str:
    what = f"{shown(value)}: " if value is not None else ""
    return f"{what}{str(error).strip() or type(error).__name__}"


def _moment(text: str) -> str:
    """ISO 8601 as `fromisoformat` reads it before Python 3.11: no Z, six digits of a second."""
    text = re.sub(r"[zZ]\Z", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), text, count=1)


_READ: dict[Any, Callable[[str], Any]] = {
    date: date.fromisoformat,
    datetime: lambda text: datetime.fromisoformat(_moment(text)),
    time: lambda text: time.fromisoformat(_moment(text)),
}
_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    set: set,
    frozenset: frozenset,
    tuple: tuple,
}
