"""What Gemini is sent of tools, beside the golden files."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deluge_sync import Conversation, Image, MCPServer, Message, Tool, ToolCall, ToolResult
from deluge_sync.adapters import gemini, gemini_media
from deluge_sync.adapters.gemini_tools import SKIP_SIGNATURE, made_up_id
from deluge_sync.catalog import Catalog
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import VendorBlock
from deluge_sync.values.request import Request

CAN = frozenset({"tools", "forced_tool_choice", "vision"})
MODEL = Model("m", Provider("google", "gemini", "https://vendor"), supports=CAN)
HELLO = Conversation().user("Hello")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PLACE = {"type": "object", "properties": {"at": {"type": "string"}}}
LOOK, GO = Tool("look", "Looks.", PLACE), Tool("go")
STRICT = dataclasses.replace(LOOK, strict=True)
SEARCH = {"googleSearch": {}}


def sent(request, model=MODEL):
    return json.loads(gemini.encode(request, model).body)


def offered(*tools, model=MODEL, **options):
    body = sent(Request(HELLO, tools=tools, **options), model)
    return body.get("tools"), body.get("toolConfig")


def refusal(*tools, model=MODEL, **options):
    with pytest.raises(ConfigError) as caught:
        offered(*tools, model=model, **options)
    return caught.value.message


@pytest.mark.parametrize(
    ("tools", "choice", "config"),
    [
        ((LOOK, GO), None, None),
        ((LOOK, GO), "auto", {"mode": "AUTO"}),
        ((LOOK, GO), "none", {"mode": "NONE"}),
        ((LOOK, GO), "required", {"mode": "ANY"}),
        ((LOOK, GO), "go", {"mode": "ANY", "allowedFunctionNames": ["go"]}),
        ((STRICT, GO), None, {"mode": "VALIDATED"}),
        ((STRICT, GO), "auto", {"mode": "VALIDATED"}),
        ((STRICT, GO), "none", {"mode": "NONE"}),
        ((STRICT, GO), "required", {"mode": "ANY"}),
    ],
)
def test_each_choice_has_its_mode(tools, choice, config):
    wanted = None if config is None else {"functionCallingConfig": config}
    assert offered(*tools, tool_choice=choice)[1] == wanted


def test_several_at_a_time_is_what_it_does_unasked_and_one_at_a_time_has_no_form():
    assert offered(LOOK, parallel_tool_calls=True) == offered(LOOK)
    assert "google/m has no parallel_tool_calls" in refusal(LOOK, parallel_tool_calls=False)


def test_functions_are_one_entry_and_its_own_tools_go_as_they_are():
    computer = {"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}
    tools, config = offered(computer, LOOK, GO)
    functions, own = tools
    assert [function["name"] for function in functions["functionDeclarations"]] == ["look", "go"]
    assert functions["functionDeclarations"][0]["parametersJsonSchema"] == PLACE
    assert functions["functionDeclarations"][1] == {"name": "go"}
    assert own == computer
    assert config is None


def test_beside_functions_googles_own_tools_need_a_switch_that_vertex_has_not():
    switch = {"includeServerSideToolInvocations": True}
    vertex = dataclasses.replace(MODEL, api_version="")
    assert offered(LOOK, SEARCH)[1] == switch
    assert offered(SEARCH, {"computerUse": {}})[1] == switch
    assert offered(SEARCH, {"urlContext": {}})[1] is None
    assert offered(LOOK, SEARCH, model=vertex)[1] is None


def test_a_strict_tools_schema_is_closed():
    (entry,), _ = offered(STRICT)
    schema = entry["functionDeclarations"][0]["parametersJsonSchema"]
    assert schema["additionalProperties"] is False


def test_an_object_of_any_fields_is_asked_for():
    (entry,), _ = offered(Tool("note", "", {"type": "object", "additionalProperties": True}))
    assert entry["functionDeclarations"][0]["parametersJsonSchema"]["additionalProperties"] is True


def test_an_mcp_server_is_called_with_its_token_and_headers():
    servers = (
        MCPServer("docs", "https://docs.example/mcp", "token", {"X-Team": "a"}),
        MCPServer("open", "https://open.example/mcp"),
    )
    (entry,), config = offered(*servers)
    assert entry["mcpServers"] == [
        {
            "name": "docs",
            "streamableHttpTransport": {
                "url": "https://docs.example/mcp",
                "headers": {"X-Team": "a", "Authorization": "Bearer token"},
            },
        },
        {"name": "open", "streamableHttpTransport": {"url": "https://open.example/mcp"}},
    ]
    assert config is None


@pytest.mark.parametrize(
    ("tool", "changes", "words"),
    [
        (Tool("2nd"), {}, "begin with a letter"),
        (MCPServer("docs", "https://x", allowed_tools=("a",)), {}, "allowed_tools"),
        (MCPServer("docs", "https://x"), {"api_version": ""}, "Vertex"),
        ({"type": "mcp", "authorization": "hush"}, {}, "such as mcp"),
        ({}, {}, "such as a dict"),
        (LOOK, {"supports": frozenset()}, "lacks tools"),
        (SEARCH, {"supports": frozenset()}, "lacks tools"),
    ],
)
def test_a_tool_without_a_form_is_named_without_its_secrets(tool, changes, words):
    told = refusal(tool, model=dataclasses.replace(MODEL, **changes))
    assert words in told
    assert "google/m" in told
    assert "hush" not in told


@pytest.mark.parametrize("choice", ["required", "look"])
def test_a_model_that_cannot_be_forced_is_told_so(choice):
    model = dataclasses.replace(MODEL, supports=CAN - {"forced_tool_choice"})
    assert "google/m" in refusal(LOOK, tool_choice=choice, model=model)
    assert offered(LOOK, tool_choice="none", model=model)[1] is not None


def test_a_schema_that_is_not_taken_is_named_with_its_tool():
    schema = {"type": "object", "properties": {"a": {"enum": [None]}}}
    assert "tool look: google/m does not take its schema: schema.properties.a" in refusal(
        Tool("look", "", schema)
    )


def test_a_choice_needs_functions_to_choose_among():
    assert "functions only" in refusal(SEARCH, tool_choice="required")


def test_of_a_model_that_nobody_described_nothing_is_refused():
    model = Catalog.builtin().model("google/gemini-9-unheard-of", base_url="https://vendor")
    assert offered(LOOK, tool_choice="required", model=model)[0]


def echo(*parts, model=MODEL):
    return sent(Request(HELLO.add(Message("assistant", parts))), model)["contents"][1]["parts"]


def test_a_made_up_id_is_never_sent_and_a_given_one_always():
    unnamed = made_up_id("r1", 0)
    conversation = HELLO.add(
        Message("assistant", (ToolCall(unnamed, "look"), ToolCall("c1", "go")))
    ).with_tool_results(ToolResult(unnamed, "Rain"), ToolResult("c1", "12:00"))
    _, calls, results = sent(Request(conversation))["contents"]
    assert [part["functionCall"] for part in calls["parts"]] == [
        {"name": "look", "args": {}},
        {"id": "c1", "name": "go", "args": {}},
    ]
    assert [part["functionResponse"] for part in results["parts"]] == [
        {"name": "look", "response": {"output": "Rain"}},
        {"id": "c1", "name": "go", "response": {"output": "12:00"}},
    ]


def test_the_first_call_of_a_turn_is_signed_for_models_that_want_it_so():
    calls = (ToolCall("c1", "look"), ToolCall("c2", "go"))
    levels = dataclasses.replace(MODEL, thinking="level")
    assert [part.get("thoughtSignature") for part in echo(*calls)] == [None, None]
    told = [part.get("thoughtSignature") for part in echo(*calls, model=levels)]
    assert told == [SKIP_SIGNATURE, None]
    signed = (dataclasses.replace(calls[0], signature="c2ln"), calls[1])
    kept = [part.get("thoughtSignature") for part in echo(*signed, model=levels)]
    assert kept == ["c2ln", None]


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult("c", "Rain"), {"output": "Rain"}),
        (ToolResult("c", '{"sky": "rain"}'), {"sky": "rain"}),
        (ToolResult("c", '{"error": 0}'), {"output": {"error": 0}}),
        (ToolResult("c", '{"output": 1}'), {"output": {"output": 1}}),
        (ToolResult("c", "[1]"), {"output": "[1]"}),
        (ToolResult("c", '{"a": Infinity}'), {"output": '{"a": Infinity}'}),
        (ToolResult("c", '{"sky": "?"}', is_error=True), {"error": '{"sky": "?"}'}),
    ],
)
def test_a_result_is_an_object(result, response):
    body = sent(Request(HELLO.with_tool_results(result)))
    assert body["contents"][0]["parts"][1]["functionResponse"]["response"] == response


def test_all_results_of_a_turn_are_one_content_however_many_messages_they_came_in():
    conversation = HELLO.assistant("So.").with_tool_results(ToolResult("a", "1"))
    contents = sent(Request(conversation.with_tool_results(ToolResult("b", "2"))))["contents"]
    assert len(contents) == 3
    assert len(contents[2]["parts"]) == 2


def test_pictures_of_results_count_against_the_size_of_a_request(monkeypatch):
    picture = Image(PNG, media_type="image/png")
    request = Request(HELLO.with_tool_results(ToolResult("c", "", images=(picture,))))
    sent(request)
    monkeypatch.setattr(gemini_media, "MOST_INLINE", 20)
    with pytest.raises(PromptError, match="base64 counted"):
        sent(request)


def test_a_picture_in_a_result_needs_a_model_that_sees():
    picture = Image(PNG, media_type="image/png")
    request = Request(HELLO.with_tool_results(ToolResult("c", "", images=(picture,))))
    with pytest.raises(PromptError, match="vision"):
        sent(request, dataclasses.replace(MODEL, supports=CAN - {"vision"}))


def test_only_the_model_itself_holds_what_its_vendors_tools_did():
    block = VendorBlock({"executableCode": {"code": "1"}})
    assert echo(block) == [{"executableCode": {"code": "1"}}]
    with pytest.raises(PromptError, match="VendorBlock"):
        sent(Request(Conversation((Message("user", (block,)),))))


def test_other_vendors_blocks_stay_at_home():
    block = VendorBlock({"type": "web_search_call"}, "openai_responses")
    message = Message("assistant", (block, VendorBlock({"toolCall": {}}, "gemini")))
    kept = HELLO.add(message).going_over("gemini")
    assert sent(Request(kept))["contents"][1]["parts"] == [{"toolCall": {}}]
