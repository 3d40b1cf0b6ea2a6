"""The file stores of OpenAI, Anthropic and Google, as pages of the sandbox.

From the openai SDK 3.54 (`resources/files.py`, `types/file_object.py`), the anthropic SDK 2.12 (the
same names) and google-genai 3.4 (`files.py`, and `_api_client.py` for its uploads in steps).
Requests of this kind draw nothing from the limits.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple
from urllib.parse import parse_qs

from .checks import VendorError
from .codec import JSON_TYPE, dump_json, parse_json, timestamp
from .files import Field, FileStore, StoredFile, form_fields
from .http import Answer, Headers, Incoming

_PURPOSES = frozenset(("assistants", "batch", "fine-tune", "vision", "user_data", "evals"))
_PLAIN = re.compile(r"/v1/files(?:/([^/]+))?(/content)?")
_GOOGLE = re.compile(r"/(?:v1|v1beta)/files(?:/([^/:]+))?(:download)?")
_GOOGLE_UPLOAD = re.compile(r"/upload/(?:v1|v1beta)/files")
_GOOGLE_LIFE = 48 * 3600


class Visit(NamedTuple):
    """One request for a page here."""

    incoming: Incoming
    query: Mapping[str, list[str]]
    store: FileStore
    now: float

    def asked(self, name: str, usual: str) -> str:
        """The value of `name` in the query, or the usual one."""
        return self.query.get(name, [usual])[0]


def is_further_step(path: str, query: str) -> bool:
    """Whether a request goes on with an upload to Google: its URL stands for the key."""
    return path.startswith("/upload/") and "upload_id=" in query


def file_page(
    wire: str, incoming: Incoming, path: str, query: str, store: FileStore, now: float
) -> Answer | None:
    """The answer to a request for a page of `wire`'s file store; None where it is for none.

    Raises `VendorError` for what is not there or not right.
    """
    visit = Visit(incoming, parse_qs(query), store, now)
    if wire == "gemini" or is_further_step(path, query):
        return _google_page(visit, path)
    match = _PLAIN.fullmatch(path)
    if match is None or wire not in _VENDORS:
        return None
    vendor = _VENDORS[wire]
    if match[1] is None:
        if incoming.method == "POST":
            return _json(vendor.shape(vendor.upload(visit)))
        return _json(vendor.list(visit)) if incoming.method == "GET" else _not_allowed(incoming)
    file = store.get(wire, match[1], now)
    if match[2]:
        return Answer(200, (("content-type", file.media_type),), file.data)
    if incoming.method == "GET":
        return _json(vendor.shape(file))
    if incoming.method != "DELETE":
        return _not_allowed(incoming)
    store.remove(file)
    return _json(vendor.deleted(file))


def _uploaded(visit: Visit) -> tuple[dict[str, Field], Field]:
    """All fields, and the one with the file."""
    fields = form_fields(visit.incoming)
    file = fields.get("file")
    if file is None:
        raise VendorError(400, "Missing required parameter: 'file'.", param="file")
    if not file.data:
        raise VendorError(400, "File is empty.", param="file")
    return fields, file._replace(media_type=file.media_type or "application/octet-stream")


def _seconds(text: str, name: str, most: int) -> int:
    if not text.isdecimal() or not 3600 <= int(text) <= most:
        raise VendorError(400, f"'{name}' must be between 3600 and {most}.", param=name)
    return int(text)


def _upload_to_openai(visit: Visit) -> StoredFile:
    fields, file = _uploaded(visit)
    purpose = fields["purpose"].text if "purpose" in fields else ""
    if purpose not in _PURPOSES:
        known = ", ".join(f"'{word}'" for word in sorted(_PURPOSES))
        message = f"Invalid value for 'purpose': '{purpose}'. Supported values are: {known}."
        raise VendorError(400, message, param="purpose", code="invalid_value")
    expires = 30 * 86_400 if purpose == "batch" else None
    if "expires_after[seconds]" in fields:
        text = fields["expires_after[seconds]"].text
        expires = _seconds(text, "expires_after[seconds]", 2_592_000)
    return _kept(visit, "openai", "file-sandbox{:012d}", file, expires, purpose)


def _upload_to_anthropic(visit: Visit) -> StoredFile:
    fields, file = _uploaded(visit)
    expires = None
    if "expires_in_seconds" in fields:
        expires = _seconds(fields["expires_in_seconds"].text, "expires_in_seconds", 7_776_000)
    return _kept(visit, "anthropic", "file_sandbox{:012d}", file, expires)


def _kept(
    visit: Visit, wire: str, form: str, file: Field, expires: int | None, purpose: str = ""
) -> StoredFile:
    end = None if expires is None else visit.now + expires
    name = (file.name or "unnamed").replace("\\", "/").rpartition("/")[2]
    kept = StoredFile("", wire, name, file.media_type, file.data, purpose, visit.now, end)
    return visit.store.add(form, kept)


def _openai_file(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _openai_list(visit: Visit) -> dict[str, Any]:
    files = visit.store.snapshot("openai")
    if visit.asked("order", "desc") == "desc":
        files.reverse()
    purpose = visit.asked("purpose", "")
    page, more = _page([file for file in files if purpose in ("", file.purpose)], visit, "after")
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {}
    return {
        "object": "list",
        "data": [_openai_file(file) for file in page],
        **ends,
        "has_more": more,
    }


def _anthropic_file(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "type": "file",
        "filename": file.name,
        "mime_type": file.media_type,
        "size_bytes": len(file.data),
        "created_at": timestamp(file.created_at),
        "expires_at": None if file.expires_at is None else timestamp(file.expires_at),
        "downloadable": False,
    }


def _anthropic_list(visit: Visit) -> dict[str, Any]:
    files = visit.store.snapshot("anthropic")[::-1]
    page, more = _page(files, visit, "page")
    return {
        "data": [_anthropic_file(file) for file in page],
        "next_page": page[-1].id if more else None,
    }


def _page(files: list[StoredFile], visit: Visit, cursor: str) -> tuple[list[StoredFile], bool]:
    """The files behind the one that the query's `cursor` names, and whether there are more."""
    after = visit.asked(cursor, "")
    start = next((at + 1 for at, file in enumerate(files) if file.id == after), 0)
    limit = visit.asked("limit", "20")
    end = start + (int(limit) if limit.isdecimal() and int(limit) else 20)
    return files[start:end], end < len(files)


class _Vendor(NamedTuple):
    upload: Callable[[Visit], StoredFile]
    shape: Callable[[StoredFile], dict[str, Any]]
    list: Callable[[Visit], dict[str, Any]]
    deleted: Callable[[StoredFile], dict[str, Any]]


_VENDORS = {
    "openai": _Vendor(
        _upload_to_openai,
        _openai_file,
        _openai_list,
        lambda file: {"id": file.id, "object": "file", "deleted": True},
    ),
    "anthropic": _Vendor(
        _upload_to_anthropic,
        _anthropic_file,
        _anthropic_list,
        lambda file: {"id": file.id, "type": "file_deleted"},
    ),
}


def _google_page(visit: Visit, path: str) -> Answer | None:
    incoming, store = visit.incoming, visit.store
    if _GOOGLE_UPLOAD.fullmatch(path):
        if incoming.method != "POST":
            return _not_allowed(incoming)
        begun = visit.asked("upload_id", "")
        return _google_part(visit, begun) if begun else _google_begin(visit, path)
    match = _GOOGLE.fullmatch(path)
    if match is None:
        return None
    if match[1] is None:
        files = [_google_file(file) for file in store.snapshot("gemini") if file.whole]
        return _json({"files": files} if files else {})
    file = store.get("gemini", f"files/{match[1]}", visit.now)
    if match[2]:
        return Answer(200, (("content-type", file.media_type),), file.data)
    if incoming.method == "GET":
        return _json(_google_file(file))
    if incoming.method != "DELETE":
        return _not_allowed(incoming)
    store.remove(file)
    return _json({})


def _google_begin(visit: Visit, path: str) -> Answer:
    """The first step: what is to come, and where to."""
    headers = visit.incoming.headers
    if headers.get("x-goog-upload-command") != "start":
        raise VendorError(400, "X-Goog-Upload-Command must be 'start'.")
    wanted = parse_json(visit.incoming).get("file") or {}
    media_type = headers.get("x-goog-upload-header-content-type") or wanted.get("mimeType")
    given = wanted.get("displayName") or wanted.get("display_name")  # Google takes either spelling
    name = given or headers.get("x-goog-upload-file-name") or ""
    end = visit.now + _GOOGLE_LIFE
    file = visit.store.add(
        "files/sandbox{:012d}",
        StoredFile("", "gemini", name, media_type or "", b"", "", visit.now, end, whole=False),
    )
    host = headers.get("host", "127.0.0.1")
    url = f"http://{host}{path}?upload_id={file.id[len('files/') :]}"
    where = (("x-goog-upload-url", url), ("x-goog-upload-status", "active"))
    return _json({}, where)


def _google_part(visit: Visit, begun: str) -> Answer:
    """Each further step: bytes, and with "finalize" the file."""
    headers = visit.incoming.headers
    file = visit.store.get("gemini", f"files/{begun}", visit.now)
    if headers.get("x-goog-upload-offset") != str(len(file.data)):
        raise VendorError(400, f"X-Goog-Upload-Offset must be {len(file.data)}.")
    file = file._replace(data=file.data + visit.incoming.body)
    is_last = "finalize" in headers.get("x-goog-upload-command", "")
    visit.store.put(file._replace(whole=is_last))
    if not is_last:
        return _json({}, (("x-goog-upload-status", "active"),))
    return _json({"file": _google_file(file)}, (("x-goog-upload-status", "final"),))


def _google_file(file: StoredFile) -> dict[str, Any]:
    digest = hashlib.sha256(file.data).hexdigest().encode()
    return {
        "name": file.id,
        "displayName": file.name,
        "mimeType": file.media_type,
        "sizeBytes": str(len(file.data)),
        "createTime": timestamp(file.created_at),
        "updateTime": timestamp(file.created_at),
        "expirationTime": timestamp(file.expires_at or file.created_at),
        "sha256Hash": base64.b64encode(digest).decode(),
        "uri": f"https://generativelanguage.googleapis.com/v1beta/{file.id}",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }


def _json(body: Any, headers: Headers = ()) -> Answer:
    return Answer(200, (JSON_TYPE, *headers), dump_json(body))


def _not_allowed(incoming: Incoming) -> Answer:
    raise VendorError(405, f"Not allowed to {incoming.method} here.")
