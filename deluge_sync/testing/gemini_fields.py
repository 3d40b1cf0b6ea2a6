"""The fields generateContent accepts, and how Google words what is wrong."""

from __future__ import annotations

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
    Path,
    VendorError,
    bracketed,
    check_fields,
    integer_from,
    number_between,
    one_of,
)

FIELDS: Fields = {
    "contents": ARRAY,
    "systemInstruction": OBJECT,
    "generationConfig": OBJECT,
    "tools": ARRAY,
    "toolConfig": OBJECT,
    "safetySettings": ARRAY,
    "cachedContent": STRING,
    "labels": OBJECT,
    "serviceTier": STRING,
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
    "logprobs": INTEGER,
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
    thinking = config.get("thinkingConfig")
    if thinking:
        path = (*path, "thinkingConfig")
        check_fields(thinking, _THINKING_FIELDS, VOICE, path=path, strict=strict)
        if None not in (thinking.get("thinkingLevel"), thinking.get("thinkingBudget")):
            raise VendorError(400, "You can only set one of thinking budget and thinking level.")


def read_contents(
    body: Mapping[str, Any], strict: bool
) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """The system text, the turns, and all text joined. Raises Google's `VendorError`s."""
    contents = body.get("contents")
    if not contents:
        raise VOICE.missing(("contents",))
    system = None
    if body.get("systemInstruction"):
        system = _read_content(body["systemInstruction"], ("systemInstruction",), strict)
    turns = []
    for at, content in enumerate(contents):
        text = _read_content(content, ("contents", at), strict)
        turns.append((content.get("role") or "user", text))
    return system, tuple(turns), (system or "") + "".join(text for _, text in turns)


def _read_content(content: Any, path: Path, strict: bool) -> str:
    check_fields(content, _CONTENT_FIELDS, VOICE, path=path, strict=strict)
    if not content.get("parts"):
        raise VOICE.missing((*path, "parts"))
    texts = []
    for at, part in enumerate(content["parts"]):
        where = (*path, "parts", at)
        check_fields(part, _PART_FIELDS, VOICE, path=where, strict=strict)
        if not part:
            raise VOICE.missing((*where, "data"))
        if part.get("text") and not part.get("thought"):
            texts.append(part["text"])
    return "".join(texts)
