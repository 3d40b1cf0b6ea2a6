"""The vendors' own SDKs take our bodies, and we read what their response models write.

Skipped where an SDK is absent or older than the wire format we speak (on Python 3.9).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.errors import CallError, DecodeError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall
from deluge_sync.values.request import Request
from deluge_sync.values.response import Usage
from deluge_sync.values.wire import HttpResponse

GOLDEN = Path(__file__).parent / "golden"
MODEL = Model("m", Provider("vendor", base_url="https://vendor"))


def sdk(module):
    """`module` of a vendor's SDK, if that is new enough."""
    for package, oldest in (("openai", "3"), ("anthropic", "2"), ("google.genai", "3")):
        if module.startswith(package):
            pytest.importorskip(package, minversion=oldest)
    return pytest.importorskip(module)


def golden(adapter):
    return json.loads((GOLDEN / f"{adapter}.json").read_text("utf-8"))


def exhausted(value):
    """`value` with pydantic's lazy iterators run to their end, so that all of it is validated."""
    if isinstance(value, Mapping):
        return {name: exhausted(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [exhausted(inner) for inner in value]
    return value


@functools.lru_cache
def type_adapter(kind):
    """Kept for the whole run: slow to make, and pydantic's lazy iterators crash without it."""
    return pytest.importorskip("pydantic").TypeAdapter(kind)


def typed(kind, body):
    """`body` as the TypedDict `kind` knows it: validated, without the fields it does not have."""
    return exhausted(type_adapter(kind).validate_python(body))


OTHER_HOSTS = frozenset(
    {
        "other names for seed and max tokens",
        "reasoning echoed to hosts that want it",
        "a thinking switch beside the effort, on",
        "a thinking switch beside the effort, off",
    }
)


def test_openais_types_know_every_field_we_send():
    params = sdk("openai.types.chat.completion_create_params")
    for name, body in golden("openai_chat").items():
        if name not in OTHER_HOSTS:
            assert typed(params.CompletionCreateParamsNonStreaming, body) == body, name


def test_anthropics_types_know_every_field_we_send():
    """But for the sampling parameters, which only the API version before theirs takes."""
    params = sdk("anthropic.types.message_create_params")
    for name, body in golden("anthropic").items():
        if name == "all parameters":
            body = {k: v for k, v in body.items() if k not in ("temperature", "top_p", "top_k")}
        assert typed(params.MessageCreateParamsNonStreaming, body) == body, name


def test_googles_types_know_every_field_we_send():
    types = sdk("google.genai.types")

    def same(kind, value):
        parsed = kind.model_validate(value)  # these models forbid fields they do not have
        dumped = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
        assert dumped == value

    for body in golden("gemini").values():
        for content in body["contents"]:
            same(types.Content, content)
        same(types.Content, body.get("systemInstruction", {}))
        same(types.GenerationConfig, body.get("generationConfig", {}))
        known = {"contents", "systemInstruction", "generationConfig", "labels"}
        assert body.keys() <= known
        types.GenerateContentConfig.model_validate(body.get("generationConfig", {}))


def decode(adapter, text):
    return ADAPTERS[adapter].decode(HttpResponse(200, {}, text.encode()), MODEL)


def echoed(adapter, message):
    """What we would send back of `message`, as the second turn of a conversation."""
    conversation = Conversation((Message.user("?"), message, Message.user("!")))
    body = json.loads(ADAPTERS[adapter].encode(Request(conversation), MODEL).body)
    return body["contents" if adapter == "gemini" else "messages"][1]


def test_what_openais_response_model_writes_is_read():
    chat = sdk("openai.types.chat")
    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    completion = chat.ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-x",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "content": "Let me look.",
                        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
                    },
                }
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 2},
            },
        }
    )
    for text in (completion.model_dump_json(), completion.model_dump_json(exclude_none=True)):
        answer = decode("openai_chat", text)
        call = ToolCall("c1", "weather", {"city": "Rome"})
        assert answer.content.parts == (Text("Let me look."), call)
        assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(9, 4, 2))
        turn = echoed("openai_chat", answer.content)
        assert typed(chat.ChatCompletionAssistantMessageParam, turn) == turn


def test_what_anthropics_response_model_writes_is_read():
    types = sdk("anthropic.types")
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "blob"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
    ]
    message = types.Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": blocks,
            "stop_reason": "tool_use",
            "usage": {
                "input_tokens": 7,
                "cache_read_input_tokens": 2,
                "output_tokens": 4,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        }
    )
    for text in (message.model_dump_json(), message.model_dump_json(exclude_none=True)):
        answer = decode("anthropic", text)
        assert answer.content.parts == (
            Thinking("Hm.", "sig"),
            Thinking("blob", redacted=True),
            Text("Let me look."),
            ToolCall("c1", "weather", {"city": "Rome"}),
        )
        assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(9, 4, 2, 0, 3))
        assert echoed("anthropic", answer.content) == {"role": "assistant", "content": blocks}


def test_what_googles_response_model_writes_is_read():
    types = sdk("google.genai.types")
    parts = [
        {"text": "Hm.", "thought": True, "thoughtSignature": "c2lnMA=="},
        {"text": "Let me look.", "thoughtSignature": "c2lnMQ=="},
        {
            "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}},
            "thoughtSignature": "c2lnMg==",
        },
    ]
    response = types.GenerateContentResponse.model_validate(
        {
            "responseId": "r1",
            "candidates": [
                {
                    "index": 0,
                    "content": {"role": "model", "parts": parts},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {
                "promptTokenCount": 9,
                "candidatesTokenCount": 1,
                "thoughtsTokenCount": 3,
                "cachedContentTokenCount": 2,
                "totalTokenCount": 13,
            },
        }
    )
    answer = decode("gemini", response.model_dump_json(by_alias=True, exclude_none=True))
    assert answer.content.parts == (
        Thinking("Hm.", "c2lnMA=="),
        Text("Let me look."),
        Thinking("c2lnMQ==", redacted=True),
        ToolCall("c1", "weather", {"city": "Rome"}, "c2lnMg=="),
    )
    assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(9, 4, 2, 0, 3))
    turn = echoed("gemini", answer.content)
    assert turn == {"role": "model", "parts": parts}
    types.Content.model_validate(turn)


def test_every_finish_and_block_reason_google_knows_is_read():
    """A reason that means the filter spoke, or that tools went wrong, is an error; every other is
    an answer.
    """
    tools = {"UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"}
    types = sdk("google.genai.types")
    for reason in types.FinishReason:
        body = {"candidates": [{"content": {"parts": []}, "finishReason": reason.value}]}
        if reason.value == "MALFORMED_FUNCTION_CALL":
            with pytest.raises(DecodeError):
                decode("gemini", json.dumps(body))
            continue
        answer = decode("gemini", json.dumps(body))
        wrong = answer.finish_reason == "content_filter" or reason.value in tools
        assert (answer.error is not None) == wrong
    for reason in types.BlockedReason:
        answer = decode("gemini", json.dumps({"promptFeedback": {"blockReason": reason.value}}))
        assert answer.error is not None


def test_every_stop_reason_anthropic_knows_is_read():
    types = sdk("anthropic.types")
    typing = pytest.importorskip("typing_extensions")
    reasons = {
        word: decode("anthropic", json.dumps({"content": [], "stop_reason": word})).finish_reason
        for word in typing.get_args(types.StopReason)
    }
    assert {word for word, reason in reasons.items() if word == reason} == {"pause_turn", "refusal"}


def test_every_error_code_of_anthropics_sdk_gets_a_class_no_kinder_than_theirs():
    """Their spending-limit codes are the ones we never retry."""
    classes = sdk("anthropic._error_classes").ERROR_CLASSES
    for status, code in classes:
        error = {"type": "x", "message": "m", "details": {"error_code": code} if code else None}
        response = HttpResponse(status, {}, json.dumps({"error": error}).encode())
        with pytest.raises(CallError) as caught:
            ADAPTERS["anthropic"].decode(response, MODEL)
        exhausted_quota = caught.value.kind == "quota_exhausted"
        assert exhausted_quota == (status == 402 or "spend_limit_reached" in (code or ""))
