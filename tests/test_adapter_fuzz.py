"""Whatever comes, an adapter gives an answer or one of our errors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deluge_sync.adapters import ADAPTERS
from deluge_sync.values.errors import CallError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.prompt import Conversation, Message
from deluge_sync.values.request import Request
from deluge_sync.values.response import Answer, Usage
from deluge_sync.values.wire import HttpResponse, LimitHint

MODEL = Model("m", Provider("vendor", base_url="https://vendor"), supports={"echo_reasoning"})
FEW = settings(max_examples=100, deadline=None)
adapters = pytest.mark.parametrize("adapter", list(ADAPTERS))

SEEDS = {
    "bedrock_converse": {
        "output": {
            "message": {
                "content": [
                    {"text": "a"},
                    {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}},
                    {"reasoningContent": {"reasoningText": {"text": "a", "signature": "s"}}},
                    {"reasoningContent": {"redactedContent": "cw=="}},
                    {"toolUse": {"toolUseId": "2", "name": "f", "type": "server_tool_use"}},
                    {"toolResult": {"toolUseId": "2", "content": []}},
                ]
            }
        },
        "stopReason": "guardrail_intervened",
        "usage": {"inputTokens": 1, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
        "serviceTier": {"type": "flex"},
        "message": "m",
    },
    "cohere_chat": {
        "id": "1",
        "finish_reason": "COMPLETE",
        "message": {
            "content": [{"type": "thinking", "thinking": "a"}, {"type": "text", "text": "a"}],
            "tool_plan": "p",
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        "usage": {"billed_units": {"input_tokens": 1.0}, "tokens": {}, "cached_tokens": 1},
        "logprobs": [{"text": "a", "token_ids": [1], "logprobs": [-1]}],
    },
    "openai_chat": {
        "id": "1",
        "choices": [
            {
                "message": {
                    "content": [{"type": "thinking", "thinking": [{"text": "a"}]}],
                    "refusal": "no",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        },
                        {"id": "2", "type": "custom", "custom": {"name": "f", "input": "x"}},
                    ],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 1}},
        "error": {"message": "m", "code": 429, "type": "t", "metadata": {"flagged_input": ""}},
    },
    "openai_responses": {
        "id": "1",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [
            {"type": "reasoning", "id": "1", "summary": [{"text": "a"}], "encrypted_content": "s"},
            {"type": "reasoning", "id": "1", "summary": [], "content": [{"text": "a"}]},
            {
                "type": "message",
                "phase": "commentary",
                "content": [
                    {
                        "type": "output_text",
                        "text": "a",
                        "logprobs": [
                            {
                                "token": "a",
                                "logprob": -1,
                                "top_logprobs": [{"token": "a", "logprob": -1}],
                            }
                        ],
                    },
                    {"type": "refusal", "refusal": "no"},
                ],
            },
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "1", "name": "f", "input": "x"},
            {"type": "web_search_call", "status": "completed"},
        ],
        "usage": {
            "input_tokens": 1,
            "input_tokens_details": {"cache_write_tokens_details": {"ttl_12h_tokens": 1}},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        "service_tier": "default",
        "error": {"message": "m", "code": "server_error", "type": "t"},
    },
    "anthropic": {
        "id": "1",
        "content": [
            {"type": "text", "text": "a"},
            {"type": "thinking", "thinking": "a", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "2", "name": "f", "input": {}, "toolset_name": "computer"},
            {"type": "server_tool_use", "id": "3", "name": "f", "input": {}},
        ],
        "stop_reason": "refusal",
        "stop_details": {"category": "bio", "explanation": "e"},
        "usage": {"input_tokens": 1, "output_tokens_details": {"thinking_tokens": 1}},
        "error": {"type": "t", "message": "m", "details": {"error_code": "c"}},
    },
    "gemini": {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "a", "thought": True, "thoughtSignature": "s"},
                        {"functionCall": {"name": "f", "args": {}}},
                    ]
                },
                "finishReason": "SAFETY",
                "finishMessage": "m",
            }
        ],
        "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "m"},
        "usageMetadata": {"promptTokenCount": 1},
        "error": {
            "code": 429,
            "message": "m",
            "status": "S",
            "details": [{"reason": "R", "retryDelay": "3s", "violations": [{"quotaId": "PerDay"}]}],
        },
    },
}

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["text", "error", "function", "stop", "429", "²", "\ud83d", "[", "{}"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
statuses = st.sampled_from([0, 100, 200, 201, 301, 400, 401, 404, 413, 429, 500, 529, 700])
header_names = [
    "retry-after",
    "retry-after-ms",
    "date",
    "location",
    "x-should-retry",
    "x-request-id",
    *(
        name
        for what in ("limit", "remaining", "reset")
        for name in (
            f"x-ratelimit-{what}-requests",
            f"x-ratelimit-{what}-tokens",
            f"anthropic-ratelimit-{what}-requests",
            f"anthropic-ratelimit-tokens-{what}",
        )
    ),
]
header_values = st.text(max_size=12) | st.from_regex(
    r"[0-9]{1,4}(ms|s|m0s)?|20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00:00Z"
    r"|[A-Z][a-z]{2}, [0-9]{1,2} Jan [0-9]{1,6} [0-9]{2}:00:00 [A-Z+0-9]{0,5}",
    fullmatch=True,
)
headers = st.dictionaries(st.sampled_from(header_names), header_values, max_size=4)
clocks = st.floats()


@st.composite
def altered(draw, seed):
    """`seed` with up to three of its places replaced or removed."""
    body = json.loads(json.dumps(seed))
    if draw(st.booleans()):
        body.pop("error", None)
    for _ in range(draw(st.integers(0, 3))):
        place = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(values)
            break
    return body


def check_error(error):
    assert len(str(error)) < 700
    assert error.retry_after is None or 0 <= error.retry_after <= 1e9


def check(adapter, response):
    """Decode: an answer whose parts can be stored and sent back, or an error that can be shown."""
    try:
        answer = ADAPTERS[adapter].decode(response, MODEL)
    except CallError as error:
        check_error(error)
        return
    assert isinstance(answer, Answer)
    assert isinstance(answer.usage, Usage)
    assert all(type(number) is int and number >= 0 for number in answer.usage)
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)
    (answer.content.text or "").encode()
    (answer.content.thinking or "").encode()
    again = Conversation((Message.user("?"), answer.content, Message.user("!")))
    ADAPTERS[adapter].encode(Request(again), MODEL)


@adapters
@FEW
@given(data=st.data(), status=statuses, received_at=clocks)
def test_any_altered_answer_is_read_or_refused(adapter, data, status, received_at):
    body = json.dumps(data.draw(altered(SEEDS[adapter]))).encode()
    check(adapter, HttpResponse(status, data.draw(headers), body, received_at))


@adapters
@FEW
@given(value=values, status=statuses)
def test_any_json_is_read_or_refused(adapter, value, status):
    check(adapter, HttpResponse(status, {}, json.dumps(value).encode(), 1.0))


@adapters
@FEW
@given(body=st.binary(max_size=60), status=statuses)
def test_any_bytes_are_read_or_refused(adapter, body, status):
    check(adapter, HttpResponse(status, {}, body, 1.0))


@adapters
@FEW
@given(headers=headers, received_at=clocks)
def test_any_headers_give_hints_within_reason(adapter, headers, received_at):
    for hint in ADAPTERS[adapter].limits(HttpResponse(200, headers, b"", received_at)):
        assert isinstance(hint, LimitHint)
        for number in hint[1:]:
            assert number is None or 0 <= number <= 1e9
