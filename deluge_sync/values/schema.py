"""Structured output: from what the caller asks for to a JSON Schema, and from a model's text back.

`output_schema` reads the caller's `output_schema=`, `parsed` the answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .errors import ConfigError, OutputError
from .request import OutputFormat
from .schema_check import sound_schema
from .type_hints import is_pydantic, is_record
from .type_schema import pydantic_schema, schema_of
from .type_values import MisfitError, typed
from .validation import Path, Problem, problems_of

MOST_CHARACTERS = 500
"""Of the message of an `OutputError`."""


@dataclass(frozen=True)
class OutputSchema:
    """What an answer is to look like.

    `schema` (JSON Schema, draft 2020-12) is what is sent, `accepted` what answers are held against:
    the same, but that fields with a default need not be there. `name` is what the vendor calls it.
    `source` is what it was made from: a schema, a class or a type hint.
    """

    schema: Mapping[str, Any]
    name: str
    source: Any = field(default=None, repr=False)
    accepted: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def parse(self, value: Any) -> Any:
        """`value`, as `json.loads` gave it, as what was asked for: a Pydantic instance, a dataclass
        with all that is in it, a dict for a TypedDict or a JSON Schema. An `OutputError` says what
        does not fit.
        """
        problems, made = self._read(value)
        if problems:
            raise _error(f"the answer does not fit {self.name}", problems)
        return made

    def output_format(self, *, strict: bool = True) -> OutputFormat:
        """What a `Request` takes."""
        return OutputFormat(self.schema, self.name, strict)

    def _read(self, value: Any) -> tuple[list[Problem], Any]:
        if is_pydantic(self.source):
            return _from_pydantic(value, self.source)
        problems = problems_of(value, self.accepted or self.schema)
        if problems or isinstance(self.source, Mapping) or self.source is None:
            return problems, value
        try:
            return [], typed(value, self.source)
        except MisfitError as error:
            return [error.problem], None


def output_schema(source: Any) -> OutputSchema:
    """What `output_schema=` was given, read: a JSON Schema, a Pydantic 2 model, a dataclass, a
    TypedDict or a type hint of these (`list[Place]`). A `ConfigError` names the field that has no
    form in JSON, and what to do.
    """
    if isinstance(source, OutputSchema):
        return source
    if isinstance(source, Mapping):
        if isinstance(source.get("schema"), Mapping) and "type" not in source:
            raise ConfigError("output_schema: give the inner schema itself, without its wrapper")
        schema = sound_schema(source)
        return OutputSchema(schema, _name(schema.get("title")), schema)
    if is_pydantic(source):
        return OutputSchema(pydantic_schema(source), _name(source.__name__), source)
    if not isinstance(source, type) and is_record(type(source)):
        raise ConfigError(
            f"output_schema: give the class {type(source).__name__} itself, not an instance of it"
        )
    try:
        schema, accepted = schema_of(source), schema_of(source, lenient=True)
    except ConfigError as error:
        raise ConfigError(f"output_schema: {error.message}") from None
    return OutputSchema(schema, _name(_title(source)), source, accepted)


def parsed(text: str, schema: Optional[OutputSchema]) -> Any:
    """The object in a model's text; without a `schema`, any JSON object.

    A Markdown fence around it is taken off; anything else beside it is a problem, and so are NaN
    and a key that occurs twice. All problems are `OutputError`s.
    """
    value = _read_json(_unfenced(text))
    if schema is not None:
        return schema.parse(value)
    if not isinstance(value, dict):
        raise OutputError("the answer is JSON, but not an object")
    return value


def _from_pydantic(value: Any, model: Any) -> tuple[list[Problem], Any]:
    """Pydantic judges for itself, by its rules for JSON: a strict model takes dates as texts."""
    try:
        validate_json = getattr(model, "model_validate_json", None)
        if validate_json is not None:
            return [], validate_json(json.dumps(value))
        return [], model.model_validate(value)
    except Exception as error:  # a validator of the caller's may raise anything
        return _pydantic_problems(error), None


def _pydantic_problems(error: Exception) -> list[Problem]:
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [Problem((), str(error) or type(error).__name__)]
    return [Problem(_path(one.get("loc", ())), str(one.get("msg", ""))) for one in errors()]


def _path(location: Iterable[Any]) -> Path:
    return tuple([step if isinstance(step, int) else str(step) for step in location])


def _title(source: Any) -> Any:
    return source.__name__ if isinstance(source, type) and is_record(source) else None


def _name(title: Any) -> str:
    """What vendors take for a name: up to 64 of letters, digits, "_" and "-"."""
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", title).strip("_") if isinstance(title, str) else ""
    return name[:64] or "answer"


def _unfenced(text: str) -> str:
    text = text.strip().lstrip("\ufeff")
    if not (text.startswith("```") and text.endswith("```") and len(text) >= 6):
        return text
    head, newline, rest = text[3:-3].partition("\n")
    if newline and re.fullmatch(r"[\w.+-]*\s*", head):
        return rest.strip()
    return re.sub(r"\A(?i:json)\b", "", text[3:-3]).strip()


def _read_json(text: str) -> Any:
    if not text:
        raise OutputError("the answer is empty, where JSON was asked for")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_not_a_number,
        )
        if "\\ud" in text or "\\uD" in text:
            # Half a surrogate pair could not be stored or printed later, far from here.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        return value
    except json.JSONDecodeError as error:
        raise OutputError(_syntax(error)) from None
    except ValueError as error:
        raise _error("the answer is not JSON", [Problem((), str(error))]) from None
    except RecursionError:
        raise OutputError("the answer is not read: it is nested too deep") from None


def _syntax(error: json.JSONDecodeError) -> str:
    place = f"line {error.lineno}, column {error.colno}"
    near = error.doc[error.pos : error.pos + 40]
    if error.msg == "Extra data":
        return f"the answer goes on after its JSON ({place}): {near!r}"
    if error.pos >= len(error.doc.rstrip()):
        return f"the answer is not JSON: it breaks off ({place})"
    return f"the answer is not JSON: {error.msg} ({place}): {near!r}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} occurs twice")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _not_a_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number that JSON has")


def _error(what: str, problems: list[Problem]) -> OutputError:
    """The error with as many problems in its message as there is room for."""
    texts = [str(problem) for problem in problems]
    message = what
    for done, text in enumerate(texts):
        longer = f"{message}{'; ' if done else ': '}{text}"
        rest = f"; and {len(texts) - done} more"
        if len(longer) > MOST_CHARACTERS - len(rest):
            message = longer[: MOST_CHARACTERS - 3] + "..." if not done else message + rest
            break
        message = longer
    return OutputError(message, problems=tuple(texts))
