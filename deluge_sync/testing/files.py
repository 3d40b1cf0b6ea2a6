"""What was uploaded to the sandbox, and the forms that it came in."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from typing import Any, NamedTuple, Optional

from .checks import VendorError
from .http import Incoming


class StoredFile(NamedTuple):
    """One file as it was uploaded. `purpose` is OpenAI's; times are seconds since the epoch. An
    upload in steps is `whole` with its last. What a batch has left has `results` (see `Results`)
    in the place of `data`.
    """

    id: str
    wire: str
    name: str
    media_type: str
    data: bytes
    purpose: str
    created_at: float
    expires_at: Optional[float]
    whole: bool = True
    results: Optional[Any] = None

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.data) if self.results is None else int(self.results.size)


class FileStore:
    """The files of one sandbox, of all vendors. Changed by the server's thread only."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._count = 0

    def add(self, form: str, file: StoredFile) -> StoredFile:
        """Keep `file` under a new id, which `form` makes of a number."""
        self._count += 1
        file = file._replace(id=form.format(self._count))
        self._files[file.id] = file
        return file

    def get(self, wire: str, file_id: str, now: float) -> StoredFile:
        """That file. Raises a 404 where the vendor has none of that id, or no longer."""
        file = self._files.get(file_id)
        if file is None or file.wire != wire or (file.expires_at or now) < now:
            raise VendorError(404, f"No such File object: {file_id}", param="id")
        return file

    def put(self, file: StoredFile) -> None:
        """Keep `file` in the place of the one with its id."""
        self._files[file.id] = file

    def remove(self, file: StoredFile) -> None:
        """Forget `file`."""
        self._files.pop(file.id, None)

    def snapshot(self, wire: str | None = None) -> list[StoredFile]:
        """The files, the oldest first; those of one vendor or all."""
        return [file for file in tuple(self._files.values()) if wire in (None, file.wire)]


class Field(NamedTuple):
    """One field of a form; `name` is a file's name, None where it is no file."""

    name: Optional[str]
    media_type: str
    data: bytes

    @property
    def text(self) -> str:
        """What a field that is no file says."""
        return self.data.decode("utf-8", "replace")


def form_fields(incoming: Incoming) -> dict[str, Field]:
    """The fields of a multipart form (RFC 7578). Raises a 400 for a body that is none."""
    head = _headers(f"content-type: {incoming.headers.get('content-type', '')}")
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise VendorError(400, "the content-type must be multipart/form-data with a boundary")
    return dict(_fields(incoming.body, boundary.encode()))


def _fields(body: bytes, boundary: bytes) -> Iterator[tuple[str, Field]]:
    mark = b"\r\n--" + boundary
    found = -2 if body.startswith(mark[2:]) else body.find(mark)
    start = found + len(mark)
    # Files may be large: their bytes are looked through, and copied once.
    while found == -1 or not body.startswith(b"--", start):
        middle, end = body.find(b"\r\n\r\n", start), body.find(mark, start)
        if middle < 0 or end < 0 or found == -1:
            raise VendorError(400, "the multipart body is not complete")
        text, data = body[start : min(middle, end)].lstrip(b"\r\n"), body[middle + 4 : end]
        start = end + len(mark)
        head = _headers(text.decode("utf-8", "replace"))
        name = head.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise VendorError(400, "a part of the multipart body has no name")
        media_type = head.get_content_type() if "content-type" in head else ""
        yield name, Field(head.get_filename(), media_type, data)


def _headers(text: str) -> Message:
    head = Message()
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        head[name.strip()] = value.strip()
    return head
