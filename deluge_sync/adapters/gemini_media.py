"""Pictures, sound and documents as Gemini takes them.

Types and sizes from ai.google.dev's pages on image, audio and document understanding and on file
input methods: 100 MB for all that is sent within a request, 50 MB for a PDF in it. By URL the
server fetches up to as much; a file of the Files API is named by its URI.
"""

from __future__ import annotations

from typing import Any, Union
from urllib.parse import urlsplit

from ..values.errors import PromptError
from ..values.media import Audio, File, Image, base64_of
from ..values.model import Model
from .body import join_url

MOST_INLINE = 100_000_000
"""Characters of base64 in one request."""
MOST_PDF = 50_000_000
"""Bytes of a PDF within a request."""

_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_SOUNDS = frozenset(
    {
        "audio/aac",
        "audio/aiff",
        "audio/flac",
        "audio/m4a",
        "audio/mp3",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/opus",
        "audio/wav",
        "audio/webm",
    }
)
_PDF = "application/pdf"
_BY_SUFFIX = {
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "csv": "text/csv",
    "flac": "audio/flac",
    "heic": "image/heic",
    "heif": "image/heif",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "m4a": "audio/m4a",
    "md": "text/markdown",
    "mp3": "audio/mp3",
    "ogg": "audio/ogg",
    "pdf": _PDF,
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webp": "image/webp",
    "xml": "text/xml",
}


def wire_media(part: Union[Image, Audio, File], model: Model) -> dict[str, Any]:
    """`part` as a wire part, or a `PromptError` that says what of it is not taken."""
    media_type = part.media_type or _type_of(part)
    _check_type(media_type, model)
    if not part.data:
        uri = part.url or _uri(part.file_id, model)
        return {"fileData": {"mimeType": media_type, "fileUri": uri}}
    if media_type == _PDF and len(part.data) > MOST_PDF:
        raise PromptError(
            f"Gemini takes a PDF of at most {MOST_PDF // 1_000_000} MB within a request, not "
            f"{len(part.data):,} bytes; upload it and send its file_id"
        )
    return {"inlineData": {"mimeType": media_type, "data": base64_of(part.data)}}


def check_size(parts: list[dict[str, Any]]) -> None:
    """A `PromptError` if all that is sent within the request is too much for one."""
    inner = [part for whole in parts for part in _inside(whole)]
    size = sum(len(part["inlineData"]["data"]) for part in inner if "inlineData" in part)
    if size > MOST_INLINE:
        raise PromptError(
            f"Gemini takes {MOST_INLINE // 1_000_000} MB of files within a request, base64 "
            f"counted, not {size:,} bytes; upload them and send their file_id"
        )


def _inside(part: dict[str, Any]) -> list[dict[str, Any]]:
    """`part`, and the pictures of a tool's result in it."""
    return [part, *part.get("functionResponse", {}).get("parts", ())]


def _type_of(part: Union[Image, Audio, File]) -> str:
    """The type that the name of a URL says; Google wants one with each file."""
    name = urlsplit(part.url).path.rpartition("/")[2]
    kind = _BY_SUFFIX.get(name.rpartition(".")[2].lower(), "")
    if not kind:
        raise PromptError(
            f"Gemini wants to know what kind of file {part.url or part.file_id} is: give "
            "media_type, such as 'image/png'"
        )
    return kind


def _check_type(media_type: str, model: Model) -> None:
    if media_type in _PICTURES:
        word = "vision"
    elif media_type in _SOUNDS:
        word = "audio_in"
    elif media_type == _PDF:
        word = "pdf"
    elif media_type.startswith("text/") or media_type == "application/json":
        return
    else:
        raise PromptError(
            f"Gemini takes no files of the type {media_type}; it takes PDF, text, "
            f"{_names(_PICTURES)} and {_names(_SOUNDS)}"
        )
    if word not in model.supports:
        raise PromptError(
            f"{model.name} does not take {media_type}: its entry in models.yaml lacks {word!r} in "
            "'supports'"
        )


def _names(types: frozenset[str]) -> str:
    return ", ".join(sorted(kind.partition("/")[2] for kind in types))


def _uri(file_id: str, model: Model) -> str:
    """A file of the Files API, by the URI it gave or by its name there ("files/abc", "abc")."""
    if "://" in file_id:
        return file_id
    version = "v1" if model.api_version is None else model.api_version
    if not version:
        raise PromptError(f"Vertex AI keeps no files; send a gs:// URI in place of {file_id!r}")
    name = file_id if file_id.startswith("files/") else f"files/{file_id}"
    return join_url(model.provider.base_url, f"/{version}/{name}")
