"""The sandbox answers with JSON that fits the schema it was asked for."""

from __future__ import annotations

import json

import pytest

from deluge_sync.testing import Sandbox
from deluge_sync.testing.instances import instance

from .test_sandbox_sdks import openai_client

TREE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}, "minItems": 0},
        "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "children", "parent"],
    "additionalProperties": False,
}
SCHEMAS = [
    {},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": ["string", "null"]},
    {"type": ["null", "string"]},
    {"enum": ["red", "green"]},
    {"const": {"a": [1]}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}},
    {"type": "string", "minLength": 9, "maxLength": 12},
    {"type": "string", "maxLength": 2},
    {"type": "integer", "minimum": 3, "maximum": 4},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "maximum": -3},
    {"type": "integer", "multipleOf": 7, "minimum": 8},
    {"type": "number", "minimum": 0.2, "maximum": 0.4},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "exclusiveMinimum": 0.5},
    {"type": "number", "multipleOf": 0.5},
    {"type": "boolean"},
    {"type": "null"},
    {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string"}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"properties": {"a": {"type": "integer"}}, "allOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"$defs": {"id": {"type": "integer"}}, "$ref": "#/$defs/id"},
    {"$defs": {"a/b": {"type": "integer"}}, "allOf": [{"$ref": "#/$defs/a~1b"}, {"minimum": 4}]},
    *({"type": "string", "format": name} for name in ("date", "email", "ipv4", "ipv6", "uuid")),
    TREE,
    {"$defs": {"tree": {**TREE, "properties": {}, "required": []}}, "$ref": "#/$defs/tree"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_what_it_makes_fits_the_schema(schema):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(instance(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/none"},
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
    ids=json.dumps,
)
def test_a_schema_that_nothing_fits_is_said_to_be_one(schema):
    with pytest.raises(ValueError, match="schema"):
        instance(schema)


def chat(sandbox: Sandbox, wanted: object, prompt: str = "Some JSON", **more: object):
    messages = [{"role": "user", "content": prompt}]
    client = openai_client(sandbox)
    return client.chat.completions.create(
        model="echo", messages=messages, response_format=wanted, **more
    )


STRICT = {**SCHEMAS[1], "additionalProperties": False}


def wanting(schema: object, strict: bool = True) -> object:
    held = {"name": "it", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": held}


def test_a_schema_is_answered_with_a_value_that_fits(sandbox):
    answer = chat(sandbox, wanting(STRICT))
    assert json.loads(answer.choices[0].message.content) == {"a": 1}


def test_json_mode_is_answered_with_an_object_of_the_prompt(sandbox):
    answer = chat(sandbox, {"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"answer": "Some JSON"}


def test_json_mode_wants_the_word_in_a_message(sandbox):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        chat(sandbox, {"type": "json_object"}, "Anything")


def test_what_it_was_told_to_say_goes_before_the_schema():
    with Sandbox(answer="No JSON.") as sandbox:
        assert chat(sandbox, wanting(STRICT)).choices[0].message.content == "No JSON."


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties' is required"),
        ({**STRICT, "required": []}, "Missing 'a'"),
        ({"type": "array", "items": {}}, "must be a JSON Schema of 'type: \"object\"'"),
        (
            {**STRICT, "properties": {"a": {"type": "array", "items": {"type": "object"}}}},
            "'items'",
        ),
    ],
)
def test_strict_mode_refuses_what_the_vendors_does(sandbox, schema, problem):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError) as caught:
        chat(sandbox, wanting(schema))
    body = caught.value.body
    message = body.get("error", body)["message"]  # older SDKs keep the whole body
    assert message.startswith("Invalid schema for response_format 'it': ")
    assert problem in message
    assert chat(sandbox, wanting(schema, strict=False))


def test_the_sdk_parses_a_pydantic_model_out_of_it(sandbox):
    pydantic = pytest.importorskip("pydantic")

    class Place(pydantic.BaseModel):
        city: str
        people: int

    answer = openai_client(sandbox).chat.completions.parse(
        model="echo", messages=[{"role": "user", "content": "Hi"}], response_format=Place
    )
    assert answer.choices[0].message.parsed == Place(city="text", people=1)
