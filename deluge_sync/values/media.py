"""Pictures, sound and documents as parts of a message."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from .errors import PromptError

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,]*)*)(;base64)?,", re.ASCII)
_HTTP_URL = re.compile(r"https?://[^\s]+", re.ASCII)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mp3"),
    (b"\xff\xfb", "audio/mp3"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_HEIF = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif"}
_TOLD_BY_CONTENT = frozenset(
    ("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "audio/wav")
)
"""Kinds that always begin with the same bytes: what does not is another kind."""
_OTHER_NAMES = {"image/jpg": "image/jpeg", "audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav"}
_BY_SUFFIX = {
    ".csv": "text/csv",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".xml": "text/xml",
}

MOST_BYTES = 64 << 20
"""Of one file; vendors take less, and their adapters say how much."""

Source = Union[str, bytes, Path]


@dataclass(frozen=True)
class Image:
    """A picture: exactly one of `data`, `url` (the provider fetches it) and `file_id` is given.

    `media_type` is known where `data` is. `detail` is OpenAI's "low", "high", "auto" or "original".
    With `fetch` the client fetches the URL itself before sending, and sends the bytes.
    """

    data: bytes = field(default=b"", repr=False)
    url: str = ""
    file_id: str = ""
    media_type: str = ""
    detail: str | None = None
    fetch: bool = False

    def __post_init__(self) -> None:
        _check_one(self)
        if self.data and not self.media_type.startswith("image/"):
            kind = self.media_type or "an unknown kind"
            raise PromptError(f"this is not a picture (png, jpeg, gif, webp or heic) but {kind}")


@dataclass(frozen=True)
class Audio:
    """Sound: exactly one of `data`, `url` and `file_id` is given."""

    data: bytes = field(default=b"", repr=False)
    url: str = ""
    file_id: str = ""
    media_type: str = ""
    fetch: bool = False

    def __post_init__(self) -> None:
        _check_one(self)
        if self.data and not self.media_type.startswith("audio/"):
            kind = self.media_type or "an unknown kind"
            raise PromptError(f"this is not a sound (wav, mp3, ogg or flac) but {kind}")


@dataclass(frozen=True)
class File:
    """A document (a PDF, a text): exactly one of `data`, `url` and `file_id` is given."""

    data: bytes = field(default=b"", repr=False)
    url: str = ""
    file_id: str = ""
    media_type: str = ""
    name: str = ""
    fetch: bool = False

    def __post_init__(self) -> None:
        _check_one(self)
        if self.data and not self.media_type:
            raise PromptError(
                f"the kind of the file {self.name or '(without a name)'} cannot be told: "
                "give media_type, such as 'text/plain'"
            )


Media = Union[Image, Audio, File]


def image(
    source: Source, *, media_type: str = "", detail: str | None = None, fetch: bool = False
) -> Image:
    """A picture from a `Path`, bytes, an http(s) URL or a data URL; see `Image`."""
    data, url, kind = _read(source, media_type)
    return Image(data, url, media_type=kind, detail=detail, fetch=fetch and bool(url))


def audio(source: Source, *, media_type: str = "", fetch: bool = False) -> Audio:
    """Sound from the same; see `Audio`."""
    data, url, kind = _read(source, media_type)
    return Audio(data, url, media_type=kind, fetch=fetch and bool(url))


def file(source: Source, *, media_type: str = "", name: str = "", fetch: bool = False) -> File:
    """A document from the same; see `File`."""
    data, url, kind = _read(source, media_type)
    if not name and isinstance(source, Path):
        name = source.name
    return File(data, url, media_type=kind, name=name, fetch=fetch and bool(url))


def part(source: Source, *, media_type: str = "", name: str = "") -> Media:
    """A picture, sound or document, by what the source holds. A URL is a document's."""
    made = file(source, media_type=media_type, name=name)
    kind = made.media_type.partition("/")[0]
    if made.data and kind == "image":
        return Image(made.data, media_type=made.media_type)
    if made.data and kind == "audio":
        return Audio(made.data, media_type=made.media_type)
    return made


def media_type_of(data: bytes, name: str = "") -> str:
    """What `data` is by its first bytes, else by the ending of its name; "" where unknown."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return _HEIF[data[8:12]]
    return _BY_SUFFIX.get(Path(name).suffix.lower(), "")


def base64_of(data: bytes) -> str:
    """`data` as JSON carries it."""
    return base64.b64encode(data).decode("ascii")


def data_url(data: bytes, media_type: str) -> str:
    """`data` as a URL."""
    return f"data:{media_type};base64,{base64_of(data)}"


def _read(source: Source, media_type: str) -> tuple[bytes, str, str]:
    """The data or the URL, and the media type as far as it can be told."""
    name = declared = ""
    if isinstance(source, Path):
        data, name = _contents(source), source.name
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = _sized(bytes(source), "this file")
    elif isinstance(source, str) and source[:5].lower() == "data:":
        data, declared = _from_data_url(source)
    elif isinstance(source, str) and _HTTP_URL.fullmatch(source):
        return b"", source, media_type
    elif isinstance(source, str):
        raise PromptError(
            "a file is given as a pathlib.Path, bytes, an http(s) URL or a data URL; "
            "a plain string could be anybody's, so it is never opened as a path"
        )
    else:
        raise PromptError(f"a file is a Path, bytes or a URL, not {type(source).__name__}")
    return data, "", _kind(data, name, media_type or declared)


def _kind(data: bytes, name: str, declared: str) -> str:
    """The media type; `PromptError` where what is declared is not what is there."""
    declared = _OTHER_NAMES.get(declared, declared)
    found = media_type_of(data, name)
    if declared in _TOLD_BY_CONTENT and found != declared:
        what = f"{found} instead" if found else "something else"
        raise PromptError(f"{name or 'this file'} is said to be {declared}, but holds {what}")
    return declared or found


def _contents(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PromptError(f"{path} is larger than {MOST_BYTES >> 20} MiB")
        return _sized(path.read_bytes(), str(path))
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror}") from error


def _sized(data: bytes, what: str) -> bytes:
    if not data:
        raise PromptError(f"{what} is empty")
    if len(data) > MOST_BYTES:
        raise PromptError(f"{what} is larger than {MOST_BYTES >> 20} MiB")
    return data


def _from_data_url(url: str) -> tuple[bytes, str]:
    match = _DATA_URL.match(url)
    if match is None or not match[3]:
        raise PromptError("a data URL must look like data:image/png;base64,...")
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except binascii.Error as error:
        raise PromptError(f"a data URL is not proper base64: {error}") from None
    return _sized(data, "this data URL"), match[1] or ""


def _check_one(part: Media) -> None:
    given = [name for name in ("data", "url", "file_id") if getattr(part, name)]
    if len(given) != 1:
        raise PromptError(
            f"{type(part).__name__} takes exactly one of data, url and file_id, not "
            f"{' and '.join(given) or 'none'}"
        )
