"""From type hints to JSON Schema.

Objects are closed, and all their fields are required, as the vendors' strict modes want it. A field
that may be left out (it has a default, or is NotRequired) may be null in place of that.
"""

from __future__ import annotations

import collections.abc
import enum
import typing
from datetime import date, datetime, time
from typing import Any

from .errors import ConfigError
from .schema_check import DEEPEST_SCHEMA, sound_schema
from .type_hints import (
    NONE,
    Field,
    allows_none,
    arms,
    bare,
    description_of,
    fields_of,
    is_pydantic,
    is_record,
)

Schema = dict[str, Any]

SCALARS: dict[Any, Schema] = {
    NONE: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    Any: {},
    object: {},
}
LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable,
         collections.abc.Collection, collections.abc.Set)  # fmt: skip
MAPS = (dict, collections.abc.Mapping)


def schema_of(hint: Any, *, lenient: bool = False) -> Schema:
    """The schema of `hint`; its recursive parts are in `$defs`.

    The `lenient` one is for holding an answer against: there a field that may be left out is not
    required. A `ConfigError` names the field of what JSON has no form for.
    """
    return _Builder(hint, lenient).whole()


class _Builder:
    def __init__(self, root: Any, lenient: bool) -> None:
        self.root, _ = bare(root)
        self.lenient = lenient
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}
        self._depth = 0

    def whole(self) -> Schema:
        schema = self.record(self.root, self.root.__name__) if is_record(self.root) else (
            self.schema(self.root, _name(self.root)))  # fmt: skip
        return {**schema, "$defs": self.definitions} if self.definitions else schema

    def schema(self, hint: Any, where: str) -> Schema:
        """The schema of one hint; `where` is "Place.people[].age"."""
        hint, description = bare(hint)
        self._depth += 1
        if self._depth > DEEPEST_SCHEMA:
            raise ConfigError(f"{where[:80]}: nested too deep; a type that holds itself must be a "
                              "dataclass or TypedDict")  # fmt: skip
        schema = self._form(hint, where)
        self._depth -= 1
        return described(schema, description)

    def _form(self, hint: Any, where: str) -> Schema:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if isinstance(hint, collections.abc.Hashable) and hint in SCALARS:
            return dict(SCALARS[hint])
        if arms(hint):
            return _any_of([self.schema(arm, where) for arm in arms(hint)])
        if origin is typing.Literal:
            return _choice(_literals(arguments), where)
        if is_record(hint) or is_pydantic(hint):
            return self.reference(hint)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return _choice([member.value for member in hint], where)
        if origin is tuple:
            return self.row(arguments, where)
        if (origin or hint) in LISTS:
            return {"type": "array", "items": self.schema((*arguments, Any)[0], where + "[]")}
        if (origin or hint) in MAPS:
            return self.map(arguments, where)
        raise ConfigError(_complaint(hint, where))

    def row(self, arguments: tuple[Any, ...], where: str) -> Schema:
        """An array of a fixed length, or of any where the hint says `...`."""
        if len(arguments) == 2 and arguments[1] is ...:
            return {"type": "array", "items": self.schema(arguments[0], where + "[]")}
        if not arguments or arguments == ((),):
            raise ConfigError(
                f"{where}: a tuple without members; say what is in it: tuple[int, ...]"
            )
        forms = [self.schema(part, f"{where}[{place}]") for place, part in enumerate(arguments)]
        size = {"minItems": len(forms), "maxItems": len(forms)}
        if all(form == forms[0] for form in forms):  # vendors know this form, and not the other
            return {"type": "array", "items": forms[0], **size}
        return {"type": "array", "prefixItems": forms, **size}

    def map(self, arguments: tuple[Any, ...], where: str) -> Schema:
        """An object with any fields."""
        key, value = arguments or (str, Any)
        if bare(key)[0] is not str:
            raise ConfigError(
                f"{where}: JSON's objects have names for keys: make it dict[str, ...]"
            )
        return {"type": "object", "additionalProperties": self.schema(value, where + "{}")}

    def reference(self, record: Any) -> Schema:
        """Where the schema of a record is; it is made when first asked for."""
        if record is self.root and not is_pydantic(record):
            return {"$ref": "#"}
        if record not in self._names:
            if is_pydantic(record):
                self._take_over(record)
            else:
                name = self._names[record] = self._free_name(_name(record))
                self.definitions[name] = {}  # its place, for the order and for what holds itself
                self.definitions[name] = self.record(record, _name(record))
        return {"$ref": f"#/$defs/{self._names[record]}"}

    def _free_name(self, name: str) -> str:
        free, number = name, 1
        while free in self.definitions:
            number += 1
            free = f"{name}_{number}"
        return free

    def _take_over(self, model: Any) -> None:
        """A Pydantic model's schema, with all that it defines, becomes part of our definitions."""
        schema = pydantic_schema(model)
        definitions = schema.pop("$defs", {})
        name = schema.get("$ref", "").replace("#/$defs/", "", 1)  # of a model that holds itself
        if not name:
            name = self._free_name(_name(model))
            definitions[name] = schema
        self._names[model] = name
        for own, definition in definitions.items():
            if self.definitions.setdefault(own, definition) != definition:
                raise ConfigError(f"{_name(model)}: there are two types of the name {own}")

    def record(self, record: type, where: str) -> Schema:
        """A dataclass or TypedDict as an object."""
        fields = fields_of(record)
        if not fields:
            raise ConfigError(f"{where}: has no fields to ask for")
        schema: Schema = {
            "type": "object",
            "properties": {field.name: self.field(field, where) for field in fields},
            "required": [
                field.name for field in fields if not (self.lenient and field.optional)
            ],
            "additionalProperties": False,
        }  # fmt: skip
        return described(schema, description_of(record))

    def field(self, field: Field, where: str) -> Schema:
        """One field of a record; null stands for what may be left out."""
        schema = self.schema(bare(field.hint)[0], f"{where}.{field.name}")
        if field.optional and not allows_none(field.hint):
            schema = _any_of([schema, dict(SCALARS[NONE])])
        return described(schema, field.description)


def pydantic_schema(model: Any) -> Schema:
    """What a Pydantic model says of itself; a `ConfigError` where it cannot."""
    try:
        return sound_schema(model.model_json_schema())
    except ConfigError as error:
        raise ConfigError(f"{_name(model)}: {error}") from None
    except Exception as error:  # Pydantic's own error classes are not ours to import
        raise ConfigError(f"{_name(model)} has no JSON Schema: {str(error)[:200]}") from error


def described(schema: Schema, description: str | None) -> Schema:
    """`schema` with a description. A reference gets it from outside: beside `$ref` some vendors
    take nothing.
    """
    if not description:
        return schema
    if "$ref" in schema:
        schema = {"anyOf": [schema]}
    return {"description": description, **{
        word: value for word, value in schema.items() if word != "description"}}  # fmt: skip


def _any_of(forms: list[Schema]) -> Schema:
    """One of `forms`; those that are themselves a choice are taken apart."""
    flat: list[Schema] = []
    for form in forms:
        parts = form["anyOf"] if set(form) == {"anyOf"} else [form]
        flat += [part for part in parts if part not in flat]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _literals(values: tuple[Any, ...]) -> list[Any]:
    return [value.value if isinstance(value, enum.Enum) else value for value in values]


def _choice(values: list[Any], where: str) -> Schema:
    """One of a few values: an `enum` for each type, since vendors want the type beside it."""
    by_type: dict[type, list[Any]] = {}
    for value in values:
        if type(value) not in (str, int, float, bool, NONE):
            raise ConfigError(
                f"{where}: {value!r:.40} is no value of JSON; choose among texts or numbers"
            )
        by_type.setdefault(type(value), []).append(value)
    if not by_type:
        raise ConfigError(f"{where}: has no values to choose among")
    return _any_of(
        [
            dict(SCALARS[kind]) if kind is NONE else {**SCALARS[kind], "enum": members}
            for kind, members in by_type.items()
        ]
    )


def _name(hint: Any) -> str:
    return str(getattr(hint, "__name__", None) or "answer")


def _complaint(hint: Any, where: str) -> str:
    known = "str, int, float, bool, None, date, datetime, list, dict[str, ...], tuple, Optional, "
    what = f"{where}: JSON has no form for {hint!r:.80}"
    if isinstance(hint, (str, typing.ForwardRef)):
        return f"{what}; name the class itself, not its name in quotes"
    if isinstance(hint, typing.TypeVar) or is_record(typing.get_origin(hint)):
        return f"{what}; a generic class is not taken apart: write one with its types in it"
    return f"{what}; there are {known}Union, Literal, Enum, dataclass, TypedDict, Pydantic models"
