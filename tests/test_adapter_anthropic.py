"""What Anthropic Messages has a form for, what it has none for, and how that is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.anthropic_media import _MOST_PICTURE
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.media import Audio, File, Image
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall, ToolResult
from deluge_sync.values.request import OutputFormat, PromptCache, Request

from .golden_features import PDF, PNG, TALK, asking

ANTHROPIC = ADAPTERS["anthropic"]
PROVIDER = Provider("vendor", "anthropic", base_url="https://vendor")
EVERYTHING = frozenset({"vision", "pdf", "json_schema", "prompt_caching"})
MODEL = Model("m", PROVIDER, thinking="adaptive", supports=EVERYTHING)
BARE = Model("m", PROVIDER)
HELLO = Conversation().user("Hello")
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def body_of(request: Request, model: Model = MODEL) -> dict[str, Any]:
    return json.loads(ANTHROPIC.encode(request, model).body)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"background": True}, ("background",)),
        ({"completion_window": "2h"}, ("completion_window",)),
        ({"previous_response_id": "resp_1"}, ("previous_response_id",)),
        ({"continuation": "token"}, ("continuation",)),
        ({"output": OutputFormat()}, ("json_mode", "output_schema")),
        ({"params": SamplingParams(service_tier="flex")}, ("auto or standard_only", "flex")),
        ({"prompt_cache": PromptCache("system_and_tools", ttl="30m")}, ("'5m' or '1h'", "30m")),
        ({"prompt_cache": PromptCache("tools_only", ttl="12h")}, ("12h",)),
    ],
)
def test_an_option_without_a_form_is_named_with_what_to_do_instead(
    changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        ANTHROPIC.encode(Request(HELLO, **changes), MODEL)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (Audio(b"RIFF", media_type="audio/wav"), "sound"),
        (Image(b"BM", media_type="image/bmp"), "image/bmp"),
        (Image(bytes(_MOST_PICTURE), media_type="image/png"), "10,485,760"),
        (File(b"PK", media_type="application/zip", name="a.zip"), "application/zip"),
        (File(PNG, media_type="image/png"), "add_image"),
        (File(b"\xff\xfe", media_type="text/plain", name="a.txt"), "a.txt"),
        (File(url="https://host/a.txt", media_type="text/plain"), "text/plain"),
    ],
)
def test_media_the_vendor_does_not_take_are_named_before_sending(part: Any, word: str) -> None:
    with pytest.raises(PromptError, match=word):
        ANTHROPIC.encode(Request(asking(part)), MODEL)


def test_a_body_above_32_mib_is_not_sent() -> None:
    half = File(PDF + bytes(13 << 20), media_type="application/pdf")
    assert ANTHROPIC.encode(Request(asking(half)), MODEL)
    with pytest.raises(PromptError, match="33,554,432"):
        ANTHROPIC.encode(Request(asking(half, half)), MODEL)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(asking(Image(PNG, media_type="image/png"))), "vision"),
        (Request(asking(Image(url="https://host/a.png"))), "vision"),
        (Request(asking(Image(file_id="f"))), "vision"),
        (Request(asking(File(PDF, media_type="application/pdf"))), "pdf"),
        (Request(asking(File(url="https://host/a.pdf"))), "pdf"),
        (Request(HELLO, output=OutputFormat({"type": "object"})), "json_schema"),
        (Request(HELLO, prompt_cache=PromptCache("tools_only")), "prompt_caching"),
    ],
)
def test_what_a_models_entry_lacks_is_named_by_its_field(request_: Request, field: str) -> None:
    with pytest.raises((PromptError, ConfigError), match=field):
        ANTHROPIC.encode(request_, BARE)


def test_media_belong_to_user_messages() -> None:
    for role in ("assistant", "tool", "system"):
        conversation = HELLO.add(Message(role, (Image(PNG, media_type="image/png"),)))
        with pytest.raises(PromptError, match="Image"):
            ANTHROPIC.encode(Request(conversation), MODEL)


def test_texts_of_all_kinds_are_sent_as_plain_text_under_their_name() -> None:
    for kind in ("text/plain", "text/markdown", "application/json"):
        part = File("\ufeffÄ".encode(), media_type=kind, name="note")
        block = body_of(Request(asking(part)), BARE)["messages"][0]["content"][1]
        source = {"type": "text", "media_type": "text/plain", "data": "Ä"}
        assert block == {"type": "document", "source": source, "title": "note"}


def test_a_schema_and_an_effort_and_the_callers_own_output_config_go_together() -> None:
    request = Request(
        HELLO,
        SamplingParams(reasoning_effort="low"),
        extra_body={"output_config": {"task_budget": {"type": "tokens", "total": 9}}},
        output=OutputFormat(CLOSED),
    )
    assert body_of(request)["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": CLOSED},
        "task_budget": {"type": "tokens", "total": 9},
    }


def test_a_schema_is_fitted_to_what_the_vendor_takes() -> None:
    age = {"type": "integer", "minimum": 0, "description": "In years."}
    given = {"type": "object", "properties": {"age": age}, "required": ["age"]}
    sent = body_of(Request(HELLO, output=OutputFormat(given)))["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["age"]["description"] == "In years.\n\n{minimum: 0}"
    assert "minimum" not in sent["properties"]["age"]
    assert given["properties"]["age"] is age
    assert "minimum" in age


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_the_vendor_does_not_take_is_named_with_its_place(strict: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}},
        "required": ["a"],
    }
    with pytest.raises(ConfigError, match=r"vendor/m .*schema\.properties\.a"):
        ANTHROPIC.encode(Request(HELLO, output=OutputFormat(schema, strict=strict)), MODEL)


@pytest.mark.parametrize("tier", ["auto", "standard_only"])
def test_the_vendors_service_tiers_are_sent(tier: str) -> None:
    body = body_of(Request(HELLO, SamplingParams(service_tier=tier)))
    assert body["service_tier"] == tier


@pytest.mark.parametrize(
    ("most", "extra", "expected"),
    [
        (None, {}, False),
        (21_333, {}, False),
        (21_334, {}, True),
        (100, {"max_tokens": 64_000}, True),
        (64_000, {"max_tokens": 100}, False),
    ],
)
def test_more_than_21333_tokens_need_a_stream(
    most: int | None, extra: dict[str, Any], expected: bool
) -> None:
    request = Request(HELLO, SamplingParams(max_new_tokens=most), extra_body=extra)
    assert ANTHROPIC.needs_stream(request, MODEL) is expected


def test_a_large_thinking_budget_needs_a_stream_too() -> None:
    model = Model("m", PROVIDER, thinking="budget", max_output_tokens=64_000)
    request = Request(HELLO, SamplingParams(thinking_budget=30_000))
    assert ANTHROPIC.needs_stream(request, model)


def test_sampling_parameters_go_under_the_version_that_still_takes_them() -> None:
    model = Model("m", PROVIDER, api_version="2026-10-21", legacy_api_version="2023-06-01")
    versions = [
        dict(ANTHROPIC.encode(Request(HELLO, params), model).headers)["anthropic-version"]
        for params in (SamplingParams(), SamplingParams(top_k=3), SamplingParams(seed=3))
    ]
    assert versions == ["2026-10-21", "2023-06-01", "2026-10-21"]


def marks(value: Any) -> int:
    """How many breakpoints there are in `value`, however deep."""
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(map(marks, value.values()))
    return sum(map(marks, value)) if isinstance(value, list) else 0


@pytest.mark.parametrize(
    ("pattern", "tools", "expected"),
    [
        ("system_and_tools", [], (0, 1, 0)),
        ("system_and_tools", [TOOL, TOOL], (1, 1, 0)),
        ("tools_only", [], (0, 0, 0)),
        ("tools_only", [TOOL, TOOL], (1, 0, 0)),
        ("last_user_message", [TOOL], (0, 0, 1)),
        ("last_2_user_messages", [TOOL], (0, 0, 2)),
        ("last_3_user_messages", [TOOL], (0, 0, 3)),
    ],
)
def test_each_pattern_puts_its_breakpoints_where_it_says(
    pattern: str, tools: list[Any], expected: tuple[int, int, int]
) -> None:
    extra = {"tools": tools} if tools else {}
    body = body_of(Request(TALK, extra_body=extra, prompt_cache=PromptCache(pattern)))
    found = tuple(marks(body.get(name)) for name in ("tools", "system", "messages"))
    assert found == expected
    if tools:
        assert extra == {"tools": tools}
        assert marks(tools) == 0  # the caller's own are not touched
        assert body["tools"][:-1] == tools[:-1]


def test_the_last_block_of_a_user_turn_is_marked_whatever_it_is() -> None:
    conversation = Conversation(
        (
            Message("user", (Text("See"), File(PDF, media_type="application/pdf"))),
            Message("assistant", (ToolCall("c", "f", {}),)),
            Message("tool", (ToolResult("c", "1"),)),
        )
    )
    cache = PromptCache("last_2_user_messages")
    turns = body_of(Request(conversation, prompt_cache=cache))["messages"]
    assert [marks(turn) for turn in turns] == [1, 0, 1]
    assert "cache_control" in turns[0]["content"][-1]
    assert "cache_control" in turns[2]["content"][-1]


def test_a_conversation_shorter_than_the_pattern_is_marked_as_far_as_it_goes() -> None:
    body = body_of(Request(HELLO, prompt_cache=PromptCache("last_3_user_messages")))
    assert marks(body) == 1


def test_a_breakpoint_of_the_callers_own_stays_and_five_are_too_many() -> None:
    own = {**TOOL, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    cache = PromptCache("system_and_tools")
    body = body_of(Request(TALK, extra_body={"tools": [TOOL, own]}, prompt_cache=cache))
    assert body["tools"][1] == own
    for pattern, count in (("system_and_tools", 4), ("last_3_user_messages", 2)):
        request = Request(
            TALK, extra_body={"tools": [own] * count}, prompt_cache=PromptCache(pattern)
        )
        with pytest.raises(ConfigError, match="at most 4"):
            ANTHROPIC.encode(request, MODEL)


def test_thinking_goes_back_as_it_came_and_where_it_was() -> None:
    parts = (
        Thinking("One.", "sig-1"),
        Text("Text between."),
        Thinking("blob", redacted=True),
        Thinking("Two. \n", "sig-2"),
        ToolCall("c", "f", {"n": 1}),
    )
    body = body_of(Request(HELLO.add(Message("assistant", parts)).user("Go on")))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "One.", "signature": "sig-1"},
        {"type": "text", "text": "Text between."},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "thinking", "thinking": "Two. \n", "signature": "sig-2"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"n": 1}},
    ]
