"""Answers as rows of JSON lines: what `deluge-sync map` and journals write, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .values.embedding import EmbedResponse
from .values.plain import (
    MalformedError,
    logprobs_from_plain,
    message_from_plain,
    message_to_plain,
    route_from_plain,
    usage_from_plain,
)
from .values.prompt import Conversation, Message, Text
from .values.response import Response

VERSION = "1"

START = b'{"index"'
"""How every row begins: so that a torn one can be told from what is not ours."""

UNUSABLE = "0" * 32
"""In the place of the digest of a prompt that is none."""

MODELS, PARAMS, PROMPT = 8, 8, 32
"""Hexadecimal digits of the digests."""

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr).encode
_READABLE = json.JSONEncoder(ensure_ascii=False).encode


class OtherVersionError(MalformedError):
    """A row of another version; the message is that version."""


class Origin(NamedTuple):
    """What an answer came of: digests, kept apart so that one can say what has changed."""

    models: str
    params: str
    prompt: str

    @property
    def text(self) -> str:
        """As the field `request` of a row."""
        return f"{VERSION}-{self.models}-{self.params}-{self.prompt}"

    @classmethod
    def read(cls, text: Any) -> Origin:
        """The origin that `text` was made of."""
        if type(text) is not str:
            raise MalformedError(
                "a row without `request`, as a run without --resume (or journal=) writes it"
            )
        version, _, rest = text.partition("-")
        digests = rest.split("-")
        if version != VERSION and version.isdigit():
            raise OtherVersionError(version)
        if version != VERSION or [len(each) for each in digests] != [MODELS, PARAMS, PROMPT]:
            raise MalformedError(f"the `request` {text!r:.60} is none of ours")
        return cls(*digests)


def models_digest(names: Sequence[str]) -> str:
    """Of a client's models, in any order."""
    return _digest(sorted(names), MODELS)


def params_digest(params: Mapping[str, Any]) -> str:
    """Of all that is sent beside model and prompt."""
    return _digest(params, PARAMS)


def prompt_digest(prompt: Any) -> str:
    """Of a prompt as it would be sent: however it is given, the same conversation has the same."""
    try:
        messages = Conversation.of(prompt).messages
        return _digest([message_to_plain(message) for message in messages], PROMPT)
    except Exception:  # whatever is wrong with it is said where it is prepared
        return UNUSABLE


def _digest(value: Any, digits: int) -> str:
    return hashlib.sha256(_CANONICAL(value).encode()).hexdigest()[:digits]


def row_of(response: Response, prompt: Any, origin: Origin | None = None) -> dict[str, Any]:
    """`response` as a row; `prompt` is what it shows as its prompt.

    The whole `content` is there only where it is more than one text, `route` only of a client of
    several models, `request` only with `origin`.
    """
    row = {
        "index": response.index,
        "prompt": prompt,
        "completion": response.completion,
        "error": None if response.error is None else f"{response.error.kind}: {response.error}",
        "model": response.model,
        "finish_reason": response.finish_reason,
        "usage": None if response.usage is None else response.usage._asdict(),
        "cost": response.cost,
        "cached": response.cached,
        "saved_cost": response.saved_cost,
        "attempts": response.attempts,
        "latency": None if response.latency is None else round(response.latency, 6),
        "request_id": response.request_id,
    }
    if response.response_id is not None:
        row["response_id"] = response.response_id
    if response.service_tier is not None:
        row["service_tier"] = response.service_tier
    if response.route:
        row["route"] = [step._asdict() for step in response.route]
    if response.logprobs is not None:
        row["logprobs"] = response.logprobs
    if response.content is not None and not _is_one_text(response.content):
        row["content"] = message_to_plain(response.content)
    if origin is not None:
        row["request"] = origin.text
    return row


def embedding_row_of(response: EmbedResponse) -> dict[str, Any]:
    """The response of one text as a row."""
    error = response.error
    return {
        "index": response.indices[0][0],
        "embedding": response.vectors[0].tolist() if response.vectors else None,
        "error": None if error is None else f"{error.kind}: {error}",
        "model": response.model,
        "usage": response.usage._asdict(),
        "cost": response.cost,
        "cached": response.cached,
        "attempts": response.attempts,
    }


def line_of(row: Mapping[str, Any]) -> str:
    """`row` as one line of JSON, with its line feed."""
    text = _READABLE(row)
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(row)  # half of a surrogate pair cannot be written as it is
    return text + "\n"


def response_of(row: Mapping[str, Any], prompt: Any) -> Response:
    """The good response that `row` was made of; `MalformedError` where it was made of none."""
    usage, content = row.get("usage"), row.get("content")
    completion = _checked(row, "completion", str)
    if content is not None:
        message: Message | None = message_from_plain(content)
    else:
        message = None if completion is None else Message.assistant(completion)
    return Response(
        model=_checked(row, "model", str) or "",
        prompt=prompt,
        index=row["index"],
        content=message,
        finish_reason=_checked(row, "finish_reason", str),
        usage=None if usage is None else usage_from_plain(usage),
        cost=_checked(row, "cost", float, int),
        attempts=_checked(row, "attempts", int) or 0,
        latency=_checked(row, "latency", float, int),
        cached=bool(_checked(row, "cached", bool)),
        saved_cost=_checked(row, "saved_cost", float, int),
        request_id=_checked(row, "request_id", str),
        response_id=_checked(row, "response_id", str),
        service_tier=_checked(row, "service_tier", str),
        logprobs=logprobs_from_plain(row.get("logprobs")),
        route=route_from_plain(row.get("route", ())),
    )


def _checked(row: Mapping[str, Any], name: str, *kinds: type) -> Any:
    value = row.get(name)
    if value is not None and type(value) not in kinds:
        raise MalformedError(f"the `{name}` of a row is not a {kinds[0].__name__}")
    return value


def _is_one_text(message: Message) -> bool:
    return (
        message.role == "assistant" and len(message.parts) == 1 and type(message.parts[0]) is Text
    )
