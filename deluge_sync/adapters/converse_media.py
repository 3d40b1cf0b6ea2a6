"""Pictures, sound and documents as Converse takes them: in the request, never by URL.

Types from botocore 1.44 (`ImageFormat`, `DocumentFormat`, `AudioFormat`, `DocumentBlock`).
"""

from __future__ import annotations

import re
from typing import Any, Union

from ..values.errors import PromptError
from ..values.media import Audio, File, Image, base64_of
from ..values.model import Model

_PICTURES = {f"image/{kind}": kind for kind in ("png", "jpeg", "gif", "webp")}
_SOUNDS = {
    **{f"audio/{kind}": kind for kind in ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg")},
    "audio/mpeg": "mp3",
    "audio/webm": "webm",
}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9()\[\]-]+")
_LONGEST_NAME = 200


def wire_media(part: Union[Image, Audio, File], model: Model) -> dict[str, Any]:
    """`part` as a content block, or a `PromptError` that says what of it is not taken."""
    if not part.data:
        raise PromptError(
            "Bedrock takes files within the request only: give the bytes, or fetch=True for a URL"
        )
    source = {"bytes": base64_of(part.data)}
    if isinstance(part, Image):
        return {"image": {"format": _format(part, _PICTURES, "vision", model), "source": source}}
    if isinstance(part, Audio):
        return {"audio": {"format": _format(part, _SOUNDS, "audio_in", model), "source": source}}
    word = "pdf" if part.media_type == "application/pdf" else ""
    kind = _format(part, _DOCUMENTS, word, model)
    return {"document": {"format": kind, "name": _name(part.name), "source": source}}


def _format(
    part: Union[Image, Audio, File], formats: dict[str, str], word: str, model: Model
) -> str:
    kind = formats.get(part.media_type)
    if kind is None:
        raise PromptError(
            f"Bedrock takes no {type(part).__name__} of the type {part.media_type}; it takes "
            f"{', '.join(dict.fromkeys(formats.values()))}"
        )
    if word and word not in model.supports:
        raise PromptError(
            f"{model.name} does not take {part.media_type}: its entry in models.yaml lacks "
            f"{word!r} in 'supports'"
        )
    return kind


def _name(name: str) -> str:
    """A name of the characters that are taken, without the file's ending, which `format` says."""
    stem = name.rpartition(".")[0] or name
    return _NOT_IN_NAMES.sub(" ", stem).strip()[:_LONGEST_NAME] or "document"
