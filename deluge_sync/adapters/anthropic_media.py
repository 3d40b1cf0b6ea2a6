"""Anthropic Messages: pictures and documents as content blocks.

From the anthropic SDK 2.12 (`types/image_block_param`, `types/document_block_param`) and the pages
"Vision" and "PDF support" of the vendor's documentation (sizes).
"""

from __future__ import annotations

from typing import Any

from ..values.errors import PromptError
from ..values.media import File, Image, base64_of
from ..values.model import Model

_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MOST_PICTURE = 10 << 20
"""Characters of base64. Amazon and Google, who run the same models, take half of that."""
_PDF = "application/pdf"
_TEXTS = frozenset(("application/json", "application/xml", "application/x-yaml"))
"""Beside all of `text/*`. The vendor's one name for them is text/plain."""


def picture(part: Image, model: Model) -> dict[str, Any]:
    """`part` as an image block, or a `PromptError`. The vendor has no word for its `detail`."""
    _require("vision", "pictures", model)
    if part.media_type and part.media_type not in _PICTURES:
        raise PromptError(
            f"{model.name} takes pictures of type {', '.join(_PICTURES)}, not {part.media_type}"
        )
    if part.file_id:
        return {"type": "image", "source": {"type": "file", "file_id": part.file_id}}
    if part.url:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    data = base64_of(part.data)
    if len(data) > _MOST_PICTURE:
        raise PromptError(
            f"a picture is {len(data):,} bytes long in base64; {model.name} takes at most "
            f"{_MOST_PICTURE:,}"
        )
    source = {"type": "base64", "media_type": part.media_type, "data": data}
    return {"type": "image", "source": source}


def document(part: File, model: Model) -> dict[str, Any]:
    """`part` (a PDF or a text) as a document block, or a `PromptError`."""
    block = {"type": "document", "source": _document_source(part, model)}
    return {**block, "title": part.name} if part.name else block


def is_text(media_type: str) -> bool:
    """Whether a document of that type is a text to the vendor."""
    return media_type.startswith("text/") or media_type in _TEXTS


def _document_source(part: File, model: Model) -> dict[str, Any]:
    kind = part.media_type
    is_pdf = kind == _PDF or (bool(part.url) and not kind)
    if is_pdf:
        _require("pdf", "PDFs", model)
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    if is_pdf and part.url:
        return {"type": "url", "url": part.url}
    if is_pdf:
        return {"type": "base64", "media_type": _PDF, "data": base64_of(part.data)}
    if part.url:
        raise PromptError(f"{model.name} takes PDFs by URL, not {kind}: give the file's contents")
    if is_text(kind):
        return {"type": "text", "media_type": "text/plain", "data": _text_of(part)}
    hint = ": use add_image" if kind in _PICTURES else ""
    raise PromptError(f"{model.name} takes PDFs and texts as files, not {kind}{hint}")


def _text_of(part: File) -> str:
    try:
        return part.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PromptError(f"the file {part.name or part.media_type} is not text in UTF-8") from None


def _require(word: str, what: str, model: Model) -> None:
    if word not in model.supports:
        raise PromptError(
            f"{model.name} takes no {what} (the `supports` of its entry lacks {word})"
        )
