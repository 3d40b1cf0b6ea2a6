"""A YAML text as plain values, read strictly: what is dubious is an error, nothing is executed.

Built on the parser's events rather than on `yaml.safe_load`: so duplicate keys, tags, depth and
alias bombs are seen before anything is built, keys stay the text they are, and reading needs no
recursion. Scalars mean what `safe_load` makes of them, except that dates stay text.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..values.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 50_000
"""How many values a document may hold, with each alias counted as all it stands for."""


def read_file(path: str | os.PathLike[str]) -> Any:
    """The value in the YAML file at `path` (`~` is expanded); a `ConfigError` where it is bad."""
    try:
        with Path(path).expanduser().open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the configuration file {str(path)!r}: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"the configuration file {str(path)!r} is larger than {MAX_BYTES} bytes")
    try:
        return parse(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"the configuration file {str(path)!r} is not UTF-8 text") from None
    except ConfigError as error:
        raise ConfigError(f"{error} (in {str(path)!r})") from None


def parse(text: str) -> Any:
    """The value of the one document in `text`; None for an empty one."""
    # Not at the top: importing deluge_sync must not load yaml.
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(_plain_scalars(yaml))
    steps: dict[type, Callable[[Any], None]] = {
        yaml.ScalarEvent: builder.scalar,
        yaml.AliasEvent: builder.alias,
        yaml.MappingStartEvent: builder.open_mapping,
        yaml.SequenceStartEvent: builder.open_list,
        yaml.MappingEndEvent: builder.close,
        yaml.SequenceEndEvent: builder.close,
        yaml.DocumentStartEvent: builder.open_document,
    }
    try:
        for event in yaml.parse(text, Loader=loader):
            step = steps.get(type(event))
            if step is not None:
                step(event)
    except yaml.MarkedYAMLError as error:
        raise _at(error.problem_mark, f"not valid YAML: {error.problem}") from None
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"not valid YAML: {reason}") from None
    return builder.root


def _at(mark: Any, problem: str) -> ConfigError:
    return ConfigError(f"line {mark.line + 1}: {problem}" if mark is not None else problem)


def _plain_scalars(yaml: Any) -> Callable[[str], Any]:
    """What `safe_load` takes an unquoted scalar for: null, a boolean, a number, else its text."""
    maker = yaml.SafeLoader("")
    makers = {
        "tag:yaml.org,2002:null": maker.construct_yaml_null,
        "tag:yaml.org,2002:bool": maker.construct_yaml_bool,
        "tag:yaml.org,2002:int": maker.construct_yaml_int,
        "tag:yaml.org,2002:float": maker.construct_yaml_float,
    }
    seen: dict[str, Any] = {}

    def value_of(text: str) -> Any:
        if text not in seen:
            tag = maker.resolve(yaml.ScalarNode, text, (True, False))
            make = makers.get(tag)
            seen[text] = make(yaml.ScalarNode(tag, text)) if make else text
        return seen[text]

    return value_of


class _Open(NamedTuple):
    """A mapping or list whose end has not come yet."""

    value: Any
    anchor: str | None
    nodes_before: int
    keys: list[str]
    """The key whose value comes next, if one was read."""


class _Builder:
    """Makes a value out of parser events, on a stack of its own."""

    def __init__(self, plain: Callable[[str], Any]) -> None:
        self.root: Any = None
        self._plain = plain
        self._documents = 0
        self._nodes = 0
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def open_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _at(event.start_mark, "a second document begins here; one file holds one")

    def scalar(self, event: Any) -> None:
        if event.tag is not None:
            raise _at(event.start_mark, f"the tag {event.tag!r} is not allowed")
        if self._takes_key():
            self._key(event)
            return
        plain = event.implicit[0] and not event.style
        value = self._plain(event.value) if plain else event.value
        self._count(event, 1)
        self._remember(event.anchor, value, 1)
        self._put(value)

    def alias(self, event: Any) -> None:
        if self._takes_key() or event.anchor not in self._anchors:
            raise _at(event.start_mark, f"the alias *{event.anchor} stands for nothing here")
        value, size = self._anchors[event.anchor]
        self._count(event, size)
        self._put(value)

    def open_mapping(self, event: Any) -> None:
        self._open(event, {})

    def open_list(self, event: Any) -> None:
        self._open(event, [])

    def close(self, event: Any) -> None:
        done = self._stack.pop()
        self._remember(done.anchor, done.value, self._nodes - done.nodes_before)

    def _open(self, event: Any, value: Any) -> None:
        if event.tag is not None:
            raise _at(event.start_mark, f"the tag {event.tag!r} is not allowed")
        if self._takes_key():
            raise _at(event.start_mark, "a key must be plain text")
        if len(self._stack) >= MAX_DEPTH:
            raise _at(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        opened = _Open(value, event.anchor, self._nodes, [])
        self._count(event, 1)
        self._put(value)
        self._stack.append(opened)

    def _takes_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and isinstance(top.value, dict) and not top.keys

    def _key(self, event: Any) -> None:
        top = self._stack[-1]
        if event.value in top.value:
            raise _at(event.start_mark, f"the key {event.value!r} is given twice")
        top.keys.append(event.value)

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, dict):
            top.value[top.keys.pop()] = value
        else:
            top.value.append(value)

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)

    def _count(self, event: Any, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise _at(event.start_mark, f"more than {MAX_NODES} values, aliases counted in full")
