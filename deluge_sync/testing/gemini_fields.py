"""The fields generateContent accepts, and how Google words what is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from .checks import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Fields,
    Kind,
    Path,
    VendorError,
    bracketed,
    check_fields,
    integer_from,
    number_between,
    one_of,
)
from .gemini_tools import camels


def _is_media_type(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.+-]+/[\w.+-]+", value) is not None


def _is_uri(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"(https?|gs)://.", value) is not None


def _is_base64(value: Any) -> bool:
    """Google takes both alphabets; its own SDK sends the one for URLs."""
    if not isinstance(value, str) or not value:
        return False
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        return False
    return True


_MEDIA_TYPE = Kind("a MIME type", _is_media_type)
_URI = Kind("a URI", _is_uri)
_BASE64 = Kind("base64", _is_base64)

SIGNATURE = "c2FuZGJveA=="
"""Of all that the sandbox's models think: base64, as the SDK decodes it, of "sandbox"."""
FIELDS: Fields = {
    "contents": ARRAY,
    "systemInstruction": OBJECT,
    "generationConfig": OBJECT,
    "tools": ARRAY,
    "toolConfig": OBJECT,
    "safetySettings": ARRAY,
    "cachedContent": STRING,
    "labels": OBJECT,
    "serviceTier": one_of("unspecified", "standard", "flex", "priority"),
    "continuationToken": STRING,
    "store": BOOLEAN,
}
COUNT_FIELDS: Fields = {
    "contents": ARRAY,
    "generateContentRequest": OBJECT,
    "model": STRING,
}
CONFIG_FIELDS: Fields = {
    "temperature": number_between(0, 2),
    "topP": number_between(0, 1),
    "topK": NUMBER,
    "candidateCount": integer_from(1),
    "maxOutputTokens": integer_from(1),
    "stopSequences": STRINGS,
    "responseLogprobs": BOOLEAN,
    "logprobs": number_between(0, 20),
    "presencePenalty": NUMBER,
    "frequencyPenalty": NUMBER,
    "seed": INTEGER,
    "responseMimeType": STRING,
    "responseSchema": OBJECT,
    "responseJsonSchema": OBJECT,
    "responseFormat": OBJECT,
    "responseModalities": STRINGS,
    "mediaResolution": STRING,
    "speechConfig": OBJECT,
    "imageConfig": OBJECT,
    "thinkingConfig": OBJECT,
    "audioTimestamp": BOOLEAN,
    "audioTranscriptionConfig": OBJECT,
    "enableEnhancedCivicAnswers": BOOLEAN,
    "translationConfig": OBJECT,
}
_THINKING_FIELDS: Fields = {
    "includeThoughts": BOOLEAN,
    "thinkingBudget": integer_from(-1),
    "thinkingLevel": one_of("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"),
}
_INLINE_FIELDS: Fields = {"mimeType": _MEDIA_TYPE, "data": _BASE64, "displayName": STRING}
_FILE_FIELDS: Fields = {"mimeType": _MEDIA_TYPE, "fileUri": _URI, "displayName": STRING}
_CALL_FIELDS: Fields = {"id": STRING, "name": STRING, "args": OBJECT}
_RESPONSE_FIELDS: Fields = {
    "id": STRING,
    "name": STRING,
    "response": OBJECT,
    "parts": ARRAY,
    "scheduling": STRING,
    "willContinue": BOOLEAN,
}
_CONTENT_FIELDS: Fields = {"role": one_of("user", "model", "function"), "parts": ARRAY}
_PART_FIELDS: Fields = {
    "text": STRING,
    "thought": BOOLEAN,
    "thoughtSignature": STRING,
    "inlineData": OBJECT,
    "fileData": OBJECT,
    "functionCall": OBJECT,
    "functionResponse": OBJECT,
    "executableCode": OBJECT,
    "codeExecutionResult": OBJECT,
    "toolCall": OBJECT,
    "toolResponse": OBJECT,
    "videoMetadata": OBJECT,
    "mediaResolution": OBJECT,
    "mediaProcessing": OBJECT,
    "partMetadata": OBJECT,
    "audioTranscription": OBJECT,
    "audioMetadata": OBJECT,
    "documentMetadata": OBJECT,
    "speechMetadata": OBJECT,
    "spreadsheetMetadata": OBJECT,
}
_RESPONSE_PART_FIELDS: Fields = {"inlineData": OBJECT, "fileData": OBJECT}

# What is inside of a part: its fields, and those it must have.
_INSIDE: Mapping[str, tuple[Fields, tuple[str, ...]]] = {
    "inlineData": (_INLINE_FIELDS, ("mimeType", "data")),
    "fileData": (_FILE_FIELDS, ("fileUri",)),
    "functionCall": (_CALL_FIELDS, ("name",)),
    "functionResponse": (_RESPONSE_FIELDS, ("name", "response")),
}


class _Voice:
    """See `Voice`."""

    def unknown(self, path: Path) -> VendorError:
        """See `Voice`."""
        where = f" at '{bracketed(path[:-1])}'" if len(path) > 1 else ""
        message = f'Invalid JSON payload received. Unknown name "{path[-1]}"{where}: '
        return VendorError(400, message + "Cannot find field.")

    def missing(self, path: Path) -> VendorError:
        """See `Voice`."""
        name = bracketed(path)
        return VendorError(400, f"* GenerateContentRequest.{name}: {path[-1]} is not specified")

    def wrong(self, path: Path, expected: str) -> VendorError:
        """See `Voice`."""
        where = f"'{bracketed(path)}'" if path else "the root"
        return VendorError(400, f"Invalid value at {where}: expected {expected}")


VOICE = _Voice()


def check_config(config: Mapping[str, Any], strict: bool) -> None:
    """Raise Google's `VendorError` unless `config` is a good generationConfig."""
    path: Path = ("generationConfig",)
    check_fields(config, CONFIG_FIELDS, VOICE, path=path, strict=strict)
    if (config.get("candidateCount") or 1) != 1:
        raise VendorError(400, "the sandbox gives one candidate: candidateCount must be 1")
    if config.get("responseSchema") and config.get("responseJsonSchema"):
        raise VendorError(400, "Only one of responseSchema and responseJsonSchema may be set.")
    schema = config.get("responseSchema") or config.get("responseJsonSchema")
    if schema and config.get("responseMimeType") != "application/json":
        raise VendorError(400, "A response schema needs responseMimeType 'application/json'.")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise VendorError(400, "logprobs may only be set where responseLogprobs is true.")
    thinking = config.get("thinkingConfig")
    if thinking:
        path = (*path, "thinkingConfig")
        check_fields(thinking, _THINKING_FIELDS, VOICE, path=path, strict=strict)
        if None not in (thinking.get("thinkingLevel"), thinking.get("thinkingBudget")):
            raise VendorError(400, "You can only set one of thinking budget and thinking level.")


def wanted_schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the answer is to fit: {} for any JSON object, None for any text."""
    if config.get("responseMimeType") != "application/json":
        return None
    schema: Mapping[str, Any] | None = config.get("responseJsonSchema")
    return schema if schema is not None else _lowered(config.get("responseSchema") or {})


def _lowered(schema: Any) -> Any:
    """Google's own kind of schema, whose types are in capitals, as JSON Schema."""
    if isinstance(schema, list):
        return [_lowered(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    lowered = {name: _lowered(value) for name, value in schema.items()}
    kind = schema.get("type")
    return {**lowered, "type": kind.lower()} if isinstance(kind, str) else lowered


def read_contents(
    body: Mapping[str, Any], strict: bool
) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system text, the turns, and all text joined. Raises Google's `VendorError`s."""
    contents = body.get("contents")
    if not contents:
        raise VOICE.missing(("contents",))
    system = None
    if body.get("systemInstruction"):
        system = read_content(body["systemInstruction"], ("systemInstruction",), strict)
    turns = []
    for at, content in enumerate(contents):
        text = read_content(content, ("contents", at), strict)
        turns.append((content.get("role") or "user", text))
    return system, tuple(turns), (system or "") + "".join(text for _, text in turns)


def read_content(content: Any, path: Path, strict: bool) -> str:
    """The text of one content, which stands at `path`. Raises Google's `VendorError`s."""
    check_fields(content, _CONTENT_FIELDS, VOICE, path=path, strict=strict)
    if not content.get("parts"):
        raise VOICE.missing((*path, "parts"))
    texts = []
    for at, part in enumerate(content["parts"]):
        where = (*path, "parts", at)
        check_fields(part, _PART_FIELDS, VOICE, path=where, strict=strict)
        if not part:
            raise VOICE.missing((*where, "data"))
        for name in _INSIDE.keys() & part.keys():
            _check_inside(part[name], name, (*where, name), strict)
        if part.get("text") and not part.get("thought"):
            texts.append(part["text"])
    return "".join(texts)


def _check_inside(value: Any, name: str, path: Path, strict: bool) -> None:
    fields, required = _INSIDE[name]
    value = camels(value)
    if value is not None:
        check_fields(value, fields, VOICE, path=path, required=required, strict=strict)
        for at, part in enumerate((value.get("parts") or ()) if name == "functionResponse" else ()):
            where = (*path, "parts", at)
            part = camels(part)
            check_fields(part, _RESPONSE_PART_FIELDS, VOICE, path=where, strict=strict)
            for kind in _INSIDE.keys() & part.keys():
                _check_inside(part[kind], kind, (*where, kind), strict)
