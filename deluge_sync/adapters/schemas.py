"""What of JSON Schema each vendor takes for structured output, and schemas brought into that form.

`softened` moves bounds that a vendor refuses into the descriptions, `closed` makes objects strict:
`closed(softened(schema, openai_refuses))`. `strict_problem`, `anthropic_problem` and
`gemini_problem` say why the vendor would still not take it. Answers are held against the schema as
the caller gave it, whatever was sent.

Schemas are sound ones (see `values.schema_check`). A problem begins with its place in the schema:
"schema.properties.age: ...".

Sources, read in November 2026: OpenAI's guide "Structured Outputs" (supported schemas) and the
errors that its API gives; Anthropic's page on structured outputs and its SDK's
`lib/_parse/_transform.py`; the text of `responseJsonSchema` in Google's API reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple, Optional

from ..values.schema_check import LISTS_OF_SCHEMAS, MAPS_OF_SCHEMAS, SINGLE_SCHEMAS, subschemas
from ..values.validation import resolve

Schema = Mapping[str, Any]

FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)
"""Of texts, that OpenAI and Anthropic know; Anthropic knows "uri" too."""

_NOT_STRUCTURE = frozenset(
    ("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties",
     "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains",
     "maxContains", "prefixItems", "oneOf")
)  # fmt: skip
_NOT_BOUNDS = frozenset(
    ("minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties")
)  # fmt: skip
_NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
_FORMS = ("type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const")
_ABOUT = frozenset(("title", "description", "default", "examples", "deprecated", "$comment",
                    "readOnly", "writeOnly"))  # fmt: skip

# What OpenAI says of size.
MOST_PROPERTIES = 5_000
MOST_LEVELS = 10
MOST_ENUM_VALUES = 1_000
MOST_CHARACTERS = 120_000
LARGE_ENUM = 250
MOST_CHARACTERS_OF_A_LARGE_ENUM = 15_000

# What Anthropic says of size, for all schemas of a request together.
MOST_OPTIONAL = 24
MOST_UNIONS = 16


class _Node(NamedTuple):
    """One schema in a schema; `level` counts the objects around it and itself."""

    path: str
    schema: Any
    level: int

    def has(self, kind: str) -> bool:
        """Whether a value of it may be of that JSON type."""
        types = self.schema.get("type", ())
        return kind == types or (isinstance(types, list) and kind in types)


_Rule = Callable[[_Node], Optional[str]]


def strict_problem(schema: Schema) -> str | None:
    """Why OpenAI's strict mode would not take `schema`; None where it would."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return (
            "schema: the whole must be an object; put what you ask for into an object with one "
            "field"
        )
    return _first_problem(schema, _strict_node) or _size_problem(schema)


def anthropic_problem(schema: Schema) -> str | None:
    """Why Anthropic would not take `schema`; None where it would."""
    return (
        _first_problem(schema, _anthropic_node)
        or _loop_problem(schema, lambda parent, path: True, "is recursive, which is not taken")
        or loose_problem(*loose_ends(schema))
    )


def gemini_problem(schema: Schema) -> str | None:
    """Why Gemini would not take `schema` as `responseJsonSchema`; None where it would.

    It ignores most keywords that it does not know.
    """
    return _first_problem(schema, _gemini_node) or _loop_problem(
        schema,
        _needed,
        "is recursive, which is taken only inside of a field that is not required",
    )


def _first_problem(schema: Schema, rule: _Rule) -> str | None:
    for node in _nodes(schema):
        problem = rule(node)
        if problem:
            return f"{node.path}: {problem}"
    return None


def _nodes(schema: Schema) -> Iterator[_Node]:
    """All schemas in `schema`, itself first."""
    waiting = [_Node("schema", schema, _is_object(schema))]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node.schema, Mapping):
            continue
        for path, part in reversed(subschemas(node.schema)):
            level = 0 if path.startswith(("$defs", "definitions"), 1) else node.level
            waiting.append(_Node(node.path + path, part, level + _is_object(part)))


def _is_object(schema: Any) -> int:
    return int(isinstance(schema, Mapping) and "properties" in schema)


def _shared_problem(node: _Node, formats: frozenset[str]) -> str | None:
    """What OpenAI and Anthropic have in common."""
    schema = node.schema
    if not any(word in schema for word in _FORMS):
        return "says nothing of the value; it needs a type (Any has none)"
    refused = next((word for word in schema if word in _NOT_STRUCTURE), None)
    if refused == "oneOf":
        return "'oneOf' is not taken; write anyOf"
    if refused == "prefixItems":
        return "'prefixItems' is not taken; make the tuple an object with a name for each member"
    if refused:
        return f"{refused!r} is not taken"
    if schema.get("format", "date") not in formats:
        return f"the format {schema['format']!r} is not taken, only {', '.join(sorted(formats))}"
    if node.has("object") and schema.get("additionalProperties") is not False:
        return (
            "an object must have 'additionalProperties': False; for a dict of any keys ask for a "
            "list of objects with a key and a value"
        )
    return None


def _strict_node(node: _Node) -> str | None:
    schema = node.schema
    if not isinstance(schema, Mapping):
        return None if node.path.endswith(".additionalProperties") else _NO_BOOLEAN
    if "$ref" in schema and set(schema) - {"$ref"}:
        return "beside '$ref' nothing else is taken; put the reference alone into anyOf"
    refused = next((word for word in schema if word in _NOT_BOUNDS or word == "allOf"), None)
    if refused:
        return f"{refused!r} is not taken"
    return _shared_problem(node, FORMATS) or _strict_members(node)


def _strict_members(node: _Node) -> str | None:
    schema = node.schema
    if node.has("array") and "items" not in schema:
        return "an array must say what its 'items' are"
    if not node.has("object"):
        return None
    missing = [name for name in schema.get("properties", ()) if name not in _required(schema)]
    if missing:
        return (
            f"all fields must be in 'required', and {missing[0]!r} is not; let it be null for "
            "what may be left out"
        )
    return None


def _anthropic_node(node: _Node) -> str | None:
    schema = node.schema
    if not isinstance(schema, Mapping):
        return None if node.path.endswith(".additionalProperties") else _NO_BOOLEAN
    told = next((word for word, argument in schema.items() if _refused_bound(word, argument)), None)
    if told:
        return f"{told!r} with {schema[told]!r:.40} is not taken; say it in the description"
    values = [*schema.get("enum", ()), schema.get("const")]
    if any(isinstance(value, (list, dict)) for value in values):
        return "only texts, numbers, true, false and null can be listed"
    if any("$ref" in arm for arm in schema.get("allOf", ()) if isinstance(arm, Mapping)):
        return "'allOf' with '$ref' in it is not taken"
    return _shared_problem(node, FORMATS | {"uri"})


_NO_BOOLEAN = "true and false as schemas are not taken"


def _gemini_node(node: _Node) -> str | None:
    schema = node.schema
    if not isinstance(schema, Mapping):
        return None
    others = [word for word in schema if not word.startswith("$")]
    if "$ref" in schema and others:
        return f"beside '$ref' no {others[0]!r} is taken; put the reference alone into anyOf"
    if any(type(value) not in (str, int, float) for value in schema.get("enum", ())):
        return "an enum may list texts and numbers only; null and booleans are types"
    return None


def _required(schema: Schema) -> list[str]:
    return list(schema.get("required", ()))


def _needed(parent: Schema, path: str) -> bool:
    """Whether the part at `path` of `parent` is there in every value."""
    word, _, name = path[1:].partition(".")
    return word != "properties" or name in _required(parent)


def _loop_problem(
    schema: Schema, follow: Callable[[Schema, str], bool], complaint: str
) -> str | None:
    """Where `schema` comes back to itself on the ways that `follow` allows."""
    active: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[int, Iterator[tuple[str, Any]]]] = []

    def enter(path: str, part: Any) -> None:
        active.add(id(part))
        stack.append((id(part), iter(_ways(schema, path, part, follow))))

    enter("schema", schema)
    while stack:
        own, ways = stack[-1]
        path, part = next(ways, ("", None))
        if part is None:
            stack.pop()
            active.discard(own)
            done.add(own)
        elif id(part) in active:
            return f"{path}: {complaint}"
        elif id(part) not in done:
            enter(path, part)
    return None


def _ways(
    root: Schema, path: str, schema: Any, follow: Callable[[Schema, str], bool]
) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(schema, Mapping):
        return []
    ways = [
        (path + step, part)
        for step, part in subschemas(schema)
        if not step.startswith(("$defs", "definitions"), 1) and follow(schema, step)
    ]
    if "$ref" in schema:
        ways.append((path, resolve(root, schema["$ref"])))
    return [(place, part) for place, part in ways if isinstance(part, Mapping)]


def _size_problem(schema: Schema) -> str | None:
    properties = values = characters = 0
    for node in _nodes(schema):
        if not isinstance(node.schema, Mapping):
            continue
        if node.level > MOST_LEVELS:
            return f"{node.path}: more than {MOST_LEVELS} objects are in one another"
        names = [*node.schema.get("properties", ()), *node.schema.get("$defs", ())]
        enum = node.schema.get("enum", [])
        properties += len(node.schema.get("properties", ()))
        values += len(enum)
        own = _characters(enum)
        characters += own + _characters([*names, node.schema.get("const")])
        if len(enum) > LARGE_ENUM and own > MOST_CHARACTERS_OF_A_LARGE_ENUM:
            return (
                f"{node.path}: an enum of more than {LARGE_ENUM} values may have "
                f"{MOST_CHARACTERS_OF_A_LARGE_ENUM:,} characters, not {own:,}"
            )
    return (
        _over("fields", properties, MOST_PROPERTIES)
        or _over("values in enums", values, MOST_ENUM_VALUES)
        or _over("characters in names and enums", characters, MOST_CHARACTERS)
    )


def _characters(values: list[Any]) -> int:
    return sum(len(value) for value in values if isinstance(value, str))


def _over(what: str, number: int, most: int) -> str | None:
    if number <= most:
        return None
    return f"schema: {number:,} {what}, where at most {most:,} are taken"


def loose_ends(schema: Schema) -> tuple[int, int]:
    """How many fields of `schema` are not required, and how many unions it has."""
    optional = unions = 0
    for node in _nodes(schema):
        if isinstance(node.schema, Mapping):
            required = _required(node.schema)
            names = node.schema.get("properties", ())
            optional += sum(name not in required for name in names)
            unions += "anyOf" in node.schema or isinstance(node.schema.get("type"), list)
    return optional, unions


def loose_problem(optional: int, unions: int) -> str | None:
    """Why Anthropic would not take so many in the schemas of a request; None where it would."""
    return _over("fields that are not required", optional, MOST_OPTIONAL) or _over(
        "unions (anyOf, or several types; each field that may be null is one)", unions, MOST_UNIONS
    )


def closed(schema: Schema) -> dict[str, Any]:
    """A copy that says the same more strictly: whatever fits it fits `schema`.

    An object that names its fields gets no others. A field with a default, or that may be null,
    becomes required; one that has neither stays as it is, since the model would have to make
    something up. Defaults go. What stands beside a `$ref` goes around it; a `$ref` at the top is
    replaced by what it names; a lone `allOf` dissolves; `oneOf` becomes `anyOf` where a
    discriminator tells its forms apart; values that are listed get their type.

    Where closing an object would change what is said of others (`not`, `allOf`, `oneOf` without a
    discriminator, `if`), the copy is as it was.
    """
    copy = _of_named(_mapped(schema, lambda part: _plainer(part, schema)))
    words = {
        word for node in _nodes(copy) if isinstance(node.schema, Mapping) for word in node.schema
    }
    if words & {"not", "allOf", "oneOf", "if", "dependentSchemas"}:
        return dict(_mapped(schema, dict))
    copy = _mapped(_mapped(copy, _stricter), _without_defaults)
    return dict(copy if _leads_somewhere(copy) else _mapped(schema, dict))


def _of_named(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with what it names in place of a `$ref` at its top."""
    others = {word: value for word, value in schema.items() if word != "$ref"}
    if "$ref" not in schema or set(others) - {"$defs", "definitions", "$schema", *_ABOUT}:
        return schema
    target = resolve(schema, schema["$ref"])
    return {**target, **others} if isinstance(target, Mapping) and target is not schema else schema


def _leads_somewhere(schema: Schema) -> bool:
    """Whether all references still do: one may have gone into an `allOf` that has dissolved."""
    try:
        for node in _nodes(schema):
            if isinstance(node.schema, Mapping) and "$ref" in node.schema:
                resolve(schema, node.schema["$ref"])
    except LookupError:
        return False
    return True


def _mapped(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A copy of `schema` where each schema is what `change` makes of it; inner ones come first."""
    if not isinstance(schema, Mapping):
        return schema
    copy = dict(schema)
    for word, value in schema.items():
        if word in MAPS_OF_SCHEMAS:
            copy[word] = {name: _mapped(part, change) for name, part in value.items()}
        elif word in LISTS_OF_SCHEMAS:
            copy[word] = [_mapped(part, change) for part in value]
        elif word in SINGLE_SCHEMAS:
            copy[word] = _mapped(value, change)
    return change(copy)


def _plainer(schema: dict[str, Any], root: Schema) -> dict[str, Any]:
    """The same in words that all vendors know."""
    arms = schema.get("allOf", ())
    if len(arms) == 1 and isinstance(arms[0], Mapping) and not set(arms[0]) & set(schema):
        del schema["allOf"]
        schema = {**schema, **arms[0]}
    if "oneOf" in schema and "anyOf" not in schema and _told_apart(schema, root):
        schema["anyOf"] = schema.pop("oneOf")
        del schema["discriminator"]
    if "type" not in schema and ("enum" in schema or "const" in schema):
        kinds = _kinds(schema["enum"] if "enum" in schema else [schema["const"]])
        if kinds:
            schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    return schema


def _told_apart(schema: Schema, root: Schema) -> bool:
    """Whether the forms of a `oneOf` have different values in the field of its discriminator."""
    discriminator = schema.get("discriminator")
    if not isinstance(discriminator, Mapping):
        return False
    tags = []
    for arm in schema["oneOf"]:
        form = resolve(root, arm["$ref"]) if isinstance(arm, Mapping) and "$ref" in arm else arm
        properties = form.get("properties", {}) if isinstance(form, Mapping) else {}
        tag = properties.get(discriminator.get("propertyName"))
        if not isinstance(tag, Mapping):
            return False
        tags += [json.dumps(value) for value in tag.get("enum", [tag.get("const")])]
    return "null" not in tags and len(set(tags)) == len(tags)


_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _kinds(values: list[Any]) -> list[str]:
    """The types of `values`; none where one is a list or an object."""
    kinds = [_KINDS.get(type(value), "") for value in values]
    return [] if "" in kinds else list(dict.fromkeys(kinds))


def _stricter(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if properties:
        required = _required(schema)
        schema["required"] = [
            name for name, part in properties.items() if name in required or _may_be_asked_for(part)
        ] + [name for name in required if name not in properties]
        schema.setdefault("additionalProperties", False)
    return schema


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """The last pass: until then a default tells that a field may be left out."""
    schema.pop("default", None)
    if "$ref" not in schema or not set(schema) - {"$ref"} <= _ABOUT or len(schema) == 1:
        return schema
    about = {word: value for word, value in schema.items() if word != "$ref"}
    return {"anyOf": [{"$ref": schema["$ref"]}], **about}


def _may_be_asked_for(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if "default" in schema or schema.get("type") == "null" or None in schema.get("enum", ()):
        return True
    return "null" in schema.get("type", ()) or any(
        isinstance(arm, Mapping) and arm.get("type") == "null" for arm in schema.get("anyOf", ())
    )


def softened(schema: Schema, refuses: Callable[[str, Any], bool]) -> dict[str, Any]:
    """A copy without the bounds that a vendor `refuses` (`openai_refuses`, `anthropic_refuses`).

    They go into the description, where the model reads them, as Anthropic's SDK does it:
    "{minLength: 3}". What an answer is held against stays the schema that was given.
    """
    if any(isinstance(node.schema, Mapping) and "not" in node.schema for node in _nodes(schema)):
        return dict(schema)  # without a bound inside, `not` would allow less
    return _mapped(schema, lambda part: _softened(part, refuses))  # type: ignore[no-any-return]


def _softened(schema: dict[str, Any], refuses: Callable[[str, Any], bool]) -> dict[str, Any]:
    told = {word: value for word, value in schema.items() if refuses(word, value)}
    if not told:
        return schema
    words = "{" + ", ".join(f"{word}: {json.dumps(value)}" for word, value in told.items()) + "}"
    rest = {word: value for word, value in schema.items() if word not in told}
    description = rest.get("description")
    return {**rest, "description": f"{description}\n\n{words}" if description else words}


def openai_refuses(word: str, argument: Any) -> bool:
    """Whether OpenAI's strict mode refuses this bound, which a description can say instead."""
    return word in _NOT_BOUNDS or (word == "format" and argument not in FORMATS)


def anthropic_refuses(word: str, argument: Any) -> bool:
    """Whether Anthropic refuses this bound, which a description can say instead."""
    if word == "format":
        return argument not in FORMATS and argument != "uri"
    return _refused_bound(word, argument)


def _refused_bound(word: str, argument: Any) -> bool:
    if word == "minItems":
        return argument not in (0, 1)
    if word == "pattern":
        return _HARD_PATTERN.search(argument) is not None
    return word in _NOT_BOUNDS or word in _NUMBERS or word == "maxItems"


_HARD_PATTERN = re.compile(r"\(\?[=!<]|\\[bB1-9]")
"""Looking around, back references and the edges of words."""
