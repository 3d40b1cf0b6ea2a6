"""What adapters read out of good answers: content, finish reasons, refusals and usage."""

from __future__ import annotations

import json

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.errors import DecodeError, RefusalError, TransientError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.params import SamplingParams
from deluge_sync.values.prompt import Conversation, Message, Text, Thinking, ToolCall, VendorBlock
from deluge_sync.values.request import Request
from deluge_sync.values.response import Usage
from deluge_sync.values.wire import HttpResponse

MODEL = Model("m", Provider("vendor", base_url="https://vendor"))


def decode(adapter, body, **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ADAPTERS[adapter].decode(HttpResponse(200, headers, raw), MODEL)


def openai(message=None, finish="stop", usage=None, **choice):
    message = {"role": "assistant", "content": "Hi", **(message or {})}
    choice = {"index": 0, "message": message, "finish_reason": finish, **choice}
    return {"id": "chatcmpl-1", "choices": [choice], "usage": usage}


def anthropic(*blocks, stop="end_turn", usage=None, **extra):
    blocks = blocks or ({"type": "text", "text": "Hi"},)
    return {"id": "msg_1", "content": blocks, "stop_reason": stop, "usage": usage, **extra}


def gemini(*parts, finish="STOP", usage=None, **candidate):
    content = {"role": "model", "parts": parts or ({"text": "Hi"},)}
    candidate = {"content": content, "finishReason": finish, **candidate}
    return {"candidates": [candidate], "responseId": "r1", "usageMetadata": usage}


def responses():
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
    return {"id": "resp_1", "status": "completed", "output": [message]}


def converse():
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    return {"output": {"message": message}, "stopReason": "end_turn"}


def cohere():
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
    return {"id": "c_1", "finish_reason": "COMPLETE", "message": message}


PLAIN = {
    "openai_chat": openai,
    "openai_responses": responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock_converse": converse,
    "cohere_chat": cohere,
}
IDS = {
    "openai_chat": "chatcmpl-1",
    "openai_responses": "resp_1",
    "anthropic": "msg_1",
    "gemini": "r1",
    "bedrock_converse": None,
    "cohere_chat": "c_1",
}


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_a_plain_answer_is_text_a_reason_and_an_id(adapter):
    answer = decode(adapter, PLAIN[adapter]())
    assert answer.content == Message("assistant", (Text("Hi"),))
    assert (answer.finish_reason, answer.error) == ("stop", None)
    assert (answer.response_id, answer.usage) == (IDS[adapter], Usage())


@pytest.mark.parametrize(
    ("adapter", "word", "reason"),
    [
        ("openai_chat", "length", "length"),
        ("openai_chat", "model_length", "length"),
        ("openai_chat", "tool_calls", "tool_calls"),
        ("openai_chat", "Odd_Word", "odd_word"),
        ("openai_chat", None, None),
        ("anthropic", "stop_sequence", "stop"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "model_context_window_exceeded", "length"),
        ("anthropic", "tool_use", "tool_calls"),
        ("anthropic", "pause_turn", "pause_turn"),
        ("gemini", "MAX_TOKENS", "length"),
        ("gemini", "OTHER", "other"),
        ("gemini", "CONTINUATION", "continuation"),
    ],
)
def test_finish_reasons_have_one_vocabulary(adapter, word, reason):
    answer = decode(
        adapter, PLAIN[adapter](**{"stop" if adapter == "anthropic" else "finish": word})
    )
    assert (answer.finish_reason, answer.error) == (reason, None)


@pytest.mark.parametrize(
    ("adapter", "body", "usage"),
    [
        (
            "openai_chat",
            openai(
                usage={
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
                    "completion_tokens_details": {"reasoning_tokens": 40},
                }
            ),
            Usage(100, 50, 30, 20, 40),
        ),
        (
            "anthropic",
            anthropic(
                usage={
                    "input_tokens": 50,
                    "cache_read_input_tokens": 30,
                    "cache_creation_input_tokens": 20,
                    "output_tokens": 50,
                    "output_tokens_details": {"thinking_tokens": 40},
                }
            ),
            Usage(100, 50, 30, 20, 40),
        ),
        (
            "gemini",
            gemini(
                usage={
                    "promptTokenCount": 90,
                    "toolUsePromptTokenCount": 10,
                    "cachedContentTokenCount": 30,
                    "candidatesTokenCount": 10,
                    "thoughtsTokenCount": 40,
                }
            ),
            Usage(100, 50, 30, 0, 40),
        ),
    ],
)
def test_usage_means_the_same_for_all_vendors(adapter, body, usage):
    """Input with caches, output with thinking, the rest parts of those."""
    assert decode(adapter, body).usage == usage


def test_reasoning_left_out_of_the_completion_tokens_is_added():
    """XAI counts it apart; the total says so."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 1,
        "total_tokens": 399,
        "completion_tokens_details": {"reasoning_tokens": 386},
    }
    assert decode("openai_chat", openai(usage=usage)).usage == Usage(12, 387, 0, 0, 386)


@pytest.mark.parametrize("odd", [None, "12", -3, 1.5, True, [], {}])
def test_odd_token_counts_do_not_cost_an_answer_that_was_paid_for(odd):
    answer = decode("openai_chat", openai(usage={"prompt_tokens": odd, "completion_tokens": 5}))
    assert (answer.content.text, answer.usage) == ("Hi", Usage(0, 5))


@pytest.mark.parametrize(
    ("adapter", "body", "parts"),
    [
        (
            "openai_chat",
            openai({"reasoning_content": "Hm."}),
            (Thinking("Hm."), Text("Hi")),
        ),
        ("openai_chat", openai({"reasoning": "Hm."}), (Thinking("Hm."), Text("Hi"))),
        ("openai_chat", openai({"content": None}, finish="length"), ()),
        ("openai_chat", openai({"content": ""}), (Text(""),)),
        (
            "openai_chat",
            openai(
                {
                    "content": [
                        {
                            "type": "thinking",
                            "thinking": [{"type": "text", "text": "Hm"}, {"text": "."}],
                            "signature": "s",
                        },
                        {"type": "text", "text": "Hi"},
                        {"type": "reference", "reference_ids": [1]},
                    ]
                }
            ),
            (Thinking("Hm.", "s"), Text("Hi")),
        ),
        (
            "anthropic",
            anthropic(
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "blob"},
                {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
                {"type": "text", "text": "Hi", "citations": None},
            ),
            (
                Thinking("Hm.", "s"),
                Thinking("blob", redacted=True),
                VendorBlock(
                    {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}
                ),
                Text("Hi"),
            ),
        ),
        ("anthropic", {**anthropic(), "content": []}, ()),
        (
            "gemini",
            gemini(
                {"text": "Hm.", "thought": True},
                {"text": "Hi", "thoughtSignature": "s"},
                {"executableCode": {"code": "1"}},
            ),
            (
                Thinking("Hm."),
                Text("Hi"),
                Thinking("s", redacted=True),
                VendorBlock({"executableCode": {"code": "1"}}),
            ),
        ),
        ("gemini", gemini(finish="MAX_TOKENS", content={"role": "model"}), ()),
        ("gemini", gemini(finish="MAX_TOKENS", content=None), ()),
    ],
)
def test_content_becomes_parts_in_order(adapter, body, parts):
    assert decode(adapter, body).content.parts == parts


CALL = ToolCall("c1", "weather", {"city": "Rome"})


def openai_call(arguments, **call):
    function = {"name": "weather", "arguments": arguments}
    call = {"id": "c1", "type": "function", "function": function, **call}
    return openai({"content": None, "tool_calls": [call]}, finish="tool_calls")


@pytest.mark.parametrize(
    ("adapter", "body", "call"),
    [
        ("openai_chat", openai_call('{"city":"Rome"}'), CALL),
        ("openai_chat", openai_call({"city": "Rome"}), CALL),
        ("openai_chat", openai_call(""), ToolCall("c1", "weather", {})),
        (
            "openai_chat",
            openai_call("", type="custom", custom={"name": "weather", "input": "Rome"}),
            ToolCall("c1", "weather", {"input": "Rome"}, kind="custom"),
        ),
        (
            "anthropic",
            anthropic(
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
                stop="tool_use",
            ),
            CALL,
        ),
        (
            "gemini",
            gemini(
                {
                    "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}},
                    "thoughtSignature": "s",
                }
            ),
            ToolCall("c1", "weather", {"city": "Rome"}, "s"),
        ),
        (
            "gemini",
            gemini({"functionCall": {"name": "weather"}}),
            ToolCall("unnamed-r1-0", "weather", {}),
        ),
    ],
)
def test_tool_calls_come_as_parts_and_set_the_finish_reason(adapter, body, call):
    answer = decode(adapter, body)
    assert (answer.content.parts, answer.finish_reason) == ((call,), "tool_calls")


def test_a_stop_with_tool_calls_is_a_tool_turn():
    """OpenAI says "stop" where the tool choice was forced."""
    body = openai_call("{}")
    body["choices"][0]["finish_reason"] = "stop"
    assert decode("openai_chat", body).finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("adapter", "body", "reason", "code", "text"),
    [
        (
            "openai_chat",
            openai({"content": None, "refusal": "I cannot help."}),
            "refusal",
            "refusal",
            "I cannot help.",
        ),
        ("openai_chat", openai(finish="content_filter"), "content_filter", "content_filter", ""),
        (
            "anthropic",
            anthropic(
                stop="refusal",
                stop_details={"type": "refusal", "category": "bio", "explanation": "No labs."},
            ),
            "refusal",
            "bio",
            "No labs.",
        ),
        ("anthropic", anthropic(stop="refusal", stop_details=None), "refusal", "refusal", ""),
        (
            "gemini",
            {"promptFeedback": {"blockReason": "SAFETY"}},
            "content_filter",
            "SAFETY",
            "(safety)",
        ),
        ("gemini", gemini(finish="SAFETY"), "content_filter", "SAFETY", ""),
        ("gemini", gemini(finish="PROHIBITED_CONTENT"), "content_filter", "PROHIBITED_CONTENT", ""),
        ("gemini", gemini(finish="BLOCKLIST"), "content_filter", "BLOCKLIST", ""),
        ("gemini", gemini(finish="SPII"), "content_filter", "SPII", ""),
        (
            "gemini",
            gemini(finish="RECITATION", finishMessage="Song text."),
            "content_filter",
            "RECITATION",
            "Song text.",
        ),
    ],
)
def test_a_refusal_is_an_answer_with_an_error(adapter, body, reason, code, text):
    answer = decode(adapter, body, **{"x-request-id": "req_1"})
    assert answer.finish_reason == reason
    assert isinstance(answer.error, RefusalError)
    assert (answer.error.code, answer.error.status) == (code, 200)
    assert (answer.error.request_id, answer.error.retryable) == ("req_1", False)
    assert text in str(answer.error)


def test_a_refusal_keeps_content_and_usage():
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    answer = decode("openai_chat", openai(finish="content_filter", usage=usage))
    assert (answer.content.text, answer.usage.total_tokens) == ("Hi", 10)


def without(body, *path):
    """`body` without the field at `path`."""
    body = json.loads(json.dumps(body))
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return body


@pytest.mark.parametrize(
    ("adapter", "body"),
    [
        ("openai_chat", b""),
        ("openai_chat", b"<html>"),
        ("openai_chat", b'{"choices": ['),
        ("openai_chat", b"\xff\xfe\x00"),
        ("openai_chat", b"[" * 100_000),
        ("openai_chat", b"9" * 5_000),
        ("openai_chat", []),
        ("openai_chat", "text"),
        ("openai_chat", {}),
        ("openai_chat", {"choices": []}),
        ("openai_chat", {"choices": [None]}),
        ("openai_chat", {"choices": {"0": 1}}),
        ("openai_chat", without(openai(), "choices", 0, "message")),
        ("openai_chat", without(openai(), "choices", 0, "message", "content")),
        ("openai_chat", openai({"content": 5})),
        ("openai_chat", openai({"content": [5]})),
        ("openai_chat", openai({"tool_calls": "x"})),
        ("openai_chat", openai_call("{")),
        ("openai_chat", openai_call("[1]")),
        ("openai_chat", openai_call("[" * 100_000)),
        ("anthropic", without(anthropic(), "content")),
        ("anthropic", {**anthropic(), "content": "Hi"}),
        ("anthropic", anthropic({"type": "text"})),
        ("anthropic", anthropic({"type": "tool_use", "id": "1", "name": "f", "input": "{}"})),
        ("gemini", {}),
        ("gemini", {"candidates": []}),
        ("gemini", {"candidates": [{}]}),
        ("gemini", {"promptFeedback": {}}),
        ("gemini", gemini({"text": 5})),
        ("gemini", gemini({"functionCall": {"name": None}})),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_decode_error(adapter, body):
    with pytest.raises(DecodeError) as caught:
        decode(adapter, body, **{"request-id": "req_1"})
    assert caught.value.retryable
    assert (caught.value.status, caught.value.request_id) == (200, "req_1")
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is None


def test_half_a_surrogate_pair_becomes_a_question_mark():
    """Such a text could be neither stored nor printed."""
    body = json.dumps(openai()).replace('"Hi"', '"cut \\ud83d, whole \\ud83d\\ude00"').encode()
    text = decode("openai_chat", body).content.text
    assert text == "cut ?, whole \U0001f600"
    call = openai_call('{"city": "\\ud83d"}')
    assert decode("openai_chat", call).content.tool_calls[0].arguments == {"city": "?"}


def test_a_byte_order_mark_is_tolerated():
    body = b"\xef\xbb\xbf" + json.dumps(openai()).encode()
    assert decode("openai_chat", body).content.text == "Hi"


@pytest.mark.parametrize(
    "body",
    [
        openai(finish="error"),
        openai(finish="error", error={"code": 502, "message": "upstream"}),
        {"choices": [{"error": {"code": 502, "message": "upstream"}}]},
    ],
)
def test_a_generation_that_broke_off_is_transient(body):
    with pytest.raises(TransientError):
        decode("openai_chat", body)


@pytest.mark.parametrize(
    ("adapter", "body", "field"),
    [
        (
            "anthropic",
            anthropic(
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "blob"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1, None]}},
            ),
            "content",
        ),
        (
            "gemini",
            gemini(
                {"text": "Hm.", "thought": True, "thoughtSignature": "s0"},
                {"text": "Hi", "thoughtSignature": "s1"},
                {"text": "", "thoughtSignature": "s2"},
                {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "s3"},
            ),
            "parts",
        ),
    ],
)
def test_a_signed_turn_goes_back_exactly_as_it_came(adapter, body, field):
    """A changed block is a 400 at both vendors."""
    answer = decode(adapter, body)
    conversation = Conversation((Message.user("?"), answer.content, Message.user("!")))
    sent = json.loads(ADAPTERS[adapter].encode(Request(conversation, SamplingParams()), MODEL).body)
    came = body["content"] if adapter == "anthropic" else body["candidates"][0]["content"]["parts"]
    turns = sent["messages" if adapter == "anthropic" else "contents"]
    assert turns[1][field] == json.loads(json.dumps(came))
