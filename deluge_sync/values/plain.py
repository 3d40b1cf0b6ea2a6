"""Messages and answers as plain JSON values, and back: what caches and journals hold.

`from_plain` functions raise `MalformedError` for anything that their counterpart did not write.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Callable

from .errors import PromptError
from .media import Audio, File, Image, base64_of
from .prompt import Message, Part, Text, Thinking, ToolCall, ToolResult, VendorBlock
from .response import Answer, RouteStep, TokenLogprob, Usage

ALWAYS = ("content", "usage", "finish_reason", "response_id")
"""What the plain form of every answer has."""


class MalformedError(ValueError):
    """Not what was written."""


def message_to_plain(message: Message) -> dict[str, Any]:
    """`{"role": ..., "parts": [...]}`; a text part is its string."""
    return {"role": message.role, "parts": [_part_to_plain(part) for part in message.parts]}


def message_from_plain(value: Any) -> Message:
    """The message that `message_to_plain` was given."""
    try:
        parts = value["parts"]
        if len(parts) == 1 and type(parts[0]) is str:  # nearly all there are
            return Message(value["role"], (Text(parts[0]),))
        return Message(value["role"], tuple([_part_from_plain(part) for part in parts]))
    except (KeyError, TypeError, PromptError) as error:
        raise MalformedError(f"not a message: {error}") from None


def answer_to_plain(answer: Answer) -> dict[str, Any]:
    """An answer without its error."""
    plain: dict[str, Any] = {
        "content": message_to_plain(answer.content),
        "usage": list(answer.usage),
        "finish_reason": answer.finish_reason,
        "response_id": answer.response_id,
    }
    if answer.logprobs is not None:
        plain["logprobs"] = answer.logprobs
    if answer.service_tier is not None:
        plain["service_tier"] = answer.service_tier
    return plain


def answer_from_plain(value: Any) -> Answer:
    """The answer that `answer_to_plain` was given."""
    try:
        finish, identity = value["finish_reason"], value["response_id"]
        if not (_is_text(finish) and _is_text(identity)):
            raise MalformedError("not an answer: a word of it is not a text")
        answer = Answer(
            message_from_plain(value["content"]), usage_from_plain(value["usage"]), finish, identity
        )
        if len(value) == len(ALWAYS):
            return answer
        tier = value.get("service_tier")
        return answer._replace(
            logprobs=logprobs_from_plain(value.get("logprobs")),
            service_tier=tier if _is_text(tier) else None,
        )
    except (KeyError, TypeError) as error:
        raise MalformedError(f"not an answer: {error}") from None


def usage_from_plain(value: Any) -> Usage:
    """Usage from its numbers in order, or by name; what was not written yet then is 0."""
    named = isinstance(value, dict)
    try:
        numbers = list(value.values() if named else value)
        if numbers and (set(map(type, numbers)) != {int} or min(numbers) < 0):
            raise MalformedError("not a usage: a count of tokens is not a count")
        return Usage(**value) if named else Usage(*numbers)
    except TypeError as error:
        raise MalformedError(f"not a usage: {error}") from None


def logprobs_from_plain(value: Any) -> tuple[TokenLogprob, ...] | None:
    """The logprobs that JSON made lists of; None for None."""
    if value is None:
        return None
    try:
        return tuple(
            TokenLogprob(str(token), float(chance), tuple((str(t), float(c)) for t, c in top))
            for token, chance, top in value
        )
    except (TypeError, ValueError) as error:
        raise MalformedError(f"not logprobs: {error}") from None


def route_from_plain(value: Any) -> tuple[RouteStep, ...]:
    """The models that a call went to, from a list of `{"model": ..., "outcome": ...}`."""
    try:
        route = tuple(RouteStep(**step) for step in value)
    except TypeError as error:
        raise MalformedError(f"not a route: {error}") from None
    if not all(type(word) is str for step in route for word in step):
        raise MalformedError("not a route: a word of it is not a text")
    return route


def _is_text(value: Any) -> bool:
    return value is None or type(value) is str


def _part_to_plain(part: Part) -> Any:
    if type(part) is Text and part.phase is None:
        return part.text
    fields = {name: value for name, value in vars(part).items() if value not in (None, False)}
    if isinstance(part, ToolCall):
        fields["arguments"] = dict(part.arguments)
    elif isinstance(part, ToolResult):
        fields = {name: value for name, value in fields.items() if value != ()}
        if part.images:
            fields["images"] = [_part_to_plain(image) for image in part.images]
        if part.acknowledged:
            fields["acknowledged"] = [dict(check) for check in part.acknowledged]
    elif isinstance(part, VendorBlock):
        fields["data"] = dict(part.data)
    elif isinstance(part, (Image, Audio, File)):
        fields = {name: value for name, value in fields.items() if value}
        if part.data:
            fields["data"] = base64_of(part.data)
    return {"type": _NAMES[type(part)], **fields}


def _part_from_plain(value: Any) -> Part:
    if type(value) is str:
        return Text(value)
    if not isinstance(value, Mapping):
        raise MalformedError("not a part of a message")
    fields = dict(value)
    make = _KINDS.get(fields.pop("type", ""))
    if make is None:
        raise MalformedError("not a part of a message")
    if make in (Image, Audio, File) and isinstance(fields.get("data"), str):
        fields["data"] = _bytes(fields["data"])
    if make is VendorBlock:
        return _block_from_plain(fields)
    for name in ("images", "acknowledged"):
        if name in fields:
            fields[name] = _members(name, fields[name])
    for name, field in fields.items():
        wanted = _TYPES.get(name, str)
        if not isinstance(field, wanted):
            raise MalformedError(f"not a part of a message: {name} is not a {wanted.__name__}")
    return make(**fields)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError(f"not a part of a message: {error}") from None


def _block_from_plain(fields: dict[str, Any]) -> VendorBlock:
    data, origin = fields.get("data"), fields.get("origin")
    if not isinstance(data, dict) or not _is_text(origin) or set(fields) - {"data", "origin"}:
        raise MalformedError("not a part of a message: a vendor's block")
    return VendorBlock(data, origin)


def _members(name: str, values: Any) -> tuple[Any, ...]:
    """The pictures, or the checks, of a tool's result."""
    members = tuple(values) if isinstance(values, list) else ()
    if name == "images":
        members = tuple(_part_from_plain(value) for value in members)
    kind = Image if name == "images" else dict
    if not members or not all(isinstance(member, kind) for member in members):
        raise MalformedError(f"not a part of a message: {name}")
    return members


_NAMES: dict[type, str] = {
    Text: "text",
    Thinking: "thinking",
    ToolCall: "tool_call",
    ToolResult: "tool_result",
    Image: "image",
    Audio: "audio",
    File: "file",
    VendorBlock: "vendor_block",
}
_KINDS: dict[str, Callable[..., Part]] = {name: kind for kind, name in _NAMES.items()}
_TYPES: dict[str, type] = {
    "acknowledged": tuple,
    "arguments": dict,
    "data": bytes,
    "fetch": bool,
    "images": tuple,
    "is_error": bool,
    "redacted": bool,
}
