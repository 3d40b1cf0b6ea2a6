"""Amazon Bedrock: Converse and ConverseStream.

Shapes as in botocore 1.44's model of `bedrock-runtime`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Finished, Question, count_tokens
from .bedrock import BedrockManners, StreamRoute
from .checks import ARRAY, OBJECT, Fields, Path, VendorError, bracketed, check_fields, one_of
from .codec import dump_json
from .converse_tools import check_rounds, check_tool_config
from .frames import event_frame
from .wire import Body, Route

_FIELDS: Fields = {
    "messages": ARRAY,
    "system": ARRAY,
    "inferenceConfig": OBJECT,
    "toolConfig": OBJECT,
    "guardrailConfig": OBJECT,
    "additionalModelRequestFields": OBJECT,
    "promptVariables": OBJECT,
    "additionalModelResponseFieldPaths": ARRAY,
    "requestMetadata": OBJECT,
    "performanceConfig": OBJECT,
    "serviceTier": OBJECT,
    "outputConfig": OBJECT,
}
_MESSAGE: Fields = {"role": one_of("user", "assistant", "system"), "content": ARRAY}
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
}


class _Voice:
    """See `checks.Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"The field {bracketed(path)} is not recognized.")

    def missing(self, path: Path) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"The field {bracketed(path)} is required.")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `checks.Voice`."""
        return VendorError(400, f"The value of {bracketed(path) or 'the body'} must be {expected}.")


_VOICE = _Voice()


class BedrockConverse(BedrockManners):
    """See `Wire`."""

    name = "bedrock_converse"

    def question(
        self, route: Route, body: Any, headers: Mapping[str, str], strict: bool
    ) -> Question:
        """See `Wire`."""
        check_fields(body, _FIELDS, _VOICE, required=("messages",), strict=strict)
        if body.get("toolConfig") is not None:
            check_tool_config(body["toolConfig"], _VOICE, strict)
        turns = tuple(_turn(turn, at, strict) for at, turn in enumerate(body["messages"]))
        check_rounds(body)
        system = "".join(_text(block) for block in body.get("system") or ())
        config = body.get("inferenceConfig") or {}
        return Question(
            self.name,
            route.model or "",
            next((said for role, said in reversed(turns) if role == "user"), ""),
            system or None,
            turns,
            count_tokens(system + "".join(text for _, text in turns)),
            config.get("maxTokens"),
            tuple(config.get("stopSequences") or ()),
            body,
            isinstance(route, StreamRoute),
        )

    def answer(self, question: Question, finished: Finished, serial: int, now: float) -> Body:
        """See `Wire`."""
        return {
            "output": {"message": {"role": "assistant", "content": _content(finished, serial)}},
            "stopReason": _stop_reason(finished),
            "usage": _usage(finished),
            "metrics": {"latencyMs": 1},
        }

    def stream(
        self, question: Question, finished: Finished, serial: int, now: float
    ) -> list[bytes]:
        """See `Wire`."""
        frames = [event_frame("messageStart", {"role": "assistant"})]
        for index, block in enumerate(_content(finished, serial)):
            frames += _block_frames(index, block)
        frames.append(event_frame("messageStop", {"stopReason": _stop_reason(finished)}))
        last = {"usage": _usage(finished), "metrics": {"latencyMs": 1}}
        return [*frames, event_frame("metadata", last)]

    def count(self, question: Question) -> Body:
        """See `Wire`."""
        return {"inputTokens": question.input_tokens}

    def models(self, ids: Any) -> Body:
        """See `Wire`. Not a path of this host."""
        return {"modelSummaries": [self.model(model_id) for model_id in ids]}

    def model(self, model_id: str) -> Body:
        """See `Wire`."""
        return {"modelId": model_id}


def _turn(turn: Any, at: int, strict: bool) -> tuple[str, str]:
    path: Path = ("messages", at)
    check_fields(turn, _MESSAGE, _VOICE, path=path, required=("role", "content"), strict=strict)
    if not turn["content"]:
        raise VendorError(400, f"The content field in the Message object at {path} is empty.")
    return turn["role"], "".join(_text(block) for block in turn["content"])


def _text(block: Any) -> str:
    """The text of a content block, and of a tool's result."""
    if not isinstance(block, dict) or not block:
        raise VendorError(400, "A content block must be an object with one field.")
    result = block.get("toolResult")
    if isinstance(result, dict):
        return "".join(_text(inner) for inner in result.get("content") or ())
    text = block.get("text", "")
    if not isinstance(text, str) or ("text" in block and not text.strip()):
        raise VendorError(400, "The text field in the ContentBlock object is blank.")
    return text


def _content(finished: Finished, serial: int) -> list[Body]:
    blocks: list[Body] = []
    if finished.thinking is not None:
        thought = {"text": finished.thinking, "signature": f"sandbox-signature-{serial}"}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if finished.text:
        blocks.append({"text": finished.text})
    for at, (name, arguments) in enumerate(finished.tool_calls):
        tool_id = f"tooluse_sandbox{serial:08d}{at:02d}"
        blocks.append({"toolUse": {"toolUseId": tool_id, "name": name, "input": arguments}})
    return blocks


def _block_frames(index: int, block: Body) -> list[bytes]:
    """A block in its pieces: each text in two."""
    place = {"contentBlockIndex": index}
    start: Body = {}
    deltas: list[Body]
    if "toolUse" in block:
        call = block["toolUse"]
        start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
        pieces = _halves(dump_json(call["input"]).decode())
        deltas = [{"toolUse": {"input": piece}} for piece in pieces]
    elif "text" in block:
        deltas = [{"text": piece} for piece in _halves(block["text"])]
    else:
        thought = block["reasoningContent"]["reasoningText"]
        deltas = [{"reasoningContent": {"text": piece}} for piece in _halves(thought["text"])]
        deltas.append({"reasoningContent": {"signature": thought["signature"]}})
    frames = [event_frame("contentBlockStart", {**place, "start": start})] if start else []
    frames += [event_frame("contentBlockDelta", {**place, "delta": delta}) for delta in deltas]
    return [*frames, event_frame("contentBlockStop", place)]


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _stop_reason(finished: Finished) -> str:
    if finished.stop_word is not None:
        return "stop_sequence"
    return _STOP_REASONS.get(finished.finish, finished.finish)


def _usage(finished: Finished) -> Body:
    """`inputTokens` leaves out what was read from or written to the cache."""
    usage = finished.usage
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "inputTokens": usage.input_tokens - cached,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
