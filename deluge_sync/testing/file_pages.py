"""The file stores of OpenAI (Groq and Mistral have its pages), Anthropic and Google.

From the openai SDK 3.54 (`resources/files.py`, `types/file_object.py`), the anthropic SDK 2.12 (the
same names) and google-genai 3.4 (`files.py`, and `_api_client.py` for its uploads in steps).
Requests of this kind draw nothing from the limits.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Callable, NamedTuple

from .checks import VendorError
from .codec import parse_json, timestamp
from .files import Field, StoredFile, form_fields
from .http import Answer
from .pages import Download, Visit, json_answer, page_after

_PURPOSES = frozenset(("assistants", "batch", "fine-tune", "vision", "user_data", "evals"))
_PLAIN = re.compile(r"/v1/files(?:/([^/]+))?(/content)?")
_GOOGLE = re.compile(r"(?:/download)?/(?:v1|v1beta)/files(?:/([^/:]+))?(:download)?")
_GOOGLE_UPLOAD = re.compile(r"/upload/(?:v1|v1beta)/files")
_GOOGLE_LIFE = 48 * 3600


def is_further_step(path: str, query: str) -> bool:
    """Whether a request goes on with an upload to Google: its URL stands for the key."""
    return path.startswith("/upload/") and "upload_id=" in query


def is_file_path(wire: str, path: str) -> bool:
    """Whether `path` is one of a page here."""
    if wire == "gemini" or _GOOGLE_UPLOAD.fullmatch(path):
        return bool(_GOOGLE.fullmatch(path) or _GOOGLE_UPLOAD.fullmatch(path))
    return wire in _VENDORS and bool(_PLAIN.fullmatch(path))


def file_page(visit: Visit) -> Answer | Download:
    """The answer to a request for a page of the vendor's file store.

    Raises `VendorError` for what is not there or not right.
    """
    match = _PLAIN.fullmatch(visit.path)
    if match is None or visit.wire == "gemini":
        return _google_page(visit)
    vendor = _VENDORS[visit.wire]
    if match[1] is None:
        visit.require("GET", "POST")
        if visit.incoming.method == "POST":
            return json_answer(vendor.shape(vendor.upload(visit)))
        return json_answer(vendor.list(visit))
    file = visit.store.get(visit.wire, match[1], visit.now)
    if match[2]:
        return _content(file)
    visit.require("GET", "DELETE")
    if visit.incoming.method == "GET":
        return json_answer(vendor.shape(file))
    visit.store.remove(file)
    return json_answer(vendor.deleted(file))


def _content(file: StoredFile) -> Answer | Download:
    if file.results is not None:
        return Download((("content-type", "application/octet-stream"),), file.results)
    return Answer(200, (("content-type", file.media_type),), file.data)


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
    """OpenAI's fields, and behind them those that Mistral has at the same place."""
    is_input = file.results is None
    kind = "batch_error" if file.name.endswith("_error.jsonl") else "batch_result"
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "sample_type": "batch_request" if is_input else kind,
        "source": "upload" if is_input else "mistral",
        "num_lines": file.data.count(b"\n") if is_input and file.purpose == "batch" else None,
    }


def _openai_list(visit: Visit) -> dict[str, Any]:
    """By cursor as OpenAI pages, or by number as Mistral does."""
    files = visit.store.snapshot("openai")
    if visit.asked("order", "desc") == "desc":
        files.reverse()
    purpose = visit.asked("purpose", "")
    files = [file for file in files if purpose in ("", file.purpose)]
    if "page_size" in visit.query:
        size = visit.number("page_size", 100)
        start = visit.number("page", 0) * size
        page, more = files[start : start + size], start + size < len(files)
    else:
        usual = 10_000
        page, more = page_after(files, visit.asked("after", ""), visit.number("limit", usual))
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {}
    return {
        "object": "list",
        "data": [_openai_file(file) for file in page],
        **ends,
        "has_more": more,
        "total": len(files),
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
    page, more = page_after(files, visit.asked("page", ""), visit.number("limit", 20))
    return {
        "data": [_anthropic_file(file) for file in page],
        "next_page": page[-1].id if more else None,
    }


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


def _google_page(visit: Visit) -> Answer | Download:
    incoming, store = visit.incoming, visit.store
    if _GOOGLE_UPLOAD.fullmatch(visit.path):
        begun = visit.asked("upload_id", "")
        visit.require("POST", *(["PUT"] if begun else []))
        return _google_part(visit, begun) if begun else _google_begin(visit)
    match = _GOOGLE.fullmatch(visit.path)
    assert match is not None
    if match[1] is None:
        visit.require("GET")
        return json_answer(_google_list(visit))
    file = store.get("gemini", f"files/{match[1]}", visit.now)
    if match[2]:
        return _content(file)
    visit.require("GET", "DELETE")
    if incoming.method == "GET":
        return json_answer(_google_file(file))
    store.remove(file)
    return json_answer({})


def _google_list(visit: Visit) -> dict[str, Any]:
    files = [file for file in visit.store.snapshot("gemini") if file.whole]
    page, more = page_after(files, visit.asked("pageToken", ""), visit.number("pageSize", 10))
    body: dict[str, Any] = {"files": [_google_file(file) for file in page]} if page else {}
    return {**body, "nextPageToken": page[-1].id} if more else body


def _google_begin(visit: Visit) -> Answer:
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
    url = f"{visit.site}{visit.path}?upload_id={file.id[len('files/') :]}"
    where = (("x-goog-upload-url", url), ("x-goog-upload-status", "active"))
    return json_answer({}, where)


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
        return json_answer({}, (("x-goog-upload-status", "active"),))
    return json_answer({"file": _google_file(file)}, (("x-goog-upload-status", "final"),))


def _google_file(file: StoredFile) -> dict[str, Any]:
    digest = hashlib.sha256(file.data).hexdigest().encode()
    uri = f"https://generativelanguage.googleapis.com/v1beta/{file.id}"
    made = file.results is not None
    return {
        "name": file.id,
        "displayName": file.name,
        "mimeType": file.media_type,
        "sizeBytes": str(file.size),
        "createTime": timestamp(file.created_at),
        "updateTime": timestamp(file.created_at),
        "expirationTime": timestamp(file.expires_at or file.created_at),
        "sha256Hash": base64.b64encode(digest).decode(),
        "uri": uri,
        **({"downloadUri": f"{uri}:download?alt=media"} if made else {}),
        "state": "ACTIVE",
        "source": "GENERATED" if made else "UPLOADED",
    }
