"""Holding a JSON value against a JSON Schema (draft 2020-12), as far as answers of models need it.

Known are: `type`, `enum`, `const`, `properties`, `patternProperties`, `required`,
`additionalProperties`, `items`, `prefixItems`, `anyOf`, `oneOf`, `allOf`, `not`, `$ref` to the
schema itself or by JSON pointer into it, and the bounds of numbers, texts, arrays and objects.
Other keywords (`format` among them) are ignored, as the standard asks.

All work is bounded: an answer comes from outside, and its schema may refer to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from fractions import Fraction
from typing import Any, Callable, NamedTuple, Union
from urllib.parse import unquote

from .patterns import compiled

MOST_PROBLEMS = 20
"""Of one value: nobody reads more."""

DEEPEST = 256
"""Steps down into a value and its schema."""

MOST_CHECKS = 1_000_000
"""Of one value; schemas can double the work at each level."""

LONGEST_FOR_PATTERN = 2_000
"""Characters. A pattern can need a time that grows with a power of the length, and Python cannot
stop it; a longer text does not fit (and see `patterns`).
"""

Path = tuple[Union[str, int], ...]


class Problem(NamedTuple):
    """What is wrong, and where in the value: names of fields and positions in lists."""

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{shown_path(self.path)}: {self.text}" if self.path else self.text


def validate(value: Any, schema: Any) -> list[str]:
    """What is wrong with `value`, at most `MOST_PROBLEMS`; [] where it fits.

    `value` is what `json.loads` gives, `schema` a sound one (see `schema_check`). A problem is told
    as "people[2].age: 'x' is not an integer".
    """
    return [str(problem) for problem in problems_of(value, schema)]


def problems_of(value: Any, schema: Any) -> list[Problem]:
    """The same as `validate`, with the paths as tuples."""
    try:
        return _Check(schema).run(value, schema, ())[:MOST_PROBLEMS]
    except _TooMuchError as error:
        return [Problem(error.path, f"cannot be checked: {error}")]
    except RecursionError:
        return [Problem((), "cannot be checked: it is nested too deep")]


def shown_path(path: Path) -> str:
    """`people[2].age`; names that are no words stand in brackets: `people['first name']`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif step.isidentifier():
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{shown(step)}]")
    return "".join(parts)


def shown(value: Any) -> str:
    """`value` in few words."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def resolve(root: Any, reference: str) -> Any:
    """The part of the schema `root` that `reference` ("#", "#/$defs/Place") names.

    A `LookupError` says why there is none.
    """
    if not reference.startswith("#"):
        raise LookupError("it is outside of this schema; only '#/...' is followed")
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        raise LookupError("anchors are not followed; write it as '#/$defs/...'")
    found = root
    for part in pointer.split("/")[1:]:
        found = _member(found, part.replace("~1", "/").replace("~0", "~"))
    return found


def _member(container: Any, name: str) -> Any:
    if isinstance(container, Mapping) and name in container:
        return container[name]
    if isinstance(container, list) and name.isdecimal() and int(name) < len(container):
        return container[int(name)]
    raise LookupError(f"there is no {name!r}")


class _TooMuchError(Exception):
    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path


class _Check:
    """One value held against one schema."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._left = MOST_CHECKS
        self._depth = 0

    def run(self, value: Any, schema: Any, path: Path) -> list[Problem]:
        """The problems of this part of the value with this part of the schema."""
        if schema is False:
            return [Problem(path, "is not allowed here")]
        if not isinstance(schema, Mapping):
            return []
        self._count(path)
        found: list[Problem] = []
        self._depth += 1
        for word, argument in schema.items():
            rule = _RULES.get(word)
            if rule is not None:
                found += rule(_Case(self, value, argument, schema, path))
        self._depth -= 1
        return found

    def _count(self, path: Path) -> None:
        self._left -= 1
        if self._left < 0:
            raise _TooMuchError(path, f"its schema takes more than {MOST_CHECKS:,} checks")
        if self._depth >= DEEPEST:
            raise _TooMuchError(path, "it is nested too deep, or its schema refers to itself")


class _Case(NamedTuple):
    """One keyword's `argument`, and the value that it is about."""

    check: _Check
    value: Any
    argument: Any
    schema: Mapping[str, Any]
    path: Path

    def problem(self, text: str) -> list[Problem]:
        return [Problem(self.path, f"{shown(self.value)} {text}")]

    def run(self, schema: Any) -> list[Problem]:
        return self.check.run(self.value, schema, self.path)


def _is_integer(value: Any) -> bool:
    # 1.0 is an integer in JSON Schema.
    return type(value) is int or (type(value) is float and value.is_integer())


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "null": ("null", lambda value: value is None),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("an integer", _is_integer),
    "number": ("a number", lambda value: type(value) in (int, float)),
    "string": ("a string", lambda value: isinstance(value, str)),
    "array": ("an array", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, dict)),
}
"""By the names of JSON's types: what it is called in a sentence, and whether a value is one."""


def _type(case: _Case) -> list[Problem]:
    names = [case.argument] if isinstance(case.argument, str) else case.argument
    kinds = [KINDS[name] for name in names if name in KINDS]
    if any(is_one(case.value) for _, is_one in kinds):
        return []
    words = [word for word, _ in kinds]
    if len(words) < 2:
        return case.problem(f"is not {words[0] if words else 'of a type that there is'}")
    return case.problem(f"is neither {', '.join(words[:-1])} nor {words[-1]}")


def _key(value: Any) -> Any:
    """Something hashable that is equal for values that JSON Schema calls equal: 1 and 1.0, but not
    1 and true.
    """
    if isinstance(value, dict):
        return ("object", frozenset((name, _key(member)) for name, member in value.items()))
    if isinstance(value, list):
        return ("array", tuple([_key(member) for member in value]))
    return ("boolean", value) if isinstance(value, bool) else value


def _enum(case: _Case) -> list[Problem]:
    if _key(case.value) in [_key(member) for member in case.argument]:
        return []
    members = ", ".join(shown(member) for member in case.argument[:5])
    more = ", ..." if len(case.argument) > 5 else ""
    return case.problem(f"is not one of {members}{more}")


def _const(case: _Case) -> list[Problem]:
    return [] if _key(case.value) == _key(case.argument) else _enum(case._replace(
        argument=[case.argument]))  # fmt: skip


def _reference(case: _Case) -> list[Problem]:
    try:
        return case.run(resolve(case.check.root, case.argument))
    except LookupError as error:
        raise _TooMuchError(case.path, f"$ref {case.argument!r}: {error}") from None


def _any_of(case: _Case) -> list[Problem]:
    found = []
    for arm in case.argument:
        problems = case.run(arm)
        if not problems:
            return []
        found.append(problems)
    return _closest(case, found)


def _closest(case: _Case, arms: list[list[Problem]]) -> list[Problem]:
    """What to say of a value that fits none: if one arm is of its kind, what that arm found."""
    inside = [problems for problems in arms if problems[0].path != case.path]
    if len(inside) == 1:
        return inside[0]
    own = f"{shown(case.value)} is not "
    words = list(dict.fromkeys(problems[0].text for problems in arms))
    if all(word.startswith(own) for word in words):
        return case.problem("is not " + " or ".join(word[len(own) :] for word in words))
    return case.problem("fits none of its forms: " + " / ".join(words))


def _one_of(case: _Case) -> list[Problem]:
    arms = [case.run(arm) for arm in case.argument]
    fitting = sum(not problems for problems in arms)
    if fitting == 1:
        return []
    if not fitting:
        return _closest(case, arms)
    return case.problem(f"fits {fitting} of its forms, where only one may")


def _all_of(case: _Case) -> list[Problem]:
    return [problem for arm in case.argument for problem in case.run(arm)]


def _not(case: _Case) -> list[Problem]:
    return [] if case.run(case.argument) else case.problem("is of a form that is not allowed")


def _properties(case: _Case) -> list[Problem]:
    if not isinstance(case.value, dict):
        return []
    found: list[Problem] = []
    for name, schema in case.argument.items():
        if name in case.value:
            found += case.check.run(case.value[name], schema, (*case.path, name))
    return found


def _pattern_properties(case: _Case) -> list[Problem]:
    if not isinstance(case.value, dict):
        return []
    found: list[Problem] = []
    for pattern, schema in case.argument.items():
        for name, value in case.value.items():
            if _matches(pattern, name):
                found += case.check.run(value, schema, (*case.path, name))
    return found


def _additional_properties(case: _Case) -> list[Problem]:
    if not isinstance(case.value, dict) or case.argument is True:
        return []
    known = case.schema.get("properties", {})
    patterns = case.schema.get("patternProperties", {})
    found: list[Problem] = []
    for name, value in case.value.items():
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if case.argument is False:
            found.append(Problem((*case.path, name), "is a field that is not asked for"))
        else:
            found += case.check.run(value, case.argument, (*case.path, name))
        if len(found) >= MOST_PROBLEMS:
            break
    return found


def _required(case: _Case) -> list[Problem]:
    if not isinstance(case.value, dict):
        return []
    missing = [name for name in case.argument if name not in case.value]
    return [Problem((*case.path, name), "is missing") for name in missing]


def _prefix_items(case: _Case) -> list[Problem]:
    if not isinstance(case.value, list):
        return []
    found: list[Problem] = []
    for place, (value, schema) in enumerate(zip(case.value, case.argument)):
        found += case.check.run(value, schema, (*case.path, place))
    return found


def _items(case: _Case) -> list[Problem]:
    if not isinstance(case.value, list):
        return []
    first = len(case.schema.get("prefixItems", ()))
    found: list[Problem] = []
    for place in range(first, len(case.value)):
        found += case.check.run(case.value[place], case.argument, (*case.path, place))
        if len(found) >= MOST_PROBLEMS:
            break
    return found


def _unique_items(case: _Case) -> list[Problem]:
    if not isinstance(case.value, list) or case.argument is not True:
        return []
    seen = set()
    for place, value in enumerate(case.value):
        key = _key(value)
        if key in seen:
            return [Problem((*case.path, place), f"{shown(value)} occurs twice")]
        seen.add(key)
    return []


def _matches(pattern: str, text: str) -> bool:
    if len(text) > LONGEST_FOR_PATTERN:
        return False
    expression = compiled(pattern)
    return expression is not None and expression.search(text) is not None


def _pattern(case: _Case) -> list[Problem]:
    if not isinstance(case.value, str) or _matches(case.argument, case.value):
        return []
    if len(case.value) > LONGEST_FOR_PATTERN:
        return case.problem(
            f"is longer than {LONGEST_FOR_PATTERN} characters: its pattern is not tried"
        )
    return case.problem(f"does not match {shown(case.argument)}")


def _multiple_of(case: _Case) -> list[Problem]:
    if type(case.value) not in (int, float) or _exact(case.value) % _exact(case.argument) == 0:
        return []
    return case.problem(f"is not a multiple of {shown(case.argument)}")


def _exact(number: float) -> Fraction:
    """As it is written: 0.3 is a multiple of 0.1."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def _number(holds: Callable[[Any, Any], bool], words: str) -> _Rule:
    def rule(case: _Case) -> list[Problem]:
        if type(case.value) not in (int, float) or holds(case.value, case.argument):
            return []
        return case.problem(f"is {words} {shown(case.argument)}")

    return rule


def _size(kind: type[Sized], holds: Callable[[int, int], bool], words: str) -> _Rule:
    def rule(case: _Case) -> list[Problem]:
        if not isinstance(case.value, kind) or holds(len(case.value), case.argument):
            return []
        return case.problem(f"has {words.format(case.argument)}: {len(case.value)}")

    return rule


_Rule = Callable[[_Case], list[Problem]]


def _at_least(size: int, bound: int) -> bool:
    return size >= bound


def _at_most(size: int, bound: int) -> bool:
    return size <= bound


_RULES: dict[str, _Rule] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _reference,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "not": _not,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "items": _items,
    "prefixItems": _prefix_items,
    "uniqueItems": _unique_items,
    "pattern": _pattern,
    "multipleOf": _multiple_of,
    "minimum": _number(lambda value, bound: value >= bound, "less than"),
    "maximum": _number(lambda value, bound: value <= bound, "more than"),
    "exclusiveMinimum": _number(lambda value, bound: value > bound, "not more than"),
    "exclusiveMaximum": _number(lambda value, bound: value < bound, "not less than"),
    "minLength": _size(str, _at_least, "less than {} characters"),
    "maxLength": _size(str, _at_most, "more than {} characters"),
    "minItems": _size(list, _at_least, "less than {} items"),
    "maxItems": _size(list, _at_most, "more than {} items"),
    "minProperties": _size(dict, _at_least, "less than {} fields"),
    "maxProperties": _size(dict, _at_most, "more than {} fields"),
}
