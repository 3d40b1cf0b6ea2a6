"""What a type hint is, for any Python from 3.9 on: the questions that schemas and values ask."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, Union

from .errors import ConfigError

NONE = type(None)


class Field(NamedTuple):
    """One field of a dataclass or TypedDict. An `optional` one may be left out by the model."""

    name: str
    hint: Any
    optional: bool
    description: str | None


def bare(hint: Any) -> tuple[Any, str | None]:
    """`hint` without what is only about it, and its description where `Annotated` gives one."""
    description = None
    while True:
        if hint is None:
            return NONE, description
        if typing.get_origin(hint) is Annotated:
            texts = [_text(extra) for extra in hint.__metadata__]
            description = next(filter(None, texts), description)
            hint = hint.__origin__
        elif _wrapper(hint):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType" and typing.get_origin(hint) is None:
            hint = hint.__value__
        else:
            return hint, description


def _text(extra: Any) -> str | None:
    """What an argument of `Annotated` says: a string, a `typing_extensions.Doc`, or Pydantic's
    `Field(description=...)`.
    """
    texts = (extra, getattr(extra, "documentation", None), getattr(extra, "description", None))
    return next((text for text in texts if isinstance(text, str)), None)


def _wrapper(hint: Any) -> str | None:
    """The name of a Required and its like; typing's and typing_extensions' share only that."""
    name = getattr(typing.get_origin(hint), "_name", None)
    return name if name in ("Required", "NotRequired", "ReadOnly", "Final") else None


def arms(hint: Any) -> tuple[Any, ...]:
    """What a Union (Optional, X | Y) allows; () for everything else."""
    origin = typing.get_origin(hint)
    if origin is Union or getattr(origin, "__name__", "") == "UnionType":
        return typing.get_args(hint)
    return ()


def allows_none(hint: Any) -> bool:
    """Whether None is one of its values."""
    hint, _ = bare(hint)
    if hint in (NONE, Any, object):
        return True
    if typing.get_origin(hint) is typing.Literal:
        return None in typing.get_args(hint)
    return any(allows_none(arm) for arm in arms(hint))


def is_record(hint: Any) -> bool:
    """Whether it is a dataclass or a TypedDict."""
    return isinstance(hint, type) and (dataclasses.is_dataclass(hint) or is_typed_dict(hint))


def is_typed_dict(hint: Any) -> bool:
    """Whether it is a TypedDict, typing's or that of typing_extensions."""
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def is_pydantic(hint: Any) -> bool:
    """Whether it is a model of Pydantic 2; it is never imported here."""
    return isinstance(hint, type) and all(
        callable(getattr(hint, name, None)) for name in ("model_json_schema", "model_validate")
    )


def fields_of(record: type) -> list[Field]:
    """The fields of a dataclass or TypedDict, in order. A `ConfigError` where a hint cannot be
    resolved.
    """
    hints = _hints(record)
    if is_typed_dict(record):
        return [_typed_dict_field(record, name, hint) for name, hint in hints.items()]
    return [
        _dataclass_field(field, hints[field.name])
        for field in dataclasses.fields(record)  # type: ignore[arg-type]
        if field.init
    ]


def description_of(record: type) -> str | None:
    """Its own docstring, but not the one that `dataclass` makes up."""
    text = vars(record).get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{record.__name__}("):
        return None
    return inspect.cleandoc(text) or None


def _hints(record: type) -> dict[str, Any]:
    try:
        # A class defined in a function may still name itself.
        return typing.get_type_hints(record, None, {record.__name__: record}, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"{record.__name__}: a type of its fields cannot be found ({error}); define it at the "
            "top level of its module"
        ) from None
    except TypeError as error:
        raise ConfigError(
            f"{record.__name__}: a type of its fields cannot be read ({error}); this Python may "
            "need Optional[X] or Union[X, Y] in place of X | Y"
        ) from None


def _typed_dict_field(record: Any, name: str, hint: Any) -> Field:
    # __required_keys__ is wrong for NotRequired inside string annotations before Python 3.11.
    wrappers = list(_wrappers(hint))
    required = name in record.__required_keys__
    if "NotRequired" in wrappers or "Required" in wrappers:
        required = "Required" in wrappers
    return Field(name, hint, not required, bare(hint)[1])


def _wrappers(hint: Any) -> Iterable[str]:
    while True:
        name = _wrapper(hint)
        if name is None and typing.get_origin(hint) is not Annotated:
            return
        if name is not None:
            yield name
        hint = typing.get_args(hint)[0]


def _dataclass_field(field: dataclasses.Field[Any], hint: Any) -> Field:
    optional = (
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )
    metadata: Mapping[Any, Any] = field.metadata
    texts = (bare(hint)[1], metadata.get("description"), getattr(field, "doc", None))
    description = next((text for text in texts if isinstance(text, str) and text), None)
    return Field(field.name, hint, optional, description)
