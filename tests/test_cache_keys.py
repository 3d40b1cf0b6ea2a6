"""The cache's keys: whatever changes what is sent changes the key, and nothing else does."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync import Conversation, Message, SamplingParams, Text, ToolCall, ToolResult
from deluge_sync.adapters import ADAPTERS
from deluge_sync.cache import TRACING, KeySpace, owner_of
from deluge_sync.catalog import load_catalog, located
from deluge_sync.values.model import Model
from deluge_sync.values.request import Request
from deluge_sync.values.secret import Secret
from deluge_sync.values.wire import HttpRequest

CATALOG = load_catalog(None)
MODELS = [
    located(CATALOG.model(name))
    for name in ("gpt-4.1-mini", "gpt-5.5", "claude-haiku-4-5", "gemini-3.5-flash", "mistral-small")
]
SPACE = KeySpace(owner="somebody", base_url="https://api.example", server="https://api.example")
PIXELS = bytes(range(256))

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
schemas = st.dictionaries(
    texts, st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": [1, 2]}]), max_size=3
)


def image(pixels: bytes) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(pixels).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def body_of(schema: Mapping[str, Any], pixels: bytes) -> dict[str, Any]:
    """What users put into `extra_body`: tools, schemas, pictures."""
    parameters = {"type": "object", "properties": dict(schema)}
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    return {
        "tools": [tool],
        "response_format": {"type": "json_schema", "json_schema": {"schema": parameters}},
        "attachments": [image(pixels)],
    }


conversations = st.builds(
    lambda system, user, answer, result, last: Conversation(
        (
            Message.system(system),
            Message.user(user),
            Message("assistant", (Text(answer), ToolCall("call_1", "look", {"at": user}))),
            Message("tool", (ToolResult("call_1", result, "look"),)),
            Message.user(last),
        )
    ),
    texts, texts, texts, texts, texts,
)  # fmt: skip
params = st.builds(
    SamplingParams,
    temperature=st.floats(0, 1),
    top_p=st.floats(0, 1),
    top_k=st.integers(1, 50),
    max_new_tokens=st.integers(1, 500),
    stop=st.lists(texts, min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**31),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logprobs=st.just(True),
    top_logprobs=st.integers(1, 20),
    reasoning_effort=st.sampled_from(["low", "medium", "high"]),
    thinking_budget=st.integers(1_024, 4_096),
    verbosity=st.sampled_from(["low", "high"]),
)
requests = st.builds(
    lambda *fields: Request(*fields),  # else Hypothesis makes up the fields with defaults, too
    conversations,
    params,
    st.builds(body_of, schemas, st.binary(min_size=1, max_size=40)),
    st.dictionaries(st.sampled_from(["anthropic-beta", "openai-project", "x-any"]), st.just("v1")),
)


def wire(request: Request, model: Model) -> HttpRequest:
    """What the client would send."""
    accepted, _ = model.accepts(request.params)
    adapter = ADAPTERS[model.provider.adapter]
    accepted = accepted.without(adapter.UNSUPPORTED.intersection(accepted.given()))
    return adapter.encode(request._replace(params=accepted), model)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(requests, min_size=2, max_size=2),
    st.lists(st.sampled_from(MODELS), min_size=2, max_size=2),
)
def test_two_requests_share_a_key_only_if_the_same_would_be_sent(
    pair: list[Request], models: list[Model]
) -> None:
    first, second = (wire(request, model) for request, model in zip(pair, models))
    same = _without_order_of_headers(first) == _without_order_of_headers(second)
    assert (SPACE.key(first) == SPACE.key(second)) == same


def _without_order_of_headers(request: HttpRequest) -> HttpRequest:
    return request._replace(headers=tuple(sorted(request.headers)))


def _set(path: str, value: Any) -> Callable[[Request], Request]:
    def change(request: Request) -> Request:
        name, _, inner = path.partition(".")
        changes = {inner: value}
        new = dataclasses.replace(getattr(request, name), **changes) if inner else value
        return request._replace(**{name: new})

    return change


BASE = Request(
    Conversation().system("Be brief.").user("What is this?"),
    SamplingParams(temperature=0.5),
    body_of({"name": {"type": "string"}}, PIXELS),
    {"x-any": "v1"},
)
PARAMETERS = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 4,
    "max_new_tokens": 77,
    "stop": ("END",),
    "seed": 7,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logprobs": True,
    "top_logprobs": 3,
    "reasoning_effort": "low",
    "thinking_budget": 2_048,
    "verbosity": "high",
    "service_tier": "auto",
}


def test_every_parameter_there_is_is_tried() -> None:
    assert set(PARAMETERS) == {field.name for field in dataclasses.fields(SamplingParams)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_that_is_sent_changes_the_key(name: str) -> None:
    changed = _set(f"params.{name}", PARAMETERS[name])(BASE)
    sent = [(wire(BASE, model), wire(changed, model)) for model in MODELS]
    told = [before != after for before, after in sent]
    assert any(told), f"no model sends {name}"
    assert told == [SPACE.key(before) != SPACE.key(after) for before, after in sent]


@pytest.mark.parametrize(
    "change",
    [
        _set("conversation", Conversation().system("Be brief!").user("What is this?")),
        _set("conversation", Conversation().user("Be brief.").user("What is this?")),
        _set("conversation", Conversation().system("Be brief.").user("What is this? ")),
        _set("conversation", Conversation().system("Be brief.").user("what is this?")),
        _set("extra_body", body_of({"name": {"type": "integer"}}, PIXELS)),
        _set("extra_body", body_of({"Name": {"type": "string"}}, PIXELS)),
        _set("extra_body", {}),
        _set("extra_headers", {"x-any": "v2"}),
        _set("extra_headers", {"x-other": "v1"}),
    ],
    ids=[
        "system",
        "role",
        "space",
        "case",
        "schema",
        "field",
        "no tools",
        "header",
        "other header",
    ],
)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_other_change_of_a_request_changes_the_key(
    model: Model, change: Callable[[Request], Request]
) -> None:
    assert SPACE.key(wire(BASE, model)) != SPACE.key(wire(change(BASE), model))


def test_a_picture_counts_byte_by_byte() -> None:
    keys = set()
    for position in range(len(PIXELS)):
        pixels = bytearray(PIXELS)
        pixels[position] ^= 1
        changed = _set("extra_body", body_of({"name": {"type": "string"}}, bytes(pixels)))(BASE)
        keys.add(SPACE.key(wire(changed, MODELS[0])))
    assert len(keys | {SPACE.key(wire(BASE, MODELS[0]))}) == len(PIXELS) + 1


def test_the_order_of_a_schemas_fields_counts_because_models_follow_it() -> None:
    one, other = ({"a": {}, "b": {}}, {"b": {}, "a": {}})
    first, second = (_set("extra_body", body_of(schema, b"x"))(BASE) for schema in (one, other))
    assert SPACE.key(wire(first, MODELS[0])) != SPACE.key(wire(second, MODELS[0]))


def test_model_provider_server_owner_and_salt_change_the_key() -> None:
    mini = MODELS[0]
    elsewhere = dataclasses.replace(
        mini, provider=dataclasses.replace(mini.provider, base_url="https://elsewhere.example/v1")
    )
    spaces = [SPACE._replace(owner=owner) for owner in ("", "else")]
    keys = [
        *(SPACE.key(wire(BASE, model)) for model in (*MODELS, elsewhere)),
        *(space.key(wire(BASE, mini)) for space in spaces),
        *(SPACE.key(wire(BASE, mini), salt) for salt in ("1", "2")),
    ]
    assert len(set(keys)) == len(keys)


@given(texts, texts, texts, texts)
def test_texts_cannot_be_shifted_between_the_fields_of_a_key(
    url: str, shifted: str, body: str, salt: str
) -> None:
    def key(url: str, body: str, salt: str) -> str:
        return SPACE.key(HttpRequest("POST", url, (), body.encode()), salt)

    assert key(url + shifted, body, salt) != key(url, shifted + body, salt)
    assert key(url, shifted + body, salt) != key(url, body, salt + shifted)


@pytest.mark.parametrize("name", sorted(TRACING))
def test_headers_that_say_who_asks_and_when_do_not_change_the_key(name: str) -> None:
    traced = BASE._replace(extra_headers={**BASE.extra_headers, name.title(): "4711"})
    assert SPACE.key(wire(traced, MODELS[0])) == SPACE.key(wire(BASE, MODELS[0]))


def test_the_order_and_case_of_headers_do_not_change_the_key() -> None:
    one, other = ({"X-A": "1", "x-b": "2"}, {"X-B": "2", "x-a": "1"})
    first, second = (BASE._replace(extra_headers=headers) for headers in (one, other))
    assert SPACE.key(wire(first, MODELS[0])) == SPACE.key(wire(second, MODELS[0]))


def test_a_server_that_we_start_has_the_same_keys_at_whatever_port_it_listens() -> None:
    def key(port: int) -> str:
        base = f"http://127.0.0.1:{port}/v1"
        space = KeySpace(owner="", base_url=base, server="sandbox")
        return space.key(HttpRequest("POST", base + "/chat/completions", (), b"{}"))

    assert key(1) == key(2)


def test_an_owner_is_told_from_the_key_without_giving_it_away() -> None:
    owners = [
        owner_of(Secret("sk-one"), None),
        owner_of(Secret("sk-two"), None),
        owner_of(None, None),
        owner_of(Secret("sk-one"), "team a"),
        owner_of(None, "sk-one"),
    ]
    assert len(set(owners)) == len(owners)
    assert owner_of(Secret("sk-two"), "team a") == owners[3]
    assert not any("sk-" in owner for owner in owners)
