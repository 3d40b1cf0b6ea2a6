"""Values held against JSON Schemas, by our validator and by the `jsonschema` package."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deluge_sync.values.patterns import compiled
from deluge_sync.values.validation import (
    DEEPEST,
    LONGEST_FOR_PATTERN,
    MOST_PROBLEMS,
    validate,
)

PEOPLE = {
    "type": "object",
    "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/Person"}}},
    "required": ["people"],
    "additionalProperties": False,
    "$defs": {
        "Person": {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0},
                "name": {"type": "string", "minLength": 1},
                "boss": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}]},
                "first name": {"type": ["string", "null"]},
            },
            "additionalProperties": False,
        }
    },
}


def person(**fields: Any) -> dict[str, Any]:
    return {"people": [{}, {}, fields]}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (person(age="x"), "people[2].age: 'x' is not an integer"),
        (person(age=True), "people[2].age: true is not an integer"),
        (person(age=-1), "people[2].age: -1 is less than 0"),
        (person(name=""), "people[2].name: '' has less than 1 characters: 0"),
        (person(pet="cat"), "people[2].pet: is a field that is not asked for"),
        (person(boss={"age": 1.5}), "people[2].boss.age: 1.5 is not an integer"),
        (person(boss=[]), "people[2].boss: an array is not an object or null"),
        (person(**{"first name": 1}), "people[2]['first name']: 1 is neither a string nor null"),
        ({}, "people: is missing"),
        ([], "an array is not an object"),
    ],
)
def test_a_problem_names_its_place_and_what_is_wrong(value: Any, problem: str) -> None:
    assert validate(value, PEOPLE) == [problem]


def test_a_whole_number_with_a_point_is_an_integer_and_fits() -> None:
    assert validate(person(age=3.0), PEOPLE) == []


def test_long_values_are_named_in_few_words() -> None:
    (problem,) = validate("x" * 10_000, {"type": "integer"})
    assert len(problem) < 80
    (problem,) = validate({"a": 1}, {"enum": list(range(100))})
    assert problem == "an object is not one of 0, 1, 2, 3, 4, ..."


def test_a_value_with_thousands_of_problems_names_the_first_twenty() -> None:
    found = validate(["x"] * 5_000, {"items": {"type": "integer"}})
    assert len(found) == MOST_PROBLEMS
    assert found[0] == "[0]: 'x' is not an integer"


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"not": {"$ref": "#"}},
        {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}},
    ],
)
def test_a_schema_that_refers_to_itself_without_end_is_a_problem(schema: Any) -> None:
    (problem,) = validate(1, schema)
    assert "refers to itself" in problem


def test_a_schema_that_doubles_the_work_at_each_level_ends() -> None:
    definitions = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(60)
    }
    (problem,) = validate(1, {"$ref": "#/$defs/d0", "$defs": {**definitions, "d60": True}})
    assert "cannot be checked" in problem


def test_a_value_nested_without_measure_is_a_problem() -> None:
    schema = {"items": {"$ref": "#"}}
    value: Any = []
    for _ in range(DEEPEST):
        value = [value]
    (problem,) = validate(value, schema)
    assert "cannot be checked" in problem
    assert validate([[[[]]]], schema) == []


def test_a_text_too_long_for_a_pattern_does_not_fit_and_is_told_so() -> None:
    schema = {"pattern": "^a+$"}
    assert validate("a" * LONGEST_FOR_PATTERN, schema) == []
    (problem,) = validate("a" * (LONGEST_FOR_PATTERN + 1), schema)
    assert problem.endswith("is longer than 2000 characters: its pattern is not tried")


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "^(\\w+\\s?)*$",
        "((x+)?y*)*z",
        "(?:a+|b)+c",
        "(a{1,20}){1,20}b",
        "x(?=(a+)+$)",
    ],
)
def test_a_pattern_that_could_take_endless_time_is_not_tried(pattern: str) -> None:
    assert compiled(pattern) is None
    assert validate("a" * 40, {"pattern": pattern}) != []


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+$",
        "^([a-z]+,)*[a-z]+$",
        "(ab?)+",
        "^\\d{4}-\\d{2}$",
        "^(a|b)*$",
        "([a-z]{1,63}\\.){1,5}",
    ],
)
def test_a_repeat_in_a_repeat_with_something_between_is_tried(pattern: str) -> None:
    assert compiled(pattern) is not None


def test_decimal_steps_are_counted_as_they_are_written() -> None:
    assert validate(0.3, {"multipleOf": 0.1}) == []
    assert validate(0.35, {"multipleOf": 0.1}) == ["0.35 is not a multiple of 0.1"]
    assert validate(1e300, {"multipleOf": 0.5}) == []


def test_references_may_be_escaped_and_go_into_lists() -> None:
    schema = {
        "$defs": {"a/b~ c": {"type": "string"}},
        "prefixItems": [{"$ref": "#/$defs/a~1b~0%20c"}, {"$ref": "#/prefixItems/0"}],
    }
    assert validate(["x", 1], schema) == ["[1]: 1 is not a string"]


def test_unknown_keywords_and_formats_are_not_enforced() -> None:
    assert validate("no", {"format": "date", "minContains": 3, "x-mine": {}}) == []


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-4, 4)
    | st.sampled_from([0.5, 1.0, -2.0, 2.5])
    | st.sampled_from(["", "a", "b", "ab", "aab"])
)
NAMES = st.sampled_from(["a", "b", "ab", "c d"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5])
COUNTS = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a", "b$", "a+b", "^$", "[ab]{2}", "(a|b)c?"])
REFERENCES = st.sampled_from(["#/$defs/one", "#/$defs/two", "#/$defs/two/items"])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    forms = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=4),
            "const": VALUES,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": forms,
            "anyOf": forms,
            "oneOf": forms,
            "allOf": forms,
            "not": inner,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "exclusiveMinimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "multipleOf": st.sampled_from([1, 2, 0.5, 3]),
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "pattern": PATTERNS,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "uniqueItems": st.booleans(),
            "minProperties": COUNTS,
            "maxProperties": COUNTS,
            "$ref": REFERENCES,
            "format": st.just("date"),
        },
    )


# The definitions refer to nothing, and "two" always has items: every reference leads somewhere.
DEFINITIONS = st.fixed_dictionaries(
    {
        "one": st.fixed_dictionaries({"type": TYPES}),
        "two": st.fixed_dictionaries({"items": st.fixed_dictionaries({"type": TYPES})}),
    }
)
SCHEMAS = st.builds(
    lambda schema, definitions: {**schema, "$defs": definitions},
    objects(st.recursive(st.booleans() | objects(st.booleans()), objects, max_leaves=4)),
    DEFINITIONS,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(schema=SCHEMAS, value=VALUES)
def test_it_finds_problems_where_jsonschema_does(schema: Any, value: Any) -> None:
    theirs = Draft202012Validator(schema).is_valid(value)
    assert (validate(value, schema) == []) is theirs, validate(value, schema)


# One keyword at a time: values and keyword meet more often than in whole schemas.
@settings(max_examples=300, deadline=None)
@given(
    word=st.sampled_from(
        ["enum", "const", "uniqueItems", "multipleOf", "items", "required", "properties"]
    ),
    draw=st.data(),
)
def test_each_keyword_alone_agrees_with_jsonschema(word: str, draw: Any) -> None:
    arguments = {
        "enum": st.lists(VALUES, min_size=1, max_size=4),
        "const": VALUES,
        "uniqueItems": st.just(True),
        "multipleOf": st.sampled_from([1, 2, 0.5, 3]),
        "items": st.fixed_dictionaries({"type": TYPES}),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "properties": st.dictionaries(NAMES, st.fixed_dictionaries({"type": TYPES}), max_size=3),
    }
    schema = {word: draw.draw(arguments[word])}
    value = draw.draw(VALUES)
    assert (validate(value, schema) == []) is Draft202012Validator(schema).is_valid(value)
