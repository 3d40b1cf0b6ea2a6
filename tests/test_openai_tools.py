"""Tools in OpenAI's two wire formats, and the sandbox's refusals of what OpenAI refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from deluge_sync import MCPServer, Message, SamplingParams, Thinking, Tool, ToolCall, ToolResult
from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import ServerEvent
from deluge_sync.catalog import Catalog
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.values.deltas import ToolCallDelta
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.media import Image
from deluge_sync.values.prompt import Text, VendorBlock
from deluge_sync.values.request import Request
from deluge_sync.values.wire import HttpResponse

from .golden_features import HELLO, PNG, TOOLS, get_weather
from .test_adapter_sdks import sdk
from .test_golden import model_of

CHAT, RESPONSES = "openai_chat", "openai_responses"
both = pytest.mark.parametrize("wire", [CHAT, RESPONSES])
LOOSE = {"type": "object", "properties": {"at": {"type": "string", "minLength": 2}}}
CLOSED = {**LOOSE, "properties": {"at": {"type": "string"}}, "required": ["at"]}
CLOSED = {**CLOSED, "additionalProperties": False}
PICTURE = Image(PNG, media_type="image/png")
CALLS = Message("assistant", (ToolCall("a", "look"), ToolCall("b", "look")))


def sent(wire: str, request: Request, **changes: Any) -> dict[str, Any]:
    model = dataclasses.replace(model_of(wire), **changes)
    return json.loads(ADAPTERS[wire].encode(request, model).body)


def function(wire: str, tool: Any, **changes: Any) -> dict[str, Any]:
    """The one function of a request, without what the wire format puts around it."""
    (held,) = sent(wire, Request(HELLO, tools=(tool,)), **changes)["tools"]
    return held["function"] if wire == CHAT else held


def lacking(*words: str) -> dict[str, Any]:
    return {"supports": model_of(CHAT).supports - set(words)}


class TestSchemas:
    """`Tool.strict` and the schema that goes out."""

    @both
    def test_a_schema_that_is_not_one_for_strict_mode_goes_as_it_is(self, wire):
        held = function(wire, Tool("look", parameters=LOOSE))
        assert held["parameters"] == LOOSE
        assert not held.get("strict")

    @both
    def test_a_schema_that_fits_strict_mode_is_held_to_unless_told_otherwise(self, wire):
        assert function(wire, Tool("look", parameters=CLOSED))["strict"] is True
        assert not function(wire, Tool("look", parameters=CLOSED, strict=False)).get("strict")

    @both
    def test_a_model_without_schemas_is_not_held_to_them_by_itself(self, wire):
        held = function(wire, Tool("look", parameters=CLOSED), **lacking("json_schema"))
        assert not held.get("strict")

    def test_responses_is_told_where_it_shall_not_be_strict_as_it_would_be_by_itself(self):
        assert function(RESPONSES, Tool("look", parameters=LOOSE))["strict"] is False

    @both
    def test_a_schema_is_brought_into_strict_form_where_that_is_asked_for(self, wire):
        schema = {**LOOSE, "required": ["at"]}
        held = function(wire, Tool("look", parameters=schema, strict=True))
        assert held["strict"] is True
        assert held["parameters"] == {
            "type": "object",
            "properties": {"at": {"type": "string", "description": "{minLength: 2}"}},
            "required": ["at"],
            "additionalProperties": False,
        }

    @both
    def test_what_strict_mode_cannot_take_is_named_by_tool_and_place(self, wire):
        schema = {"type": "object", "properties": {"all": {"type": "object"}}, "required": ["all"]}
        with pytest.raises(ConfigError, match=r"tool look: schema\.properties\.all: an object"):
            function(wire, Tool("look", parameters=schema, strict=True))

    @both
    def test_a_function_goes_with_its_description_and_is_strict(self, wire):
        held = function(wire, Tool.from_function(get_weather))
        assert (held["description"], held["strict"]) == ("The weather in a city.", True)
        assert "description" not in function(wire, Tool("look"))


class TestRequests:
    """`tools`, `tool_choice` and `parallel_tool_calls`."""

    @both
    def test_a_model_that_takes_no_tools_is_named(self, wire):
        with pytest.raises(ConfigError, match="vendor/m takes no tools"):
            sent(wire, Request(HELLO, tools=TOOLS), **lacking("tools"))

    @both
    @pytest.mark.parametrize("choice", ["required", "now"])
    def test_a_model_that_cannot_be_made_to_use_a_tool_is_named(self, wire, choice):
        request = Request(HELLO, tools=TOOLS, tool_choice=choice)
        with pytest.raises(ConfigError, match=r"vendor/m cannot be made .*tool_choice='auto'"):
            sent(wire, request, **lacking("forced_tool_choice"))
        for free in ("auto", "none"):
            body = sent(wire, request._replace(tool_choice=free), **lacking("forced_tool_choice"))
            assert body["tool_choice"] == free

    @both
    def test_a_model_nobody_described_is_sent_what_is_asked_for(self, wire):
        model = Catalog.builtin().model("openai/of-tomorrow")
        request = Request(HELLO, tools=TOOLS, tool_choice="required")
        assert b'"tool_choice":"required"' in ADAPTERS[wire].encode(request, model).body

    @both
    def test_parallel_calls_are_spoken_of_only_where_there_are_tools(self, wire):
        request = Request(HELLO, parallel_tool_calls=False)
        assert "parallel_tool_calls" not in sent(wire, request)
        own = {"tools": [{"type": "custom", "custom": {"name": "look"}}]}
        assert sent(wire, request._replace(extra_body=own))["parallel_tool_calls"] is False

    @both
    def test_tools_of_the_extra_body_take_the_place_of_ours(self, wire):
        own = [{"type": "web_search"}]
        body = sent(wire, Request(HELLO, tools=TOOLS, extra_body={"tools": own}))
        assert body["tools"] == own

    @both
    def test_a_function_in_the_form_of_the_other_api_is_brought_into_this_one(self, wire):
        nested = {"type": "function", "function": {"name": "look", "parameters": LOOSE}}
        flat = {"type": "function", "name": "look", "parameters": LOOSE}
        own = {"type": "web_search", "search_context_size": "low"}
        body = sent(wire, Request(HELLO, tools=(nested, flat, own)))
        form = nested if wire == CHAT else flat
        assert body["tools"] == [form, form, own]

    def test_chat_calls_no_mcp_servers(self):
        server = MCPServer("maps", "https://maps.example/mcp")
        with pytest.raises(ConfigError, match=r"maps.*use_responses_api=True"):
            sent(CHAT, Request(HELLO, tools=(server,)))
        assert sent(RESPONSES, Request(HELLO, tools=(server,)))["tools"] == [
            {
                "type": "mcp",
                "server_label": "maps",
                "server_url": "https://maps.example/mcp",
                "require_approval": "never",
            }
        ]

    def test_functions_with_reasoning_are_for_responses_where_the_entry_says_so(self):
        supports = {"supports": model_of(CHAT).supports | {"responses_tools"}}
        request = Request(HELLO, tools=TOOLS)
        for params in (SamplingParams(), SamplingParams(reasoning_effort="low")):
            with pytest.raises(ConfigError, match="Responses API only"):
                sent(CHAT, request._replace(params=params), **supports)
        calm = request._replace(params=SamplingParams(reasoning_effort="none"))
        assert sent(CHAT, calm, **supports)["tools"]
        assert sent(CHAT, request, **supports, default_effort="none")["tools"]


class TestResults:
    """What tools gave back, and calls of other kinds than functions."""

    def test_in_chat_pictures_stand_behind_all_results_of_a_turn(self):
        one = Message("tool", (ToolResult("a", "1", "look", images=(PICTURE, PICTURE)),))
        other = Message("tool", (ToolResult("b", "2", images=(PICTURE,)),))
        talk = HELLO.add(CALLS, one, other)
        after = sent(CHAT, Request(talk))["messages"][3:]
        assert [message["role"] for message in after] == ["tool", "tool", "user"]
        assert [part.get("text") for part in after[-1]["content"]] == [
            "What the tool call look (a) gave back:",
            None,
            None,
            "What the tool call b gave back:",
            None,
        ]
        goes_on = sent(CHAT, Request(talk.user("And?")))["messages"][3:]
        assert goes_on == [*after, {"role": "user", "content": "And?"}]

    def test_in_chat_pictures_stand_before_what_the_user_says_in_the_same_message(self):
        results = (ToolResult("a", "1", images=(PICTURE,)), ToolResult("b", "2"), Text("And?"))
        *_, tool, user = sent(CHAT, Request(HELLO.add(CALLS, Message("user", results))))["messages"]
        assert tool["tool_call_id"] == "b"
        kinds = [part["type"] for part in user["content"]]
        assert (kinds, user["content"][-1]["text"]) == (["text", "image_url", "text"], "And?")

    @both
    def test_a_failure_is_told_by_its_text(self, wire):
        results = (ToolResult("a", "no", is_error=True), ToolResult("b", "Error: x", is_error=True))
        body = sent(wire, Request(HELLO.add(CALLS, Message("tool", results))))
        name, field = ("messages", "content") if wire == CHAT else ("input", "output")
        held = [item[field] for item in body[name][-2:]]
        assert held == ["Error: no", "Error: x"]

    def test_a_custom_tools_call_goes_back_as_one(self):
        call = ToolCall("a", "write", {"input": "x = 1"}, kind="custom")
        talk = HELLO.add(Message("assistant", (call,))).with_tool_results(
            ToolResult("a", "ok", "write", kind="custom")
        )
        assert sent(RESPONSES, Request(talk))["input"][1:] == [
            {"type": "custom_tool_call", "call_id": "a", "name": "write", "input": "x = 1"},
            {"type": "custom_tool_call_output", "call_id": "a", "output": "ok"},
        ]
        assert sent(CHAT, Request(talk))["messages"][-2]["tool_calls"] == [
            {"id": "a", "type": "custom", "custom": {"name": "write", "input": "x = 1"}}
        ]

    def test_chat_has_no_computer(self):
        call = Message("assistant", (ToolCall("a", "computer", kind="computer"),))
        with pytest.raises(PromptError, match="no computer tool"):
            sent(CHAT, Request(HELLO.add(call)))
        result = ToolResult("a", "", kind="computer", images=(PICTURE,))
        with pytest.raises(PromptError, match="no computer tool"):
            sent(CHAT, Request(HELLO.with_tool_results(result)))

    def test_a_computers_result_is_its_last_screenshot_and_its_words_come_behind(self):
        second = Image(b"\xff\xd8\xff", media_type="image/jpeg")
        result = ToolResult("a", "off screen", None, True, (PICTURE, second), "computer")
        output, note = sent(RESPONSES, Request(HELLO.with_tool_results(result)))["input"][1:]
        assert output == {
            "type": "computer_call_output",
            "call_id": "a",
            "output": {"type": "computer_screenshot", "image_url": "data:image/jpeg;base64,/9j/"},
        }
        text = "About the screenshot of a: Error: off screen"
        assert note == {"role": "user", "content": text}
        with pytest.raises(PromptError, match="a needs a screenshot"):
            sent(RESPONSES, Request(HELLO.with_tool_results(ToolResult("a", "", kind="computer"))))

    @both
    def test_a_picture_for_a_model_that_sees_none_is_named(self, wire):
        talk = HELLO.add(CALLS).with_tool_results(ToolResult("a", "", images=(PICTURE,)))
        with pytest.raises(PromptError, match="takes no pictures"):
            sent(wire, Request(talk), **lacking("vision"))

    def test_reasoning_that_nothing_came_of_stays_behind_as_it_is_refused_alone(self):
        thought = Thinking("", "sealed", id="rs_1")
        for after in (HELLO.user("Go on."), HELLO.with_tool_results(ToolResult("a", ""))):
            cut = HELLO.add(Message("assistant", (thought,)), *after.messages[-1:])
            items = sent(RESPONSES, Request(cut))["input"]
            assert "reasoning" not in [item.get("type") for item in items]
        led = Message("assistant", (thought, Thinking("", "sealed", id="rs_2"), ToolCall("a", "f")))
        items = sent(RESPONSES, Request(HELLO.add(led)))["input"]
        kinds = [item.get("type") for item in items]
        assert kinds == [None, "reasoning", "reasoning", "function_call"]

    def test_a_vendors_block_goes_back_unchanged_from_either_side_and_never_to_chat(self):
        asked = {"type": "mcp_approval_request", "id": "m1", "arguments": "{}", "name": "find"}
        allowed = {"type": "mcp_approval_response", "approval_request_id": "m1", "approve": True}
        talk = HELLO.add(
            Message("assistant", (VendorBlock(asked),)), Message("user", (VendorBlock(allowed),))
        )
        assert sent(RESPONSES, Request(talk))["input"][1:] == [asked, allowed]
        with pytest.raises(PromptError, match="VendorBlock"):
            sent(CHAT, Request(talk))


class TestAnswers:
    """Calls as they come."""

    def test_an_older_computer_call_has_one_action(self):
        action = {"type": "wait"}
        item = {"type": "computer_call", "id": "cu", "call_id": "a", "action": action}
        body = json.dumps({"status": "completed", "output": [item]}).encode()
        model = model_of(RESPONSES)
        answer = ADAPTERS[RESPONSES].decode(HttpResponse(200, {}, body), model)
        arguments = {"actions": [action], "pending_safety_checks": []}
        assert answer.content.tool_calls == (
            ToolCall("a", "computer", arguments, "cu", kind="computer"),
        )
        assert answer.finish_reason == "tool_calls"

    def test_a_custom_tools_text_streams_in_chat_as_the_json_it_is_decoded_to(self):
        pieces = [
            {"index": 0, "id": "a", "type": "custom", "custom": {"name": "write", "input": ""}},
            {"index": 0, "custom": {"input": 'say "'}},
            {"index": 0, "custom": {"input": 'ü"\n'}},
        ]
        chunks: list[dict[str, Any]] = [{"delta": {"tool_calls": [piece]}} for piece in pieces]
        chunks.append({"delta": {}, "finish_reason": "tool_calls"})
        fold = ADAPTERS[CHAT].fold(HttpResponse(200, {}, b""), model_of(CHAT))
        deltas = [
            delta
            for chunk in chunks
            for delta in fold.feed(ServerEvent("", json.dumps({"choices": [chunk]})))
        ]
        call = ToolCall("a", "write", {"input": 'say "ü"\n'}, kind="custom")
        assert fold.answer().content.tool_calls == (call,)
        texts = [delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta)]
        assert json.loads("".join(texts)) == call.arguments


NAMED = {"type": "function", "function": {"name": "look"}}
FLAT = {"type": "function", "name": "look"}
ASKED = {
    "role": "assistant",
    "tool_calls": [
        {"id": f"c{at}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for at in (1, 2)
    ],
}
USER = {"role": "user", "content": "Hi"}


def answered(*ids: str) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": identity, "content": "ok"} for identity in ids]


def refusal(wire: str, body: dict[str, Any]) -> tuple[str, str | None]:
    """The message and the param that the sandbox refuses `body` with, as the SDK sees them."""
    openai = sdk("openai")
    with Sandbox(answer="Never.") as sandbox:
        client = openai.OpenAI(base_url=sandbox.base_url, api_key="key", max_retries=0)
        create = client.chat.completions.create if wire == CHAT else client.responses.create
        asked = {"model": "m", "messages" if wire == CHAT else "input": [USER]}
        with pytest.raises(openai.BadRequestError) as caught:
            create(**{**asked, **body})
    return caught.value.body["message"], caught.value.param


class TestRefusals:
    """What the sandbox refuses, as OpenAI does."""

    @pytest.mark.parametrize(
        ("body", "words", "param"),
        [
            ({"tool_choice": "auto"}, "only allowed when 'tools'", "tool_choice"),
            ({"parallel_tool_calls": True}, "only allowed when", "parallel_tool_calls"),
            ({"tools": []}, "empty array", "tools"),
            ({"tools": [FLAT]}, "Missing required", "tools[0].function"),
            ({"tools": [{"type": "mcp"}]}, "Invalid value", "tools[0].type"),
            ({"tools": [NAMED, NAMED]}, "two tools", "tools[1].function.name"),
            (
                {"tools": [{"type": "function", "function": {"name": "a b"}}]},
                "does not match pattern",
                "tools[0].function.name",
            ),
            (
                {"tools": [{"type": "function", "function": {"name": "a" * 65}}]},
                "string too long",
                "tools[0].function.name",
            ),
            (
                {"tools": [{**NAMED, "function": {"name": "look", "parameters": {}}}]},
                "Invalid schema for function 'look': schema must be",
                "tools[0].function.parameters",
            ),
            (
                {
                    "tools": [
                        {**NAMED, "function": {"name": "f", "parameters": LOOSE, "strict": True}}
                    ]
                },
                "additionalProperties",
                "tools[0].function.parameters",
            ),
            ({"tools": [NAMED], "tool_choice": "any"}, "Invalid value", "tool_choice"),
            (
                {
                    "tools": [NAMED],
                    "tool_choice": {"type": "function", "function": {"name": "other"}},
                },
                "'other' not found in 'tools'",
                "tool_choice",
            ),
            (
                {"messages": [USER, *answered("c1")]},
                "must be a response to a preceeding message",
                "messages.[1].role",
            ),
            (
                {"messages": [USER, ASKED, *answered("c3")]},
                "'tool_call_id' of 'c3' not found",
                "messages.[2].tool_call_id",
            ),
            (
                {"messages": [USER, ASKED, *answered("c1"), USER]},
                "did not have response messages: c2",
                "messages",
            ),
            ({"messages": [USER, ASKED]}, "did not have response messages: c1, c2", "messages"),
            (
                {"model": "gpt-6-astra", "tools": [NAMED]},
                "Function tools with reasoning_effort are not supported for gpt-6-astra",
                "reasoning_effort",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_chat(self, body, words, param):
        message, where = refusal(CHAT, body)
        assert (words in message, where) == (True, param), message

    @pytest.mark.parametrize(
        ("body", "words", "param"),
        [
            ({"tools": [NAMED]}, "Unknown parameter", "tools[0].function"),
            ({"tools": [{"type": "function"}]}, "Missing required", "tools[0].name"),
            ({"tools": [FLAT, FLAT]}, "two tools", "tools[1].name"),
            ({"tools": [{"type": "magic"}]}, "Invalid value", "tools[0].type"),
            ({"tools": [{"type": "mcp"}]}, "Missing required", "tools[0].server_label"),
            (
                {"tools": [{"type": "mcp", "server_label": "maps"}]},
                "Missing required",
                "tools[0].server_url",
            ),
            (
                {"tools": [FLAT], "tool_choice": {"type": "function", "name": "other"}},
                "'other' not found",
                "tool_choice",
            ),
            (
                {
                    "input": [
                        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""}
                    ]
                },
                "No tool output found for function call c1",
                "input",
            ),
            (
                {
                    "input": [
                        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""},
                        {"type": "custom_tool_call_output", "call_id": "c1", "output": ""},
                    ]
                },
                "No tool call found for custom tool call output with call_id c1",
                "input",
            ),
            (
                {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}, USER]},
                "'rs_1' of type 'reasoning' was provided without its required following item",
                "input",
            ),
            (
                {
                    "input": [
                        {
                            "type": "computer_call",
                            "id": "cu_1",
                            "call_id": "c1",
                            "status": "completed",
                            "actions": [],
                            "pending_safety_checks": [{"id": "sc_1"}],
                        },
                        {
                            "type": "computer_call_output",
                            "call_id": "c1",
                            "output": {"type": "computer_screenshot", "file_id": "file-1"},
                        },
                    ]
                },
                "unacknowledged safety check for ['sc_1']",
                "input",
            ),
            (
                {
                    "input": [
                        {
                            "type": "computer_call_output",
                            "call_id": "c1",
                            "output": {"type": "computer_screenshot", "image_url": "nowhere"},
                        }
                    ]
                },
                "Invalid value",
                "input[0].output.image_url",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_responses(self, body, words, param):
        message, where = refusal(RESPONSES, body)
        assert (words in message, where) == (True, param), message

    def test_functions_without_reasoning_are_taken_in_chat(self):
        openai = sdk("openai")
        with Sandbox(answer="Yes.") as sandbox:
            client = openai.OpenAI(base_url=sandbox.base_url, api_key="key", max_retries=0)
            answer = client.chat.completions.create(
                model="gpt-5.6-sol", messages=[USER], tools=[NAMED], reasoning_effort="none"
            )
        assert answer.choices[0].message.content == "Yes."


def test_a_secret_of_a_server_is_not_told_again_by_the_sandbox():
    openai = sdk("openai")
    tool = {
        "type": "mcp",
        "server_label": "maps",
        "server_url": "https://maps.example/mcp",
        "authorization": "token",
        "headers": {"X-Key": "token"},
        "require_approval": "never",
    }
    with Sandbox(answer=Reply("Hi")) as sandbox:
        client = openai.OpenAI(base_url=sandbox.base_url, api_key="key", max_retries=0)
        answer = client.responses.create(model="m", input="Hi", tools=[tool])
    assert "token" not in answer.tools[0].model_dump_json()
