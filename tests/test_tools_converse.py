"""Converse's tools: what is sent and read, and a sandbox that botocore takes for Bedrock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import ServerEvent
from deluge_sync.testing import Reply, Sandbox
from deluge_sync.values.deltas import TextDelta, ToolCallDelta
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Message, Text, ToolCall, ToolResult, VendorBlock
from deluge_sync.values.request import PromptCache, Request
from deluge_sync.values.tool import MCPServer, Tool
from deluge_sync.values.wire import HttpResponse

from .golden_features import FEATURES, TOOLS, WEATHER

ADAPTER = ADAPTERS["bedrock_converse"]
EVERYTHING = frozenset({"vision", "tools", "forced_tool_choice", "json_schema", "prompt_caching"})
GROUNDING = {"systemTool": {"name": "nova_grounding"}}


def model_with(supports: frozenset[str] = EVERYTHING) -> Model:
    provider = Provider("bedrock", "bedrock_converse", base_url="https://bedrock")
    return Model("m", provider, supports=supports)


def body_of(request: Request, model: Model | None = None) -> Any:
    return json.loads(ADAPTER.encode(request, model or model_with()).body)


class TestEncoding:
    """`toolConfig`."""

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            (None, None),
            ("auto", {"auto": {}}),
            ("required", {"any": {}}),
            ("now", {"tool": {"name": "now"}}),
        ],
    )
    def test_each_choice_has_its_form(self, choice: Any, sent: Any) -> None:
        config = body_of(Request(WEATHER, tools=TOOLS, tool_choice=choice))["toolConfig"]
        assert config.get("toolChoice") == sent

    @pytest.mark.parametrize(
        ("change", "lacking", "words"),
        [
            ({"tool_choice": "none"}, "", "no tool_choice none"),
            ({"parallel_tool_calls": False}, "", "no parallel_tool_calls=False"),
            ({"tools": (MCPServer("x", "https://x"),)}, "", "no MCP servers: MCP server x"),
            ({"tools": ({"type": "web_search_20260318"},)}, "", "not with type"),
            ({"tool_choice": "required"}, "forced_tool_choice", "lacks forced_tool_choice"),
            ({}, "tools", "takes no tools"),
        ],
    )
    def test_what_has_no_form_is_named_before_sending(
        self, change: Any, lacking: str, words: str
    ) -> None:
        request = Request(WEATHER, tools=TOOLS)._replace(**change)
        with pytest.raises(ConfigError, match=words):
            body_of(request, model_with(EVERYTHING - {lacking}))

    def test_a_claude_that_is_to_think_is_not_forced(self) -> None:
        params = SamplingParams(reasoning_effort="high")
        model = Model("m", model_with().provider, supports=EVERYTHING, thinking="adaptive")
        with pytest.raises(ConfigError, match="while it thinks"):
            body_of(Request(WEATHER, params, tools=TOOLS, tool_choice="required"), model)
        assert body_of(Request(WEATHER, params, tools=TOOLS, tool_choice="auto"), model)

    def test_strict_is_sent_where_it_is_asked_for(self) -> None:
        tools = [Tool("f", "Does it.", strict=strict) for strict in (True, None, False)]
        for tool, sent in zip(tools, (True, None, None)):
            (wire,) = body_of(Request(WEATHER, tools=(tool,)))["toolConfig"]["tools"]
            assert wire["toolSpec"].get("strict") is sent

    @pytest.mark.parametrize("pattern", ["tools_only", "system_and_tools"])
    def test_a_cache_point_stands_behind_the_tools(self, pattern: str) -> None:
        request = Request(WEATHER, tools=(*TOOLS, GROUNDING), prompt_cache=PromptCache(pattern))
        tools = body_of(request)["toolConfig"]["tools"]
        assert tools[2:] == [GROUNDING, {"cachePoint": {"type": "default"}}]

    def test_a_computers_actions_have_no_form(self) -> None:
        for message in FEATURES["computer, Anthropic's"].conversation.messages[1:]:
            with pytest.raises(PromptError, match="computer"):
                body_of(Request(WEATHER.add(message), tools=TOOLS))


CALL = {"toolUseId": "s1", "name": "nova_grounding", "input": {"query": "x"}}
SERVER_CALL = {"toolUse": {**CALL, "type": "server_tool_use"}}
SERVER_RESULT = {
    "toolResult": {
        "toolUseId": "s1",
        "type": "nova_grounding_result",
        "status": "success",
        "content": [{"json": {"found": 1}}, {"text": "x"}],
    }
}


class TestServerTools:
    """Calls that Bedrock answers by itself."""

    def test_they_are_kept_in_their_place_and_echoed_unchanged(self) -> None:
        cited = {"citationsContent": {"content": [{"text": "x"}], "citations": []}}
        blocks = [SERVER_CALL, SERVER_RESULT, cited, {"text": "So."}]
        body = {"output": {"message": {"content": blocks}}, "stopReason": "end_turn"}
        answer = ADAPTER.decode(HttpResponse(200, {}, json.dumps(body).encode()), model_with())
        kinds = [type(part) for part in answer.content.parts]
        assert kinds == [VendorBlock, VendorBlock, VendorBlock, Text]
        sent = body_of(Request(WEATHER.add(answer.content), tools=(GROUNDING,)))
        assert sent["messages"][-1]["content"] == blocks

    def test_they_are_read_from_a_stream_as_from_the_whole(self) -> None:
        fold = ADAPTER.fold(HttpResponse(200, {}, b""), model_with())
        start = {name: CALL[name] for name in ("toolUseId", "name")}
        result = SERVER_RESULT["toolResult"]
        begun = {name: result[name] for name in ("toolUseId", "type", "status")}
        events: list[tuple[str, Any]] = [
            (
                "contentBlockStart",
                [0, {"start": {"toolUse": {**start, "type": "server_tool_use"}}}],
            ),
            ("contentBlockDelta", [0, {"delta": {"toolUse": {"input": '{"query": '}}}]),
            ("contentBlockDelta", [0, {"delta": {"toolUse": {"input": '"x"}'}}}]),
            ("contentBlockStart", [1, {"start": {"toolResult": begun}}]),
            ("contentBlockDelta", [1, {"delta": {"toolResult": [{"json": {"found": 1}}]}}]),
            ("contentBlockDelta", [1, {"delta": {"toolResult": [{"text": "x"}]}}]),
            ("contentBlockDelta", [2, {"delta": {"text": "So."}}]),
        ]
        deltas = []
        for name, (index, data) in events:
            data = {"contentBlockIndex": index, **data}
            deltas += fold.feed(ServerEvent(name, json.dumps(data)))
        fold.feed(ServerEvent("messageStop", '{"stopReason": "end_turn"}'))
        fold.feed(ServerEvent("metadata", "{}"))
        assert deltas == [TextDelta("So.")]
        assert fold.answer().content.parts == (
            VendorBlock(SERVER_CALL),
            VendorBlock(SERVER_RESULT),
            Text("So."),
        )

    def test_calls_of_ours_are_told_as_they_come(self) -> None:
        fold = ADAPTER.fold(HttpResponse(200, {}, b""), model_with())
        start = {"toolUse": {"toolUseId": "t1", "name": "now"}}
        data = {"contentBlockIndex": 0, "start": start}
        (delta,) = fold.feed(ServerEvent("contentBlockStart", json.dumps(data)))
        assert delta == ToolCallDelta(0, "", "t1", "now")


SPECIFICATION = {
    "name": "f",
    "description": "Does it.",
    "inputSchema": {"json": {"type": "object"}},
}
CONFIG = {"tools": [{"toolSpec": SPECIFICATION}]}
ASK = {"role": "user", "content": [{"text": "Go."}]}


def use(call_id: str = "t1") -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": {}}}


def result(call_id: str = "t1") -> dict[str, Any]:
    return {"toolResult": {"toolUseId": call_id, "content": [{"text": "1"}]}}


def talk(calls: list[Any], results: list[Any]) -> list[Any]:
    turns = [ASK, {"role": "assistant", "content": calls}]
    return [*turns, {"role": "user", "content": results}] if results else turns


def config_of(**changes: Any) -> dict[str, Any]:
    return {"tools": [{"toolSpec": {**SPECIFICATION, **changes}}]}


BAD = {
    "a call without its result": (talk([use(), use("t2")], [result()]), CONFIG, "Ids: t2"),
    "a call at the end": (talk([use()], []), CONFIG, "Expected toolResult blocks"),
    "a result without its call": (talk([{"text": "x"}], [result()]), CONFIG, "exceeds the number"),
    "a round without tools": (talk([use()], [result()]), None, "toolConfig field must be defined"),
    "two tools of a name": ([ASK], {"tools": CONFIG["tools"] * 2}, "duplicate tool names"),
    "a choice of a tool that is not there": (
        [ASK],
        {**CONFIG, "toolChoice": {"tool": {"name": "g"}}},
        "The tool g is not",
    ),
    "a schema of no object": (
        [ASK],
        config_of(inputSchema={"json": {"type": "string"}}),
        "the JSON schema of an object",
    ),
}


class TestBotocore:
    """botocore and the sandbox."""

    @pytest.fixture
    def create(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        session = pytest.importorskip("botocore.session")
        pytest.importorskip("botocore", minversion="1.44")  # the fields of then
        config = pytest.importorskip("botocore.config").Config(retries={"total_max_attempts": 1})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)

        def client(sandbox: Sandbox) -> Any:
            return session.get_session().create_client(
                "bedrock-runtime",
                region_name="eu-central-1",
                endpoint_url=sandbox.url,
                config=config,
            )

        return client

    @pytest.mark.parametrize("stream", [False, True])
    def test_it_goes_through_two_rounds_of_tools(self, create: Any, stream: bool) -> None:
        calls = [("f", {"n": 1}), ("f", {})]
        replies = [Reply("Look.", tool_calls=calls), Reply(tool_calls=calls[:1]), "Done."]
        turns: list[Any] = [ASK]
        with Sandbox(answer=replies) as sandbox:
            client = create(sandbox)
            for _ in range(3):
                arguments = {"modelId": "echo", "messages": turns, "toolConfig": CONFIG}
                if stream:
                    content = joined(client.converse_stream(**arguments)["stream"])
                else:
                    content = client.converse(**arguments)["output"]["message"]["content"]
                turns.append({"role": "assistant", "content": content})
                ids = [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]
                if ids:
                    turns.append({"role": "user", "content": [result(call) for call in ids]})
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3
        assert turns[1]["content"][1]["toolUse"]["input"] == {"n": 1}
        assert turns[-1]["content"] == [{"text": "Done."}]

    @pytest.mark.parametrize("name", sorted(BAD))
    def test_what_the_vendor_would_not_take_is_refused(
        self, create: Any, sandbox: Sandbox, name: str
    ) -> None:
        messages, config, words = BAD[name]
        arguments = {} if config is None else {"toolConfig": config}
        client = create(sandbox)
        with pytest.raises(client.exceptions.ValidationException, match=words):
            client.converse(modelId="echo", messages=messages, **arguments)


def joined(events: Any) -> list[Any]:
    """The content that a stream of events makes."""
    texts: dict[int, str] = {}
    calls: dict[int, Any] = {}
    for event in events:
        for part in event.values():
            index = part.get("contentBlockIndex")
            if "start" in part:
                calls[index] = part["start"]["toolUse"]
            delta = part.get("delta", {})
            text = delta.get("text") or delta.get("toolUse", {}).get("input", "")
            if index is not None:
                texts[index] = texts.get(index, "") + text
    return [
        {"toolUse": {**calls[index], "input": json.loads(text)}}
        if index in calls
        else {"text": text}
        for index, text in sorted(texts.items())
    ]


def test_calls_and_results_of_all_kinds_but_a_computers_go_as_functions() -> None:
    call = ToolCall("t1", "f", {"input": "x"}, kind="custom")
    said = WEATHER.add(Message("assistant", (call,))).with_tool_results(ToolResult("t1", "1"))
    sent = body_of(Request(said, tools=TOOLS))["messages"]
    assert sent[1]["content"][0]["toolUse"]["input"] == {"input": "x"}
    assert sent[2]["content"] == [result("t1")]
