"""What each vendor takes of JSON Schema, by its documents and its SDK."""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, Optional, Union

import anthropic
import pydantic
import pytest
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.lib._pydantic import to_strict_json_schema

from deluge_sync.adapters.schemas import (
    anthropic_problem,
    anthropic_refuses,
    closed,
    gemini_problem,
    openai_refuses,
    softened,
    strict_problem,
)
from deluge_sync.values.schema import output_schema

from .test_validation import DEFINITIONS, NAMES, SCALARS, TYPES, VALUES

STRING = {"type": "string"}


def thing(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


class Color(enum.Enum):
    """A color."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Corner:
    """Where two walls meet."""

    at: tuple[float, float]
    angle: Optional[float] = None


@dataclass
class House:
    """A house."""

    name: Annotated[str, "as on the door"]
    color: Color
    built: date
    kind: Literal["flat", "hut", 3, None]
    corners: list[Corner]
    first: Annotated[Corner, "the one to begin with"]
    owner: Union[str, int, None] = None
    tags: set[str] = field(default_factory=set)


class Cat(pydantic.BaseModel):
    """It purrs."""

    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    """It barks."""

    kind: Literal["dog"] = "dog"


class Home(pydantic.BaseModel):
    """Who lives there."""

    street: str = pydantic.Field(min_length=1, description="no number")
    number: int = pydantic.Field(ge=1, lt=1000)
    site: pydantic.HttpUrl
    pet: Union[Cat, Dog] = pydantic.Field(discriminator="kind")
    color: Color = pydantic.Field(default=Color.RED, description="of the door")
    rooms: list[str] = pydantic.Field(min_length=2)
    note: Optional[str] = None


class Tree(pydantic.BaseModel):
    """It holds itself."""

    name: str
    left: Optional[Tree] = None


def test_what_we_make_of_types_fits_every_vendor_as_it_is() -> None:
    schema = output_schema(House).schema
    assert strict_problem(schema) is None
    assert gemini_problem(schema) is None
    assert closed(schema) == schema
    two_items = "schema.$defs.Corner.properties.at: 'minItems' with 2 is not taken"
    assert str(anthropic_problem(schema)).startswith(two_items)
    assert anthropic_problem(softened(schema, anthropic_refuses)) is None


def test_a_pydantic_model_fits_when_closed_and_softened() -> None:
    schema = Home.model_json_schema()
    assert "'minLength' is not taken" in str(strict_problem(closed(schema)))
    for refuses, problem in (
        (openai_refuses, strict_problem),
        (anthropic_refuses, anthropic_problem),
        (lambda word, argument: False, gemini_problem),
    ):
        form = closed(softened(schema, refuses))
        Draft202012Validator.check_schema(form)
        assert problem(form) is None


def test_a_model_that_holds_itself_is_an_object_once_it_is_closed() -> None:
    schema = Tree.model_json_schema()
    assert "$ref" in schema
    assert str(strict_problem(schema)).startswith("schema: the whole must be an object")
    assert strict_problem(closed(schema)) is None


def test_what_the_sdks_make_of_models_has_no_problem() -> None:
    class Plain(pydantic.BaseModel):
        cat: Cat
        color: Color
        many: list[Optional[int]]

    assert strict_problem(to_strict_json_schema(Plain)) is None
    assert anthropic_problem(anthropic.transform_schema(Home)) is None
    assert strict_problem(to_strict_json_schema(Tree)) is None


def test_bounds_are_told_as_anthropics_sdk_tells_them() -> None:
    bounds = {"minimum": 1, "maximum": 10}
    schema = thing(
        a={"type": "integer", "description": "A number", **bounds},
        b={"type": "array", "items": STRING, "minItems": 2, "maxItems": 3},
        c={"type": "string", "format": "color", "minLength": 1},
        d={"type": "array", "items": STRING, "minItems": 1},
    )
    ours = softened(schema, anthropic_refuses)
    theirs = anthropic.transform_schema(copy.deepcopy(schema))
    assert ours["properties"]["a"] == theirs["properties"]["a"]
    assert ours["properties"]["a"]["description"] == "A number\n\n{minimum: 1, maximum: 10}"
    assert ours["properties"]["b"].keys() == theirs["properties"]["b"].keys()
    assert ours["properties"]["c"]["description"] == '{format: "color", minLength: 1}'
    assert ours["properties"]["d"] == schema["properties"]["d"]


def test_googles_types_take_what_we_send() -> None:
    schema = output_schema(House).schema
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=schema
    )
    assert config.response_json_schema == schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array", "items": STRING}, "schema: the whole must be an object"),
        ({"anyOf": [thing(a=STRING)]}, "schema: the whole must be an object"),
        ({"type": "object", "properties": {}}, "schema: an object must have 'additionalProp"),
        (
            {**thing(a=STRING), "required": []},
            "schema: all fields must be in 'required', and 'a' is not",
        ),
        (thing(a={"description": "x"}), "schema.properties.a: says nothing of the value"),
        (thing(a={}), "schema.properties.a: says nothing of the value"),
        (thing(a=True), "schema.properties.a: true and false"),
        (thing(a={"oneOf": [STRING]}), "schema.properties.a: 'oneOf' is not taken; write anyOf"),
        (thing(a={"allOf": [STRING]}), "schema.properties.a: 'allOf' is not taken"),
        (thing(a={**STRING, "not": STRING}), "schema.properties.a: 'not' is not taken"),
        (thing(a={**STRING, "format": "uri"}), "schema.properties.a: the format 'uri'"),
        (thing(a={**STRING, "maxLength": 3}), "schema.properties.a: 'maxLength' is not taken"),
        (thing(a={"type": "array"}), "schema.properties.a: an array must say"),
        (
            thing(a={"type": "array", "items": {"type": ["object", "null"]}}),
            "schema.properties.a.items: an object must have",
        ),
        (
            thing(a={"type": "object", "additionalProperties": STRING}),
            "schema.properties.a: an object must have 'additionalProperties': False; for a dict",
        ),
        (
            {**thing(a={"$ref": "#/$defs/b", "description": "x"}), "$defs": {"b": STRING}},
            "schema.properties.a: beside '$ref' nothing else",
        ),
        (
            {**thing(a=STRING), "$defs": {"b": {"type": "object"}}},
            "schema.$defs.b: an object must have",
        ),
        (
            thing(**{f"a{number}": STRING for number in range(5_001)}),
            "schema: 5,001 fields, where at most 5,000",
        ),
        (
            thing(a={**STRING, "enum": [str(number) for number in range(1_001)]}),
            "schema: 1,001 values in enums",
        ),
        (
            thing(a={**STRING, "enum": [f"{number:100}" for number in range(251)]}),
            "schema.properties.a: an enum of more than 250 values may have 15,000 characters",
        ),
        (
            thing(**{f"{number:1000}": STRING for number in range(121)}),
            "schema: 121,000 characters in names",
        ),
    ],
)
def test_openais_strict_mode_refuses(schema: Any, problem: str) -> None:
    assert str(strict_problem(schema)).startswith(problem)


def nested(levels: int) -> dict[str, Any]:
    schema = thing(a=STRING)
    for _ in range(levels - 1):
        schema = thing(a=schema)
    return schema


def test_ten_objects_may_be_in_one_another_and_not_eleven() -> None:
    assert strict_problem(nested(10)) is None
    assert "more than 10 objects" in str(strict_problem(nested(11)))


LOOP = {**thing(next={"$ref": "#"}), "required": []}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (LOOP, "schema.properties.next: is recursive, which is not taken"),
        (thing(a={"type": "integer", "minimum": 0}), "schema.properties.a: 'minimum' with 0"),
        (thing(a={**STRING, "pattern": r"^(?=a)"}), "schema.properties.a: 'pattern' with"),
        (thing(a={"type": "array", "maxItems": 3}), "schema.properties.a: 'maxItems' with 3"),
        (thing(a={"enum": [[1]]}), "schema.properties.a: only texts, numbers"),
        ({"type": "object"}, "schema: an object must have"),
        (
            {**thing(a={"allOf": [{"$ref": "#/$defs/b"}]}), "$defs": {"b": STRING}},
            "schema.properties.a: 'allOf' with '$ref'",
        ),
        (
            {**thing(**{f"a{number}": STRING for number in range(25)}), "required": []},
            "schema: 25 fields that are not required, where at most 24",
        ),
        (
            thing(**{f"a{number}": {"type": ["string", "null"]} for number in range(17)}),
            "schema: 17 unions",
        ),
    ],
)
def test_anthropic_refuses(schema: Any, problem: str) -> None:
    assert str(anthropic_problem(schema)).startswith(problem)


def test_anthropic_takes_simple_bounds_and_an_array_at_the_top() -> None:
    items = thing(a={**STRING, "pattern": "^a+$", "format": "uri"})
    assert anthropic_problem({"type": "array", "minItems": 1, "items": items}) is None


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (thing(next={"$ref": "#"}), "schema.properties.next: is recursive, which is taken only"),
        (
            {
                **thing(a={"type": "array", "items": {"$ref": "#/$defs/b"}}),
                "$defs": {"b": thing(c={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]})},
            },
            "schema.properties.a.items.properties.c.anyOf[1]: is recursive",
        ),
        (thing(a={"$ref": "#/$defs/b", "description": "x"}), "schema.properties.a: beside '$ref'"),
        (thing(a={"enum": ["a", None]}), "schema.properties.a: an enum may list"),
    ],
)
def test_gemini_refuses(schema: Any, problem: str) -> None:
    assert str(gemini_problem({"$defs": {"b": STRING}, **schema})).startswith(problem)


def test_gemini_takes_recursion_in_a_field_that_is_not_required() -> None:
    assert gemini_problem(LOOP) is None


def test_a_field_that_must_be_made_up_does_not_become_required() -> None:
    schema = {"type": "object", "properties": {"a": STRING, "b": {**STRING, "default": "x"}}}
    assert closed(schema) == {
        "type": "object",
        "properties": {"a": STRING, "b": STRING},
        "required": ["b"],
        "additionalProperties": False,
    }
    assert "'a' is not" in str(strict_problem(closed(schema)))


def test_closing_leaves_what_says_something_of_other_objects() -> None:
    open_object = {"type": "object", "properties": {"a": STRING}}
    for schema in (
        {"allOf": [open_object, {"type": "object", "properties": {"b": STRING}}]},
        {"not": open_object},
        {"oneOf": [open_object, {"type": "object"}]},
    ):
        assert closed(schema) == schema


def test_closing_changes_a_copy() -> None:
    schema = Home.model_json_schema()
    before = copy.deepcopy(schema)
    closed(softened(schema, openai_refuses))
    assert schema == before


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas as people write them: with what closing looks at."""
    forms = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": forms,
            "oneOf": forms,
            "allOf": forms,
            "enum": st.lists(SCALARS, min_size=1, max_size=3),
            "const": SCALARS,
            "default": SCALARS,
            "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two", "#/$defs/two/items"]),
            "description": st.just("x"),
            "discriminator": st.just({"propertyName": "a"}),
        },
    )


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    schema=objects(st.recursive(st.booleans() | objects(st.booleans()), objects, max_leaves=4)),
    definitions=DEFINITIONS,
    value=VALUES,
)
def test_whatever_fits_the_closed_schema_fits_the_schema(
    schema: Any, definitions: Any, value: Any
) -> None:
    schema = {**schema, "$defs": definitions}
    if Draft202012Validator(closed(schema)).is_valid(value):
        assert Draft202012Validator(schema).is_valid(value)
    for problem in (strict_problem, anthropic_problem, gemini_problem):
        problem(schema)
        problem(closed(softened(schema, openai_refuses)))
