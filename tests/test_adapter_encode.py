"""What goes over the wire: golden bodies per adapter, URLs, headers and the merging of extras.

`python tests/test_adapter_encode.py` writes the golden files anew; read the difference before
you commit it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.errors import PromptError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall, ToolResult
from deluge_sync.values.request import Request

GOLDEN = Path(__file__).parent / "golden"

MODELS = {
    "openai_chat": Model(
        "gpt-x",
        Provider("openai", base_url="https://api.openai.com/v1"),
        thinking="effort",
        efforts=("none", "low", "high"),
        max_tokens_field="max_completion_tokens",
    ),
    "openai_responses": Model(
        "gpt-x",
        Provider("openai", adapter="openai_responses", base_url="https://api.openai.com/v1"),
        thinking="effort",
        efforts=("none", "low", "high"),
    ),
    "anthropic": Model(
        "claude-x",
        Provider("anthropic", adapter="anthropic", base_url="https://api.anthropic.com"),
        thinking="adaptive",
        efforts=("none", "low", "high"),
        max_output_tokens=128_000,
    ),
    "gemini": Model(
        "gemini-x",
        Provider("google", adapter="gemini", base_url="https://generativelanguage.googleapis.com"),
        thinking="level",
        efforts=("minimal", "low", "high"),
    ),
    "bedrock_converse": Model(
        "nova-x",
        Provider("bedrock", adapter="bedrock_converse", base_url="https://bedrock"),
        thinking="level",
        efforts=("none", "low", "high"),
    ),
    "cohere_chat": Model(
        "command-x",
        Provider("cohere", adapter="cohere_chat", base_url="https://api.cohere.com"),
    ),
}

HELLO = Conversation().system("Be brief.").user("Hello")
LATER_SYSTEM = Conversation((*HELLO.messages, Message.assistant("Hi."))).system("Now in French.")
TOOLS = Conversation(
    (
        Message.system("You have tools."),
        Message.user("Weather in Rome and Oslo?"),
        Message(
            "assistant",
            (
                Thinking("Two calls.", signature="c2ln"),
                Text("Let me look."),
                ToolCall("call_1", "weather", {"city": "Rome"}, signature="c2lnMQ=="),
                ToolCall("call_2", "weather", {"city": "Oslo"}),
            ),
        ),
        Message("tool", (ToolResult("call_1", "31 C", "weather"),)),
        Message("tool", (ToolResult("call_2", "no such station", is_error=True),)),
        Message.user("And tomorrow?"),
    )
)
TURNS = (
    HELLO.add(Message.assistant("Hi, ünïcode 🌍."))
    .add(Message("assistant", (Thinking("YmxvYg==", redacted=True),)))
    .add(Message("user", (Text("One"), Text("Two"))))
)
ALL_PARAMS = SamplingParams(
    temperature=0.5,
    top_p=0.9,
    max_new_tokens=300,
    stop=("END", "STOP"),
    seed=7,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    logprobs=True,
    top_logprobs=3,
)


def case(name, conversation, params=None, *, model=None, **extras):
    """One golden case: for the adapter, the request and the model's fields that differ."""
    return name, Request(conversation, params or SamplingParams(), **extras), model or {}


def common_cases():
    return [
        case("a plain prompt", Conversation.of("Hello")),
        case("a system prompt", HELLO),
        case("a later system message", LATER_SYSTEM),
        case("several turns and parts", TURNS),
        case("parallel tool calls and their results", TOOLS),
        case("an effort", HELLO, SamplingParams(reasoning_effort="high")),
        case("no effort", HELLO, SamplingParams(reasoning_effort="none")),
    ]


CASES = {
    "openai_chat": [
        *common_cases(),
        case("all parameters", HELLO, dataclasses.replace(ALL_PARAMS, verbosity="low")),
        case(
            "other names for seed and max tokens",
            HELLO,
            SamplingParams(seed=7, max_new_tokens=9),
            model={"seed_field": "random_seed", "max_tokens_field": "max_tokens"},
        ),
        case("top_logprobs alone", HELLO, SamplingParams(top_logprobs=2)),
        case(
            "reasoning echoed to hosts that want it",
            TOOLS,
            model={"supports": frozenset({"echo_reasoning"})},
        ),
        case(
            "a thinking switch beside the effort, on",
            HELLO,
            SamplingParams(reasoning_effort="high"),
            model={"thinking": "adaptive"},
        ),
        case(
            "a thinking switch beside the effort, off",
            HELLO,
            SamplingParams(reasoning_effort="none"),
            model={"thinking": "adaptive"},
        ),
        case("extra body", HELLO, extra_body={"model": "other", "user": "u", "n": 1}),
    ],
    "anthropic": [
        *common_cases(),
        case(
            "all parameters",
            HELLO,
            SamplingParams(temperature=0.5, top_p=0.9, top_k=40, max_new_tokens=300, stop="END"),
        ),
        case(
            "a later system message where the model takes one",
            LATER_SYSTEM,
            model={"supports": frozenset({"mid_system"})},
        ),
        case(
            "a thinking budget",
            HELLO,
            SamplingParams(thinking_budget=2_000),
            model={"thinking": "budget"},
        ),
        case(
            "a thinking budget above the default max_tokens",
            HELLO,
            SamplingParams(thinking_budget=30_000),
            model={"thinking": "budget"},
        ),
        case(
            "an effort as a budget, at most half of max_tokens",
            HELLO,
            SamplingParams(reasoning_effort="high", max_new_tokens=6_000),
            model={"thinking": "budget"},
        ),
        case(
            "an effort that no budget fits",
            HELLO,
            SamplingParams(reasoning_effort="high", max_new_tokens=1_500),
            model={"thinking": "budget"},
        ),
        case(
            "an effort where thinking is always on",
            HELLO,
            SamplingParams(reasoning_effort="low"),
            model={"thinking": "always"},
        ),
        case(
            "extra body merged into output_config",
            HELLO,
            SamplingParams(reasoning_effort="low"),
            extra_body={"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        ),
    ],
    "gemini": [
        *common_cases(),
        case("all parameters", HELLO, dataclasses.replace(ALL_PARAMS, top_k=40)),
        case(
            "a thinking budget",
            HELLO,
            SamplingParams(thinking_budget=2_000),
            model={"thinking": "budget"},
        ),
        case(
            "an effort as a budget",
            HELLO,
            SamplingParams(reasoning_effort="none"),
            model={"thinking": "budget"},
        ),
        case(
            "extra body merged into generationConfig",
            HELLO,
            SamplingParams(temperature=0.5),
            extra_body={"generationConfig": {"candidateCount": 1}, "labels": {"team": "a"}},
        ),
    ],
}


def encoded(adapter, request, changes):
    return ADAPTERS[adapter].encode(request, dataclasses.replace(MODELS[adapter], **changes))


def test_every_adapter_sends_exactly_the_golden_bodies():
    """Byte for byte, for the same request must give the same cache key in every release."""
    for adapter, cases in CASES.items():
        golden = json.loads((GOLDEN / f"{adapter}.json").read_text("utf-8"))
        assert list(golden) == [name for name, _, _ in cases]
        for name, request, changes in cases:
            compact = json.dumps(golden[name], ensure_ascii=False, separators=(",", ":"))
            assert encoded(adapter, request, changes).body.decode() == compact, (adapter, name)


@pytest.mark.parametrize(
    ("adapter", "changes", "url"),
    [
        ("openai_chat", {}, "https://api.openai.com/v1/chat/completions"),
        ("openai_responses", {}, "https://api.openai.com/v1/responses"),
        ("anthropic", {}, "https://api.anthropic.com/v1/messages"),
        (
            "gemini",
            {},
            "https://generativelanguage.googleapis.com/v1/models/gemini-x:generateContent",
        ),
        (
            "gemini",
            {"api_version": "v1beta", "id": "tunedModels/a b"},
            "https://generativelanguage.googleapis.com/v1beta/tunedModels/a%20b:generateContent",
        ),
        (
            "openai_chat",
            {"provider": Provider("azure", base_url="https://r.azure.com/d/?api-version=1")},
            "https://r.azure.com/d/chat/completions?api-version=1",
        ),
    ],
)
def test_a_base_url_means_what_it_means_to_the_vendors_own_sdk(adapter, changes, url):
    request = encoded(adapter, Request(HELLO), changes)
    assert (request.method, request.url) == ("POST", url)


def headers_of(adapter, params=None, extra=None, **changes):
    request = Request(HELLO, params or SamplingParams(), extra_headers=extra or {})
    pairs = encoded(adapter, request, changes).headers
    by_name = {name.lower(): value for name, value in pairs}
    assert len(by_name) == len(pairs)
    return by_name


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_later_headers_win_whatever_the_case_of_their_names(adapter):
    provider = Provider("p", base_url="https://p", headers={"X-Team": "a", "x-kept": "k"})
    headers = headers_of(adapter, extra={"x-team": "b", "Content-Type": "x"}, provider=provider)
    assert (headers["x-team"], headers["x-kept"], headers["content-type"]) == ("b", "k", "x")


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_no_header_or_body_holds_a_secret(adapter):
    request = encoded(adapter, Request(HELLO), {})
    assert "authorization" not in headers_of(adapter)
    assert b"key" not in request.body


@pytest.mark.parametrize(
    ("params", "changes", "version"),
    [
        ({}, {}, "2026-10-21"),
        ({}, {"api_version": "2027-01-01"}, "2027-01-01"),
        ({"temperature": 0.0}, {"legacy_api_version": "2023-06-01"}, "2023-06-01"),
        ({"top_k": 1}, {"legacy_api_version": "2023-06-01"}, "2023-06-01"),
        ({"stop": ("x",)}, {"legacy_api_version": "2023-06-01"}, "2026-10-21"),
        ({"temperature": 1.0}, {}, "2026-10-21"),
    ],
)
def test_anthropic_gets_the_legacy_version_only_with_sampling_parameters(params, changes, version):
    headers = headers_of("anthropic", SamplingParams(**params), **changes)
    assert headers["anthropic-version"] == version


def test_anthropics_default_max_tokens_stays_under_the_non_streaming_limit():
    for window, expected in ((None, 8_192), (4_096, 4_096), (128_000, 16_000)):
        request = encoded("anthropic", Request(HELLO), {"max_output_tokens": window})
        assert json.loads(request.body)["max_tokens"] == expected


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_what_an_adapter_names_unsupported_never_reaches_the_wire(adapter):
    unsupported = ADAPTERS[adapter].UNSUPPORTED
    values = {"reasoning_effort": "low", "verbosity": "low", "stop": ("x",), "logprobs": True}
    params = {name: values.get(name, 5) for name in unsupported}
    bare = encoded(adapter, Request(HELLO), {}).body
    # top_logprobs needs no company on a vendor without it.
    assert encoded(adapter, Request(HELLO, SamplingParams(**params)), {}).body == bare


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize(
    "message",
    [
        Message("user", (ToolCall("1", "f"),)),
        Message("system", (ToolResult("1", "x"),)),
        Message("assistant", (ToolResult("1", "x"),)),
        Message("user", (Thinking("hm"),)),
    ],
)
def test_a_part_in_the_wrong_role_is_a_prompt_error(adapter, message):
    conversation = Conversation((Message.user("Hello"), message))
    with pytest.raises(PromptError, match=r"cannot hold a"):
        encoded(adapter, Request(conversation), {})


@pytest.mark.parametrize("adapter", list(ADAPTERS))
@pytest.mark.parametrize("value", [float("nan"), object(), "\ud83d"])
def test_what_json_cannot_hold_is_a_prompt_error(adapter, value):
    with pytest.raises(PromptError, match="cannot be written as JSON"):
        encoded(adapter, Request(HELLO, extra_body={"x": value}), {})


@pytest.mark.parametrize("adapter", ["anthropic", "gemini", "bedrock_converse"])
def test_a_lone_system_prompt_is_a_prompt_error_where_the_vendor_refuses_it(adapter):
    with pytest.raises(PromptError, match="beside the system prompt"):
        encoded(adapter, Request(Conversation().system("Be brief.")), {})


def test_gemini_asks_for_the_least_level_that_the_model_has_when_thinking_is_to_be_off():
    for efforts, level in ((("minimal", "low"), "MINIMAL"), (("low", "high"), "LOW")):
        request = Request(HELLO, SamplingParams(reasoning_effort="none"))
        body = json.loads(encoded("gemini", request, {"efforts": efforts}).body)
        thinking = body["generationConfig"]["thinkingConfig"]
        assert thinking == {"thinkingLevel": level, "includeThoughts": False}


def test_a_result_in_a_users_message_goes_before_its_text():
    """Every vendor wants the results right behind the calls they answer."""
    message = Message("user", (Text("and?"), ToolResult("call_1", "31 C")))
    request = Request(Conversation((*TOOLS.messages[:3], message)))
    openai = json.loads(encoded("openai_chat", request, {}).body)["messages"][-2:]
    assert [turn["role"] for turn in openai] == ["tool", "user"]
    anthropic = json.loads(encoded("anthropic", request, {}).body)["messages"][-1]["content"]
    assert [block["type"] for block in anthropic] == ["tool_result", "text"]
    bedrock = json.loads(encoded("bedrock_converse", request, {}).body)["messages"][-1]["content"]
    assert [list(block) for block in bedrock] == [["toolResult"], ["text"]]
    cohere = json.loads(encoded("cohere_chat", request, {}).body)["messages"][-2:]
    assert [turn["role"] for turn in cohere] == ["tool", "user"]


def write_golden():
    for adapter, cases in CASES.items():
        lines = ",\n".join(
            f"{json.dumps(name)}: {encoded(adapter, request, changes).body.decode()}"
            for name, request, changes in cases
        )
        (GOLDEN / f"{adapter}.json").write_text("{\n" + lines + "\n}\n", "utf-8")


if __name__ == "__main__":
    write_golden()
