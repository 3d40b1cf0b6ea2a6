"""From types to JSON Schema, and from a model's text to typed objects."""

from __future__ import annotations

import enum
import json
import os
import pickle
import re
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pydantic
import pytest
import typing_extensions
from jsonschema import Draft202012Validator

from deluge_sync import CallError, ConfigError, OutputError
from deluge_sync.values.request import OutputFormat
from deluge_sync.values.schema import MOST_CHARACTERS, OutputSchema, output_schema, parsed

ROOT = Path(__file__).parent.parent


class Kind(enum.Enum):
    """What a place is."""

    CITY = "city"
    RIVER = "river"


@dataclass
class Point:
    """Where it is."""

    x: float
    y: float


@dataclass
class Place:
    """A place on a map."""

    name: Annotated[str, "as the people there write it"]
    kind: Kind
    founded: Optional[date]
    where: Point
    tags: set[str] = field(default_factory=set)
    score: float = field(default=0.5, metadata={"description": "0 to 1"})


PLACE = {
    "name": "Köln",
    "kind": "city",
    "founded": "0050-01-01",
    "where": {"x": 1, "y": 2.5},
    "tags": ["old", "old"],
    "score": None,
}


@dataclass
class Node:
    """One of a tree."""

    value: int
    children: list[Node]
    parent: Optional[Node] = None


class Movie(TypedDict):
    """A film."""

    title: str
    year: typing_extensions.NotRequired[int]


class Partial(typing_extensions.TypedDict, total=False):
    """Little of it is needed."""

    one: typing_extensions.Required[Annotated[int, "the first"]]
    two: Optional[str]


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int = pydantic.Field(ge=0)
    born: Optional[date] = None


class StrictPerson(pydantic.BaseModel):
    """Somebody, told exactly."""

    model_config = pydantic.ConfigDict(strict=True)
    born: date


class Tree(pydantic.BaseModel):
    """A tree."""

    left: Optional[Tree] = None


UserId = NewType("UserId", int)


def schema_of(hint: Any) -> dict[str, Any]:
    schema = dict(output_schema(hint).schema)
    Draft202012Validator.check_schema(schema)
    return schema


def answer(value: Any, source: Any) -> Any:
    return parsed(json.dumps(value), output_schema(source))


def test_a_dataclass_is_a_closed_object_with_all_its_fields_required() -> None:
    assert schema_of(Place) == {
        "description": "A place on a map.",
        "type": "object",
        "properties": {
            "name": {"description": "as the people there write it", "type": "string"},
            "kind": {"type": "string", "enum": ["city", "river"]},
            "founded": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "where": {"$ref": "#/$defs/Point"},
            "tags": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]
            },
            "score": {"description": "0 to 1", "anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["name", "kind", "founded", "where", "tags", "score"],
        "additionalProperties": False,
        "$defs": {
            "Point": {
                "description": "Where it is.",
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                "required": ["x", "y"],
                "additionalProperties": False,
            }
        },
    }  # fmt: skip


def test_an_answer_is_the_dataclass_with_all_that_is_in_it() -> None:
    place = answer(PLACE, Place)
    assert place == Place("Köln", Kind.CITY, date(50, 1, 1), Point(1.0, 2.5), {"old"}, 0.5)
    assert type(place.where.x) is float


def test_a_field_with_a_default_may_be_null_or_left_out() -> None:
    short = {name: PLACE[name] for name in ("name", "kind", "founded", "where")}
    assert answer(short, Place).tags == set()
    assert answer({**short, "tags": None}, Place).score == 0.5


def test_an_optional_field_without_a_default_may_be_null_but_not_left_out() -> None:
    assert answer({**PLACE, "founded": None}, Place).founded is None
    with pytest.raises(OutputError, match="founded: is missing"):
        answer({name: PLACE[name] for name in PLACE if name != "founded"}, Place)


def test_a_class_that_holds_itself_refers_to_the_root() -> None:
    schema = schema_of(Node)
    assert schema["properties"]["children"] == {"type": "array", "items": {"$ref": "#"}}
    tree = answer({"value": 1, "children": [{"value": 2, "children": []}]}, Node)
    assert tree == Node(1, [Node(2, [])])


def test_a_class_used_in_a_list_is_a_definition_that_may_hold_itself() -> None:
    schema = schema_of(list[Node])
    assert schema["items"] == {"$ref": "#/$defs/Node"}
    assert schema["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert answer([{"value": 1, "children": []}], list[Node]) == [Node(1, [])]


def test_a_typed_dict_is_a_dict_without_what_was_null() -> None:
    schema = schema_of(Movie)
    assert schema["required"] == ["title", "year"]
    assert schema["properties"]["year"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert answer({"title": "M", "year": None}, Movie) == {"title": "M"}
    assert answer({"title": "M"}, Movie) == {"title": "M"}
    assert answer({"title": "M", "year": 1931.0}, Movie) == {"title": "M", "year": 1931}


def test_required_and_not_required_hold_whatever_total_says() -> None:
    assert schema_of(Partial)["properties"]["one"] == {
        "description": "the first",
        "type": "integer",
    }
    assert answer({"one": 1, "two": None}, Partial) == {"one": 1, "two": None}
    with pytest.raises(OutputError, match="one: is missing"):
        answer({"two": "x"}, Partial)


@pytest.mark.parametrize(
    ("hint", "schema", "value", "typed"),
    [
        (int, {"type": "integer"}, 1.0, 1),
        (float, {"type": "number"}, 1, 1.0),
        (bool, {"type": "boolean"}, True, True),
        (None, {"type": "null"}, None, None),
        (Any, {}, {"a": [1]}, {"a": [1]}),
        (UserId, {"type": "integer"}, 7, 7),
        (list, {"type": "array", "items": {}}, [1, "x"], [1, "x"]),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
        (
            frozenset[int],
            {"type": "array", "items": {"type": "integer"}},
            [1, 1],
            frozenset({1}),
        ),
        (
            dict[str, float],
            {"type": "object", "additionalProperties": {"type": "number"}},
            {"a": 1},
            {"a": 1.0},
        ),
        (
            Mapping[str, set[int]],
            {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "integer"}},
            },
            {"a": [1]},
            {"a": {1}},
        ),
        (
            tuple[int, ...],
            {"type": "array", "items": {"type": "integer"}},
            [1, 2],
            (1, 2),
        ),
        (
            tuple[float, float],
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            [1, 2],
            (1.0, 2.0),
        ),
        (
            tuple[date, int],
            {
                "type": "array",
                "prefixItems": [{"type": "string", "format": "date"}, {"type": "integer"}],
                "minItems": 2,
                "maxItems": 2,
            },
            ["2020-02-03", 1],
            (date(2020, 2, 3), 1),
        ),
        (
            Literal["a", 1, None],
            {
                "anyOf": [
                    {"type": "string", "enum": ["a"]},
                    {"type": "integer", "enum": [1]},
                    {"type": "null"},
                ]
            },
            1,
            1,
        ),
        (Literal[Kind.CITY], {"type": "string", "enum": ["city"]}, "city", Kind.CITY),
        (
            Union[date, str],
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "string"}]},
            "soon",
            "soon",
        ),
        (
            Optional[Union[int, list[Kind]]],
            {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "array", "items": {"type": "string", "enum": ["city", "river"]}},
                    {"type": "null"},
                ]
            },
            ["river"],
            [Kind.RIVER],
        ),
        (
            datetime,
            {"type": "string", "format": "date-time"},
            "2020-02-03T04:05:06.7Z",
            datetime(2020, 2, 3, 4, 5, 6, 700_000, timezone.utc),
        ),
        (time, {"type": "string", "format": "time"}, "04:05", time(4, 5)),
    ],
)
def test_each_type_has_its_schema_and_comes_back(
    hint: Any, schema: Any, value: Any, typed: Any
) -> None:
    assert schema_of(hint) == schema
    made = answer(value, hint)
    assert made == typed
    assert type(made) is type(typed)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="X | Y is of Python 3.10")
def test_a_bar_is_a_union() -> None:
    assert schema_of(eval("int | None")) == schema_of(Optional[int])


def test_a_union_of_classes_takes_the_one_that_fits() -> None:
    hint = list[Union[Point, Movie, int]]
    assert answer([{"title": "M"}, {"x": 1, "y": 2}, 3], hint) == [
        {"title": "M"},
        Point(1.0, 2.0),
        3,
    ]


def test_a_description_beside_a_reference_stands_around_it() -> None:
    @dataclass
    class Trip:
        start: Annotated[Point, "where it begins"]

    Trip.__annotations__["start"] = Annotated[Point, "where it begins"]
    assert schema_of(Trip)["properties"]["start"] == {
        "description": "where it begins",
        "anyOf": [{"$ref": "#/$defs/Point"}],
    }


def test_two_classes_of_one_name_are_two_definitions() -> None:
    def other() -> type:
        @dataclass
        class Point:
            z: int

        Point.__annotations__["z"] = int
        return Point

    schema = schema_of(tuple[Point, other()])
    assert list(schema["$defs"]) == ["Point", "Point_2"]


def test_pydantic_says_what_its_models_look_like_and_judges_answers_itself() -> None:
    schema = output_schema(Person)
    assert schema.schema == Person.model_json_schema()
    assert schema.name == "Person"
    made = parsed('{"name": "Ada", "age": 36, "born": "1815-12-10"}', schema)
    assert made == Person(name="Ada", age=36, born=date(1815, 12, 10))
    with pytest.raises(OutputError, match="age: Input should be greater than or equal to 0"):
        parsed('{"name": "Ada", "age": -1}', schema)


def test_a_strict_pydantic_model_takes_dates_as_json_has_them() -> None:
    assert answer({"born": "1815-12-10"}, StrictPerson) == StrictPerson(born=date(1815, 12, 10))


def test_pydantic_models_may_be_inside_of_other_types() -> None:
    @dataclass
    class Team:
        people: list[Person]

    Team.__annotations__["people"] = list[Person]
    made = answer({"people": [{"name": "Ada", "age": 1}]}, Team)
    assert made.people == [Person(name="Ada", age=1)]
    assert answer([{"left": {"left": None}}], list[Tree]) == [Tree(left=Tree())]


def test_a_json_schema_is_taken_as_it_is_and_gives_what_the_json_says() -> None:
    source = {"title": "My place!", "type": "object", "properties": {"a": {"type": "integer"}}}
    schema = output_schema(source)
    assert (schema.schema, schema.name) == (source, "My_place")
    source["type"] = "array"
    assert schema.schema["type"] == "object"
    assert parsed('{"a": 1, "b": 2}', schema) == {"a": 1, "b": 2}
    with pytest.raises(OutputError, match="a: 'x' is not an integer"):
        parsed('{"a": "x"}', schema)


def test_it_becomes_the_output_format_of_a_request_and_can_be_sent_to_processes() -> None:
    schema = output_schema(Place)
    assert schema.output_format(strict=False) == OutputFormat(schema.schema, "Place", False)
    assert output_schema(schema) is schema
    assert pickle.loads(pickle.dumps(schema)) == schema
    assert isinstance(schema, OutputSchema)


class Opaque:
    """Not for JSON."""


def record(**hints: Any) -> Any:
    return TypedDict("Thing", hints)  # type: ignore[misc, operator]


Generic = typing.TypeVar("Generic")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Opaque, "Opaque: JSON has no form"),
        (Place("", Kind.CITY, None, Point(0, 0)), "give the class Place itself"),
        (record(a=record(b=list[bytes])), r"Thing.b\[\]: JSON has no form for <class 'bytes'>"),
        (record(a=dict[int, str]), r"Thing.a: .* make it dict\[str, ...\]"),
        (record(a=timedelta), "Thing.a: JSON has no form"),
        (record(a=tuple[()]), "Thing.a: a tuple without members"),
        (record(a=tuple), "Thing.a: JSON has no form"),
        (record(a=Literal[b"x"]), "Thing.a: b'x' is no value of JSON"),
        (record(a=Generic), "Thing.a: .* a generic class is not taken apart"),
        (record(a="Nowhere"), "Thing: a type of its fields cannot be found"),
        (list["Place"], "name the class itself"),
        (record(), "Thing: has no fields"),
        ({"type": "strnig"}, "schema.type: must be one of null, boolean"),
        ({"properties": {"a": {"$ref": "#/$defs/B"}}}, r"schema.properties.a.\$ref: .*no '\$defs'"),
        ({"$ref": "https://example.org/x"}, "outside of this schema"),
        ({"items": [{"type": "string"}]}, "'prefixItems' since draft 2020-12"),
        ({"items": {"pattern": "("}}, "schema.items.pattern: must be a regular expression"),
        ({"required": "name"}, "schema.required: must be a list of names"),
        ({"properties": {"a": "string"}}, "schema.properties.a: a schema is an object"),
        ({"enum": [{1, 2}]}, r"schema.enum\[0\]: JSON has no set"),
        ({"minimum": float("nan")}, "schema.minimum: JSON has no float"),
        ({"maxLength": -1}, "schema.maxLength: must be a number of 0 or more"),
        (7, "JSON has no form for 7"),
    ],
)
def test_what_cannot_be_asked_for_is_named_with_its_place(source: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        output_schema(source)


def test_a_schema_that_holds_itself_in_python_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["items"] = schema
    with pytest.raises(ConfigError, match="holds itself"):
        output_schema(schema)


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "M"}',
        ' \n{"title": "M"}\n',
        '```json\n{"title": "M"}\n```',
        '```\n{"title": "M"}\n```\n',
        '```json {"title": "M"}```',
        '\ufeff{"title": "M"}',
    ],
)
def test_a_fence_and_space_around_the_json_are_taken_off(text: str) -> None:
    assert parsed(text, output_schema(Movie)) == {"title": "M"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the answer is empty"),
        ("``````", "the answer is empty"),
        ("Sure! Here it is.", "not JSON: Expecting value"),
        ('{"title": "M"} I hope this helps', "goes on after its JSON .*'I hope this helps'"),
        ('{"title": "M"}{"title": "M"}', "goes on after its JSON"),
        ('```json\n{"title": "M"}\n```\nDone.', "not JSON"),
        ('{"title": "M"', "it breaks off"),
        ('{"title": "M', "not JSON"),
        ('{"title": "M", "title": "N"}', "the key 'title' occurs twice"),
        ('{"year": NaN}', "NaN is not a number"),
        ('{"year": -Infinity}', "-Infinity is not a number"),
        ('{"year": 1e999}', "1e999 is too large"),
        ("[" * 100_000, "nested too deep"),
        ('{"year": ' + "9" * 5_000 + "}", "not JSON|does not fit"),
        ("null", "null is not an object"),
    ],
)
def test_what_is_not_the_json_that_was_asked_for_is_an_output_error(text: str, words: str) -> None:
    with pytest.raises(OutputError, match=words) as caught:
        parsed(text, output_schema(Movie))
    assert len(caught.value.message) <= MOST_CHARACTERS


def test_without_a_schema_any_object_will_do_and_nothing_else() -> None:
    assert parsed('{"a": [1, {}]}', None) == {"a": [1, {}]}
    with pytest.raises(OutputError, match="not an object"):
        parsed("[1]", None)


def test_half_a_surrogate_pair_becomes_something_that_can_be_stored() -> None:
    assert parsed('{"title": "\\ud83d"}', output_schema(Movie))["title"].encode("utf-8") == b"?"


def test_an_output_error_names_the_first_problems_in_500_characters_and_keeps_them_all() -> None:
    with pytest.raises(OutputError) as caught:
        answer([{"x": "much" * 20, "y": "more" * 20}] * 9, list[Point])
    error = caught.value
    assert len(error.message) <= MOST_CHARACTERS
    assert error.message.startswith("the answer does not fit answer: [0].x: 'muchmuch")
    assert error.message.endswith("more")
    assert len(error.problems) == 18
    assert (error.kind, error.retryable) == ("output", False)
    assert isinstance(error, CallError)
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_what_a_class_refuses_itself_is_an_output_error_with_its_place() -> None:
    @dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            assert self.number % 2 == 0, "it is odd"

    Even.__annotations__["number"] = int
    with pytest.raises(OutputError, match=r"\[1\]: it is odd"):
        answer([{"number": 2}, {"number": 3}], list[Even])
    with pytest.raises(OutputError, match="'32nd of May': "):
        answer("32nd of May", date)


def test_the_page_on_structured_output_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "structured-output.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    script = tmp_path / "page.py"
    script.write_text(code.replace("gpt-4.1-mini", "sandbox/echo"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
