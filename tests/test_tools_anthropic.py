"""Anthropic's tools: what is sent and read, and a sandbox as strict with them as the vendor."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest
import urllib3

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import EventReader, ServerEvent
from deluge_sync.catalog import Catalog
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.media import Image
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import (
    Conversation,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    VendorBlock,
)
from deluge_sync.values.request import OutputFormat, PromptCache, Request
from deluge_sync.values.response import Answer
from deluge_sync.values.tool import MCPServer, Tool
from deluge_sync.values.wire import HttpResponse

from .golden_features import PNG, SCREEN, TOOLS, WEATHER

ADAPTER = ADAPTERS["anthropic"]
EVERYTHING = frozenset({"vision", "tools", "forced_tool_choice", "json_schema", "prompt_caching"})
CATALOG = Catalog.builtin()
TOOLSET = {"type": "computer_toolset_20260801"}
SERVER = MCPServer("weather", "https://mcp.example.com/weather")
LIMITS: dict[str, Any] = {"model": "echo", "max_tokens": 1_000}
WIRE_TOOL = {"name": "f", "description": "Does it.", "input_schema": {"type": "object"}}


def model_with(supports: frozenset[str] = EVERYTHING, **fields: Any) -> Model:
    return Model("m", Provider("vendor", base_url="https://vendor"), supports=supports, **fields)


def body_of(request: Request, model: Optional[Model] = None) -> Any:
    return json.loads(ADAPTER.encode(request, model or model_with()).body)


def tool(schema: Any, strict: Optional[bool] = None, name: str = "f") -> Tool:
    return Tool(name, "Does it.", schema, strict=strict)


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def decoded(*blocks: Any, stop: str = "tool_use") -> Answer:
    body = json.dumps({"id": "msg_1", "content": blocks, "stop_reason": stop}).encode()
    return ADAPTER.decode(HttpResponse(200, {}, body), model_with())


class TestChoice:
    """`tool_choice` and `parallel_tool_calls`."""

    @pytest.mark.parametrize(
        ("choice", "parallel", "sent"),
        [
            (None, None, None),
            (None, True, None),
            (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
            ("auto", None, {"type": "auto"}),
            ("none", False, {"type": "none"}),
            ("required", None, {"type": "any"}),
            ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
            ("now", None, {"type": "tool", "name": "now"}),
        ],
    )
    def test_each_has_its_form(self, choice: Any, parallel: Any, sent: Any) -> None:
        request = Request(WEATHER, tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
        assert body_of(request).get("tool_choice") == sent

    def test_one_call_at_a_time_is_asked_of_tools_in_extra_body_too(self) -> None:
        request = Request(WEATHER, extra_body={"tools": [WIRE_TOOL]}, parallel_tool_calls=False)
        assert body_of(request)["tool_choice"]["disable_parallel_tool_use"] is True
        assert "tool_choice" not in body_of(Request(WEATHER, parallel_tool_calls=False))

    @pytest.mark.parametrize("choice", ["required", "now"])
    @pytest.mark.parametrize("name", ["claude-fable-5-1", "claude-opus-5-5", "claude-sonnet-5-5"])
    def test_models_that_cannot_be_forced_are_named_before_sending(
        self, name: str, choice: str
    ) -> None:
        model = CATALOG.model(name)
        with pytest.raises(ConfigError, match=f"{name}.*forced_tool_choice"):
            body_of(Request(WEATHER, tools=TOOLS, tool_choice=choice), model)
        for free in ("auto", "none"):
            sent = body_of(Request(WEATHER, tools=TOOLS, tool_choice=free), model)
            assert sent["tool_choice"] == {"type": free}

    @pytest.mark.parametrize("thinking", ["adaptive", "budget"])
    def test_a_model_that_is_to_think_is_not_forced(self, thinking: str) -> None:
        request = Request(WEATHER, SamplingParams(reasoning_effort="high"), tools=TOOLS)
        model = model_with(thinking=thinking, max_output_tokens=64_000)
        with pytest.raises(ConfigError, match="while it thinks"):
            body_of(request._replace(tool_choice="required"), model)
        assert body_of(request._replace(tool_choice="auto"), model)["thinking"]
        silent = request._replace(params=SamplingParams(reasoning_effort="none"))
        assert body_of(silent._replace(tool_choice="now"), model)["tool_choice"]["name"] == "now"

    def test_a_model_without_tools_is_named_before_sending(self) -> None:
        with pytest.raises(ConfigError, match="m takes no tools"):
            body_of(Request(WEATHER, tools=TOOLS), model_with(EVERYTHING - {"tools"}))


class TestStrict:
    """Schemas that the vendor holds the model to."""

    def test_a_schema_that_fits_as_it_is_is_strict_unless_that_is_not_wanted(self) -> None:
        schema = record(city={"type": "string"})
        for strict, sent in ((None, True), (True, True), (False, None)):
            (wire,) = body_of(Request(WEATHER, tools=(tool(schema, strict),)))["tools"]
            assert wire["input_schema"] == schema
            assert wire.get("strict") is sent

    def test_a_schema_that_would_have_to_change_goes_as_it_is_and_is_not_strict(self) -> None:
        for schema in (
            {"type": "object", "properties": {"n": {"type": "integer"}}},
            record(n={"type": "integer", "minimum": 1}),
            record(n={"type": "object"}),
        ):
            (wire,) = body_of(Request(WEATHER, tools=(tool(schema),)))["tools"]
            assert wire["input_schema"] == schema
            assert "strict" not in wire

    def test_a_schema_that_must_be_strict_is_brought_into_the_vendors_form(self) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
        (wire,) = body_of(Request(WEATHER, tools=(tool(schema, True),)))["tools"]
        assert wire["strict"] is True
        assert wire["input_schema"] == {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
            "required": [],
            "additionalProperties": False,
        }

    def test_one_that_cannot_be_is_named_with_its_place(self) -> None:
        schema = record(any_keys={"type": "object"})
        with pytest.raises(ConfigError, match=r"tool f: .*schema\.properties\.any_keys: an object"):
            body_of(Request(WEATHER, tools=(tool(schema, True),)))
        with pytest.raises(ConfigError, match=r"tool f: vendor/m holds to no schema"):
            body_of(
                Request(WEATHER, tools=(tool(record(), True),)),
                model_with(EVERYTHING - {"json_schema"}),
            )

    def test_models_without_schemas_get_tools_that_are_not_strict(self) -> None:
        sent = body_of(Request(WEATHER, tools=TOOLS), model_with(EVERYTHING - {"json_schema"}))
        assert not any("strict" in wire for wire in sent["tools"])

    def test_limits_are_for_all_schemas_of_a_request_together(self) -> None:
        union = {"anyOf": [{"type": "string"}, {"type": "null"}]}
        schema = record(**{f"field_{n}": union for n in range(9)})
        may = (tool(schema, name="f"), tool(schema, name="g"))
        assert not any("strict" in wire for wire in body_of(Request(WEATHER, tools=may))["tools"])
        one_must = (tool(schema, True, "f"), tool(schema, name="g"))
        sent = body_of(Request(WEATHER, tools=one_must))["tools"]
        assert [wire.get("strict") for wire in sent] == [True, None]
        both = (tool(schema, True, "f"), tool(schema, True, "g"))
        with pytest.raises(ConfigError, match="18 unions"):
            body_of(Request(WEATHER, tools=both))
        with pytest.raises(ConfigError, match="18 unions"):
            body_of(Request(WEATHER, tools=both[:1], output=OutputFormat(schema)))
        many = tuple(tool(record(), True, f"f{n}") for n in range(21))
        with pytest.raises(ConfigError, match="21 tools"):
            body_of(Request(WEATHER, tools=many))


class TestOtherTools:
    """The vendor's own, those of `extra_body`, MCP servers."""

    def test_dicts_go_as_they_are_and_extra_body_wins(self) -> None:
        search = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}
        sent = body_of(Request(WEATHER, tools=(*TOOLS, search)))["tools"]
        assert (sent[0]["name"], sent[2]) == ("get_weather", search)
        request = Request(WEATHER, tools=TOOLS, extra_body={"tools": [WIRE_TOOL]})
        assert body_of(request)["tools"] == [WIRE_TOOL]

    @pytest.mark.parametrize("pattern", ["tools_only", "system_and_tools"])
    def test_the_last_tool_gets_the_breakpoint(self, pattern: str) -> None:
        for last in (TOOLS[1], TOOLSET, SERVER):
            request = Request(
                WEATHER, tools=(TOOLS[0], last), prompt_cache=PromptCache(pattern, "1h")
            )
            marks = [wire.get("cache_control") for wire in body_of(request)["tools"]]
            assert marks == [None, {"type": "ephemeral", "ttl": "1h"}]

    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ({}, "mcp-client-2026-09-15"),
            ({"Anthropic-Beta": "a, b"}, "a,b,mcp-client-2026-09-15"),
            ({"anthropic-beta": "mcp-client-2025-11-20"}, "mcp-client-2025-11-20"),
        ],
    )
    def test_an_mcp_server_adds_its_beta_to_those_that_were_given(
        self, given: dict[str, str], sent: str
    ) -> None:
        request = Request(WEATHER, tools=(SERVER,), extra_headers=given)
        call = ADAPTER.encode(request, model_with())
        found = [value for name, value in call.headers if name.lower() == "anthropic-beta"]
        assert found == [sent]
        body = json.loads(call.body)
        assert body["tools"] == [{"type": "mcp_toolset", "mcp_server_name": "weather"}]
        assert "authorization_token" not in body["mcp_servers"][0]

    def test_without_one_the_header_is_the_callers_own(self) -> None:
        call = ADAPTER.encode(Request(WEATHER, tools=TOOLS), model_with())
        assert "anthropic-beta" not in dict(call.headers)

    def test_what_no_host_does_with_an_mcp_server_is_named(self) -> None:
        with pytest.raises(ConfigError, match="MCP server x: Anthropic sends it no headers"):
            body_of(Request(WEATHER, tools=(MCPServer("x", "https://x", headers={"a": "b"}),)))
        with pytest.raises(ConfigError, match="does not call MCP servers"):
            body_of(Request(WEATHER, tools=(SERVER,)), model_with(version_field="v"))


class TestBlocks:
    """Calls, results and the blocks of the vendor's own tools."""

    def test_results_of_a_turn_go_into_one_message_and_first(self) -> None:
        calls = (ToolCall("a", "f"), ToolCall("b", "g"))
        said = (
            WEATHER.add(Message("assistant", calls))
            .with_tool_results(ToolResult("a", "1"))
            .add(Message("user", (Text("And?"), ToolResult("b", "2"))))
        )
        last = body_of(Request(said, tools=TOOLS))["messages"][-1]
        assert [block["type"] for block in last["content"]] == ["tool_result"] * 2 + ["text"]

    def test_pictures_of_a_result_are_checked_as_all_pictures_are(self) -> None:
        result = ToolResult("a", "", images=(Image(PNG, media_type="image/bmp"),))
        said = WEATHER.add(Message("assistant", (ToolCall("a", "f"),))).with_tool_results(result)
        with pytest.raises(PromptError, match="image/bmp"):
            body_of(Request(said, tools=TOOLS))

    @pytest.mark.parametrize("toolset", ["computer", "browser"])
    def test_a_call_of_a_toolset_is_echoed_with_its_name(self, toolset: str) -> None:
        block = {
            "type": "tool_use",
            "id": "t1",
            "name": "screenshot",
            "input": {},
            "toolset_name": toolset,
        }
        answer = decoded(block)
        assert answer.content.parts == (ToolCall("t1", "screenshot", {}, kind=toolset),)
        said = WEATHER.add(answer.content).with_tool_results(
            ToolResult("t1", "", images=(SCREEN,), kind=toolset)
        )
        sent = body_of(Request(said))["messages"]
        assert sent[1]["content"] == [block]
        assert sent[2]["content"][0]["toolset_name"] == toolset

    def test_a_call_of_another_vendors_kind_is_a_plain_one(self) -> None:
        said = WEATHER.add(
            Message("assistant", (ToolCall("a", "f", {"input": "x"}, kind="custom"),))
        )
        (block,) = body_of(Request(said))["messages"][1]["content"]
        assert "toolset_name" not in block

    def test_an_answer_that_paused_is_sent_back_as_it_is_to_go_on(self) -> None:
        blocks = (
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            {"type": "mcp_tool_use", "id": "m1", "name": "f", "server_name": "x", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "m1", "is_error": False, "content": "x"},
            {"type": "a_kind_of_tomorrow", "field": [1, {"n": None}]},
            {"type": "text", "text": "So far."},
        )
        answer = decoded(*blocks, stop="pause_turn")
        assert answer.finish_reason == "pause_turn"
        kinds = [type(part) for part in answer.content.parts]
        assert kinds == [Thinking, *[VendorBlock] * 5, Text]
        sent = body_of(Request(WEATHER.add(answer.content.coming_over("anthropic"))))["messages"]
        assert sent[-1] == {"role": "assistant", "content": list(blocks)}

    def test_a_compaction_that_is_streamed_is_kept_whole(self) -> None:
        block = {"type": "compaction", "content": "Summary.", "encrypted_content": "e"}
        fold = ADAPTER.fold(HttpResponse(200, {}, b""), model_with())
        for data in (
            {"type": "message_start", "message": {"usage": {}}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {**block, "content": None, "encrypted_content": None},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {**block, "type": "compaction_delta"},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "compaction"}},
            {"type": "message_stop"},
        ):
            fold.feed(ServerEvent(str(data["type"]), json.dumps(data)))
        assert fold.answer().content.parts == (VendorBlock(block),)

    def test_a_block_of_the_vendors_has_no_place_but_in_an_answer(self) -> None:
        said = Conversation((Message("user", (VendorBlock({"type": "x"}),)),))
        with pytest.raises(PromptError, match="VendorBlock"):
            body_of(Request(said))


def model_at(sandbox: Sandbox) -> Model:
    provider = Provider("sandbox", "anthropic", base_url=sandbox.anthropic_url)
    return Model("echo", provider, supports=EVERYTHING, thinking="adaptive")


def asked(sandbox: Sandbox, request: Request) -> Answer:
    """What the sandbox answers to our adapter, whole or streamed."""
    model = model_at(sandbox)
    call = ADAPTER.encode(request, model)
    headers = {**dict(call.headers), "x-api-key": "key"}
    got = urllib3.PoolManager().request(
        call.method, call.url, body=call.body, headers=headers, retries=False
    )
    assert got.status == 200, got.data
    response = HttpResponse(200, {}, got.data)
    if not request.stream:
        return ADAPTER.decode(response, model)
    fold = ADAPTER.fold(HttpResponse(200, {}, b""), model)
    for event in EventReader().feed(response.body):
        fold.feed(event)
    return fold.answer()


class TestRounds:
    """Rounds of tools with the sandbox."""

    @pytest.mark.parametrize("stream", [False, True])
    def test_two_rounds_with_thinking_go_back_unchanged_and_in_order(self, stream: bool) -> None:
        replies = [
            Reply("Looking.", "First I look.", tool_calls=[("get_weather", {"city": "Bonn"})]),
            Reply("", "Then the time.", tool_calls=[("now", {}), ("now", {})]),
            "Rain, at noon.",
        ]
        said, answers = WEATHER, []
        with Sandbox(answer=replies) as sandbox:
            for _ in range(3):
                answer = asked(sandbox, Request(said, stream=stream, tools=TOOLS))
                answers.append(answer)
                calls = answer.content.tool_calls
                said = said.add(answer.content.coming_over("anthropic"))
                if calls:
                    said = said.with_tool_results(*(ToolResult(c.id, "Rain") for c in calls))
            sent = sandbox.journal[-1].body["messages"]
        assert [answer.finish_reason for answer in answers] == ["tool_calls"] * 2 + ["stop"]
        assert answers[-1].content.text == "Rain, at noon."
        assert [[block["type"] for block in turn["content"]] for turn in sent[1:]] == [
            ["thinking", "text", "tool_use"],
            ["tool_result"],
            ["thinking", "tool_use", "tool_use"],
            ["tool_result", "tool_result"],
        ]
        thoughts = [sent[at]["content"][0]["thinking"] for at in (1, 3)]
        assert thoughts == ["First I look.", "Then the time."]

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_computers_action_is_played_and_its_picture_taken(self, stream: bool) -> None:
        replies = [Reply(tool_calls=[("screenshot", {}), ("open_door", {})]), "Done."]
        own = Tool("open_door", "Opens it.")
        with Sandbox(answer=replies) as sandbox:
            request = Request(WEATHER, stream=stream, tools=(TOOLSET, own))
            content = asked(sandbox, request).content
            look, door = content.tool_calls
            assert (look.kind, door.kind) == ("computer", None)
            said = WEATHER.add(content).with_tool_results(
                ToolResult(look.id, "", images=(SCREEN,), kind=look.kind),
                ToolResult(door.id, "It is locked.", is_error=True),
            )
            answer = asked(sandbox, request._replace(conversation=said))
        assert answer.content.text == "Done."

    def test_an_answer_that_paused_is_gone_on_with(self) -> None:
        with Sandbox(answer=[Reply("So far.", finish="pause_turn"), "The end."]) as sandbox:
            first = asked(sandbox, Request(WEATHER))
            assert first.finish_reason == "pause_turn"
            last = asked(sandbox, Request(WEATHER.add(first.content)))
        assert last.content.text == "The end."


def use(call_id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}, **more}


def result(call_id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "1", **more}


def talk(calls: list[Any], results: list[Any]) -> list[dict[str, Any]]:
    turns = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": calls}]
    return [*turns, {"role": "user", "content": results}] if results else turns


STRICT = {**WIRE_TOOL, "strict": True}
ASK = [{"role": "user", "content": "Go."}]
BAD_ROUNDS = {
    "a result without its call": (talk([{"type": "text", "text": "x"}], [result()]), "unexpected"),
    "a call without its result": (talk([use(), use("t2")], [result()]), "immediately after: t2"),
    "a call at the end": (talk([use()], []), "immediately after: t1"),
    "a result behind a text": (
        talk([use()], [{"type": "text", "text": "x"}, result()]),
        "immediately after: t1",
    ),
    "two results of a call": (talk([use()], [result(), result()]), "single result"),
    "two calls of an id": (talk([use(), use()], [result()]), "must be unique"),
    "an id of strange letters": (talk([use("t 1")], [result("t 1")]), "should match pattern"),
    "a computer's result without its toolset": (
        talk([use(toolset_name="computer")], [result()]),
        "toolset_name",
    ),
    "a toolset where there was none": (
        talk([use()], [result(toolset_name="computer")]),
        "toolset_name",
    ),
}
BAD_TOOLS: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
    "a schema of no object": (
        {"tools": [{**WIRE_TOOL, "input_schema": {"type": "string"}}]},
        "input_schema.type",
    ),
    "an unknown field": ({"tools": [{**WIRE_TOOL, "parameters": {}}]}, "Extra inputs"),
    "a name with spaces": ({"tools": [{**WIRE_TOOL, "name": "f g"}]}, "should match pattern"),
    "two of a name": ({"tools": [WIRE_TOOL, WIRE_TOOL]}, "names must be unique"),
    "an unknown type": ({"tools": [{"type": "flying_20260101"}]}, "does not match any"),
    "an open strict schema": ({"tools": [STRICT]}, "tools.0.custom.input_schema: For 'object'"),
    "a toolset with a name": ({"tools": [{**TOOLSET, "name": "computer"}]}, "Extra inputs"),
    "a toolset's unknown member": (
        {"tools": [{**TOOLSET, "configs": {"fly": {"enabled": True}}}]},
        "configs.fly: Extra inputs",
    ),
    "a choice without tools": ({"tool_choice": {"type": "auto"}}, "while providing tools"),
    "a choice of a tool that is not there": (
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "tool", "name": "g"}},
        "'g' not found",
    ),
    "a choice without a name": (
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "tool"}},
        "name: Field required",
    ),
    "an unknown choice": ({"tools": [WIRE_TOOL], "tool_choice": {"type": "all"}}, "one of 'auto'"),
    "none, but one at a time": (
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}},
        "Extra inputs",
    ),
    "forced where thinking is always on": (
        {"model": "claude-opus-5-5", "tools": [WIRE_TOOL], "tool_choice": {"type": "any"}},
        "does not support forced",
    ),
    "forced while it thinks": (
        {
            "tools": [WIRE_TOOL],
            "tool_choice": {"type": "any"},
            "thinking": {"type": "adaptive"},
        },
        "Thinking may not be enabled",
    ),
    "MCP servers without the beta": (
        {"mcp_servers": [{"type": "url", "name": "x", "url": "https://x"}]},
        "mcp_servers: Extra inputs",
    ),
}
MCP = {"type": "url", "name": "x", "url": "https://x"}
MCP_TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "x"}


class TestSandboxWithTheirPackage:
    """The anthropic package and the sandbox."""

    @pytest.fixture
    def anthropic(self) -> Any:
        return pytest.importorskip("anthropic", minversion="2")

    def client(self, anthropic: Any, sandbox: Sandbox) -> Any:
        return anthropic.Anthropic(base_url=sandbox.anthropic_url, api_key="key", max_retries=0)

    @pytest.mark.parametrize("stream", [False, True])
    def test_it_goes_through_two_rounds_of_tools(self, anthropic: Any, stream: bool) -> None:
        replies = [
            Reply("Look.", "Hm.", tool_calls=[("f", {"n": 1}), ("f", {})]),
            Reply(tool_calls=[("f", {"n": 2})]),
            "Done.",
        ]
        turns: list[Any] = list(ASK)
        with Sandbox(answer=replies) as sandbox:
            client = self.client(anthropic, sandbox)
            for _ in range(3):
                arguments = {"messages": turns, "tools": [WIRE_TOOL], **LIMITS}
                if stream:
                    with client.messages.stream(**arguments) as events:
                        message = events.get_final_message()
                else:
                    message = client.messages.create(**arguments)
                calls = [block for block in message.content if block.type == "tool_use"]
                turns.append(message.to_param())
                if calls:
                    results = [result(call.id) for call in calls]
                    turns.append({"role": "user", "content": results})
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3
        assert (message.stop_reason, message.content[0].text) == ("end_turn", "Done.")

    def test_it_reads_a_computers_action_with_its_toolset(self, anthropic: Any) -> None:
        reply = Reply(tool_calls=[("left_click", {"coordinate": [1, 2]}), ("zoom", {})])
        tools = [{**TOOLSET, "configs": {"zoom": {"enabled": False}}}]
        with Sandbox(answer=reply) as sandbox:
            client = self.client(anthropic, sandbox)
            message = client.messages.create(messages=ASK, tools=tools, **LIMITS)
        assert [block.toolset_name for block in message.content] == ["computer", None]

    @pytest.mark.parametrize("name", sorted(BAD_ROUNDS))
    def test_rounds_that_do_not_pair_are_refused(
        self, anthropic: Any, sandbox: Sandbox, name: str
    ) -> None:
        messages, words = BAD_ROUNDS[name]
        with pytest.raises(anthropic.BadRequestError) as caught:
            self.client(anthropic, sandbox).messages.create(messages=messages, **LIMITS)
        assert words in caught.value.body["error"]["message"]

    @pytest.mark.parametrize("name", sorted(BAD_TOOLS))
    def test_tools_and_choices_that_cannot_be_are_refused(
        self, anthropic: Any, sandbox: Sandbox, name: str
    ) -> None:
        body, words = BAD_TOOLS[name]
        with pytest.raises(anthropic.BadRequestError) as caught:
            self.client(anthropic, sandbox).messages.create(messages=ASK, **LIMITS, extra_body=body)
        assert words in caught.value.body["error"]["message"]

    def test_thinking_may_not_be_dropped_nor_moved_within_a_round(self, anthropic: Any) -> None:
        reply = Reply("Look.", "Hm.", tool_calls=[("f", {})])
        with Sandbox(answer=reply) as sandbox:
            client = self.client(anthropic, sandbox)
            first = client.messages.create(messages=ASK, tools=[WIRE_TOOL], **LIMITS)
            thinking, text, call = (block.to_dict() for block in first.content)
            answered = [result(call["id"])]
            for content in ([text, call], [text, call, thinking]):
                turns = talk(content, answered)
                with pytest.raises(anthropic.BadRequestError, match="cannot be modified"):
                    client.messages.create(messages=turns, tools=[WIRE_TOOL], **LIMITS)
            client.messages.create(messages=talk([thinking, call], answered), **LIMITS)
            past = [*talk([text, call], answered), {"role": "assistant", "content": "x"}, *ASK]
            client.messages.create(messages=past, **LIMITS)

    @pytest.mark.parametrize(
        ("servers", "tools", "words"),
        [
            ([MCP], [MCP_TOOLSET], None),
            ([MCP], [], "exactly one mcp_toolset"),
            ([MCP], [MCP_TOOLSET, MCP_TOOLSET], "exactly one mcp_toolset"),
            ([], [MCP_TOOLSET], "not found in mcp_servers"),
            ([{**MCP, "url": "http://x"}], [MCP_TOOLSET], "must start with https"),
        ],
    )
    def test_mcp_servers_and_their_toolsets_belong_together(
        self, anthropic: Any, sandbox: Sandbox, servers: Any, tools: Any, words: Any
    ) -> None:
        create = self.client(anthropic, sandbox).beta.messages.create
        arguments = {"messages": ASK, "mcp_servers": servers, "tools": tools, **LIMITS}
        beta = ["mcp-client-2026-09-15"]
        if words is None:
            assert create(betas=beta, **arguments).content
        else:
            with pytest.raises(anthropic.BadRequestError, match=words):
                create(betas=beta, **arguments)
