"""What a function takes, by its types, defaults and docstring: for tools that are made of one."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Callable, Optional

from .errors import ConfigError
from .type_hints import bare

LONGEST_DEFAULT = 200
"""Characters of JSON; a longer default is not told to the model."""

_SECTION = re.compile(r"\s*(?:args|arguments|parameters)\s*:\s*", re.IGNORECASE)
_AFTER = re.compile(r"\s*(?:returns?|raises|yields|examples?)\s*:", re.IGNORECASE)
_PARAMETER = re.compile(r"\s*\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)")
_SPHINX = re.compile(
    r"\s*:(?:param|parameter|arg|argument)\s+(?:[\w.\[\], |]+\s+)?(\w+)\s*:\s*(.*)"
)
_SPHINX_OTHER = re.compile(r"\s*:\w+(?:\s+[^:]*)?:")


def name_of(function: Callable[..., Any]) -> str:
    """Its name, or that of what a partial is of, or of a callable object's class."""
    inner = _inner(function)
    return str(getattr(inner, "__name__", None) or type(inner).__name__)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it gives something to await, or to iterate over with await."""
    code = _code(function)
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


def record_of(function: Callable[..., Any], name: str, texts: Mapping[str, str]) -> Optional[type]:
    """A dataclass of the function's arguments, without those that a partial gives; None where it
    takes none. `texts` describe them where their types do not.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ConfigError(f"tool {name}: this function does not say what it takes") from None
    bound = function.keywords if isinstance(function, functools.partial) else {}
    hints = _hints(function, name)
    fields = [
        _field(parameter, hints, name, texts)
        for parameter in parameters
        if parameter.name not in bound
    ]
    if not fields:
        return None
    fields.sort(key=lambda item: has_default(item[2]))
    return dataclasses.make_dataclass(name.replace("-", "_"), fields)


def has_default(item: dataclasses.Field[Any]) -> bool:
    """Whether this argument may be left out."""
    return item.default_factory is not dataclasses.MISSING


def docstring_of(function: Callable[..., Any]) -> tuple[str, Mapping[str, str]]:
    """The description, and those of the arguments (Google's style, and Sphinx's `:param x:`)."""
    reader = _DocReader()
    for line in _doc(function).splitlines():
        if not reader.take(line):
            break
    return "\n".join(reader.kept).strip(), reader.texts


class _DocReader:
    """What a docstring says, line by line."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.texts: dict[str, str] = {}
        self._latest = ""
        self._indent: int | None = None
        self._within = False

    def take(self, line: str) -> bool:
        """Read one line; whether those after it are of interest."""
        depth = len(line) - len(line.lstrip())
        sphinx = _SPHINX.match(line)
        if _SECTION.fullmatch(line):
            self._latest, self._indent, self._within = "", None, True
        elif sphinx:
            self._within = False
            self._begin(sphinx[1], sphinx[2])
        elif self._within and (depth or not line.strip()):
            self._argument(line, depth)
        elif _AFTER.match(line):
            return False
        elif _SPHINX_OTHER.match(line):
            self._latest = ""
        elif depth and self._latest:
            self._go_on(line)
        elif not self._within and not self.texts:
            self.kept.append(line)
        return True

    def _argument(self, line: str, depth: int) -> None:
        """A line under "Args:": an argument's first, or, further in, more of the one before it."""
        found = _PARAMETER.match(line)
        if found and (self._indent is None or depth <= self._indent):
            self._indent = depth
            self._begin(found[1], found[2])
        else:
            self._go_on(line)

    def _begin(self, name: str, text: str) -> None:
        self._latest = name
        self.texts[name] = text.strip()

    def _go_on(self, line: str) -> None:
        if self._latest and line.strip():
            self.texts[self._latest] = f"{self.texts[self._latest]} {line.strip()}".strip()


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _code(function: Callable[..., Any]) -> Any:
    """What has the annotations: a function, the `__init__` of a class, an object's `__call__`."""
    inner = _inner(function)
    if isinstance(inner, type):
        return inner.__init__  # type: ignore[misc]
    if inspect.isroutine(inner):
        return getattr(inner, "__func__", inner)
    return type(inner).__call__


def _doc(function: Callable[..., Any]) -> str:
    inner = _inner(function)
    if isinstance(inner, type) or inspect.isroutine(inner):
        text = inspect.getdoc(inner) or ""
        return "" if text.startswith(f"{name_of(inner)}(") else text  # what `dataclass` makes up
    return inspect.getdoc(type(inner).__call__) or inspect.getdoc(inner) or ""


def _field(
    parameter: inspect.Parameter,
    hints: Mapping[str, Any],
    name: str,
    texts: Mapping[str, str],
) -> tuple[str, Any, Any]:
    where = f"tool {name}: argument {parameter.name!r}"
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ConfigError(f"{where} cannot be given by name: leave out *, ** and / arguments")
    if parameter.name not in hints:
        raise ConfigError(f"{where} has no type: write `{parameter.name}: str` or what it is")
    hint, text = bare(hints[parameter.name])
    text = _with_default(text or texts.get(parameter.name, ""), parameter.default)
    return parameter.name, typing.Annotated[hint, text] if text else hint, _default(parameter)


def _with_default(text: str, default: Any) -> str:
    """`text`, and the default: OpenAI's strict schemas take no `default`. None says itself, and
    what JSON has no form for is not told.
    """
    if default is None or default is inspect.Parameter.empty:
        return text
    value = default.value if isinstance(default, enum.Enum) else default
    try:
        told = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return text
    return f"{text} (default: {told})".strip() if len(told) <= LONGEST_DEFAULT else text


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The types of the arguments; what is returned may be of one that is not there at run time."""
    code = _code(function)
    annotations = dict(getattr(code, "__annotations__", {}))
    annotations.pop("return", None)
    known = getattr(inspect.unwrap(code), "__globals__", {})
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__=annotations), known, include_extras=True
        )
    except (NameError, TypeError, SyntaxError) as error:
        raise ConfigError(
            f"tool {name}: a type of its arguments cannot be read ({error})"
        ) from None


def _default(parameter: inspect.Parameter) -> dataclasses.Field[Any]:
    if parameter.default is parameter.empty:
        return dataclasses.field()  # type: ignore[no-any-return]
    default = parameter.default
    return dataclasses.field(default_factory=lambda: default)  # type: ignore[no-any-return]
