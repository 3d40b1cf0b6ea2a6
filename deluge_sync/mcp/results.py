"""What an MCP tool answered, as what a tool of ours returns."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, Union

from ..values.errors import PromptError, ToolError
from ..values.media import Image, image

MOST_CHARACTERS = 1_000_000
"""Of one result's text; what is longer is cut, and says so."""

MOST_IMAGE_BYTES = 20 << 20
"""Of one result's pictures together; further ones are left out, and a line says so."""

Part = Union[str, Image]


def value_of(result: Any) -> str | list[Part]:
    """The text of a `CallToolResult`, or a list of texts and pictures where it has pictures.

    Structured content is added as JSON where the text does not say the same. Sounds and binary
    resources are named, not given. A result that is an error is raised as a `ToolError`.
    """
    parts = _within_caps([_part(block) for block in result.content])
    texts = [part for part in parts if isinstance(part, str)]
    if result.is_error:
        raise ToolError(_cut("\n".join(texts)) or "the tool failed and did not say why")
    structured = result.structured_content
    if structured is not None and not _says(texts, structured):
        extra = json.dumps(structured, ensure_ascii=False)
        parts.append(extra)
        texts.append(extra)
    if len(texts) == len(parts):
        return _cut("\n".join(texts))
    pictures = [part for part in parts if not isinstance(part, str)]
    return [_cut("\n".join(texts)), *pictures] if texts else list(pictures)


def _part(block: Any) -> Part:
    if block.type == "text":
        return str(block.text)
    if block.type == "image":
        return _picture(block.data, block.mime_type)
    if block.type == "resource_link":
        told = f" ({block.description})" if block.description else ""
        return f"{block.name}: {block.uri}{told}"
    if block.type == "resource":
        return _resource(block.resource)
    return f"[{block.type} of type {getattr(block, 'mime_type', 'unknown')}, not shown]"


def _resource(resource: Any) -> Part:
    if hasattr(resource, "text"):
        return f"{resource.uri}:\n{resource.text}"
    kind = resource.mime_type or "unknown"
    if kind.startswith("image/"):
        return _picture(resource.blob, kind)
    return f"{resource.uri}: [binary, of type {kind}, not shown]"


def _picture(data: str, kind: str) -> Part:
    try:
        return image(base64.b64decode(data, validate=True))
    except (PromptError, binascii.Error, ValueError):
        return f"[a picture of type {kind} that cannot be shown]"


def _within_caps(parts: Sequence[Part]) -> list[Part]:
    kept: list[Part] = []
    left = MOST_IMAGE_BYTES
    for part in parts:
        if isinstance(part, Image):
            left -= len(part.data)
            if left < 0:
                left += len(part.data)
                part = f"[a picture of {len(part.data)} bytes, too large to be shown]"
        kept.append(part)
    return kept


def _says(texts: Sequence[str], structured: Any) -> bool:
    """Whether the text is the structured content: whole, or its only field (as the `mcp` package
    wraps results that are not objects), or one line for each item of that.
    """
    candidates = [structured]
    if isinstance(structured, dict) and list(structured) == ["result"]:
        candidates.append(structured["result"])
    read = [_read(text) for text in texts]
    whole = "\n".join(texts)
    return any(
        candidate in (whole, read, _read(whole)) or candidate == list(texts)
        for candidate in candidates
    )


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n[cut: {len(text):,} characters in all]"
