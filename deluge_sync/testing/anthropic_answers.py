"""Good answers of the Messages API, whole and in events, as the types of the anthropic SDK 2.12
have them (`types/message.py`, `types/raw_message_stream_event.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .answers import Finished, Question, pieces
from .anthropic_tools import id_of, toolset_of
from .wire import Body

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def message(question: Question, finished: Finished, serial: int) -> Body:
    """The body of a whole answer."""
    reason = _STOP_REASONS.get(finished.finish, finished.finish)
    if finished.stop_word is not None:
        reason = "stop_sequence"
    refused = reason == "refusal"
    return {
        "id": f"msg_sandbox{serial:017d}",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": [] if refused else _content(question, finished, serial),
        "stop_reason": reason,
        "stop_sequence": finished.stop_word,
        "stop_details": _refusal(finished) if refused else None,
        "usage": _usage(finished),
    }


def events(question: Question, finished: Finished, serial: int) -> Iterator[Body]:
    """The same answer as a stream has it, with a ping behind the start of its first block."""
    whole = message(question, finished, serial)
    ending = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    usage = whole["usage"]
    yield {
        "type": "message_start",
        "message": {
            **whole,
            **dict.fromkeys(ending),
            "content": [],
            "usage": {
                **usage,
                "output_tokens": min(1, usage["output_tokens"]),
                "output_tokens_details": None,
            },
        },
    }
    for index, block in enumerate(whole["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(block)}
        if index == 0:
            yield {"type": "ping"}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    totals = {name: usage[name] for name in _TOTALS}
    yield {"type": "message_delta", "delta": ending, "usage": totals}
    yield {"type": "message_stop"}


_TOTALS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
)
"""What the last count repeats (`types/message_delta_usage.py`)."""

_EMPTY: Mapping[str, Body] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


def signature_of(thinking: str) -> str:
    """The proof that goes with a thinking block, and must come back with it."""
    digest = hashlib.sha256(b"sandbox:" + thinking.encode("utf-8", "replace")).digest()
    return base64.b64encode(digest).decode("ascii")


def _opened(block: Body) -> Body:
    return {**block, **_EMPTY[block["type"]]}


def _deltas(block: Body) -> Iterator[Body]:
    if block["type"] == "text":
        for text in pieces(block["text"]):
            yield {"type": "text_delta", "text": text}
    elif block["type"] == "thinking":
        for text in pieces(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": text}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        # The vendor begins with an empty piece, and sends no other where there is no input.
        arguments = json.dumps(block["input"]) if block["input"] else ""
        for text in ("", *pieces(arguments)):
            yield {"type": "input_json_delta", "partial_json": text}


def _refusal(finished: Finished) -> Body:
    return {
        "type": "refusal",
        "category": "general_harms",
        "explanation": finished.text or None,
    }


def _content(question: Question, finished: Finished, serial: int) -> list[Body]:
    blocks: list[Body] = []
    thinking = finished.thinking
    if thinking is not None:
        signature = signature_of(thinking)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
    if finished.text:
        blocks.append({"type": "text", "text": finished.text, "citations": None})
    for at, (name, arguments) in enumerate(finished.tool_calls):
        tool_id = id_of(serial, at, thinking, str(question.body.get("model", "")))
        call = {"type": "tool_use", "id": tool_id, "name": name, "input": arguments}
        toolset = toolset_of(name, question.body)
        blocks.append(call if toolset is None else {**call, "toolset_name": toolset})
    return blocks


def _usage(finished: Finished) -> dict[str, Any]:
    """Anthropic's `input_tokens` leaves out what was read from or written to the cache."""
    usage = finished.usage
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": usage.input_tokens - cached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_long_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_long_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }
