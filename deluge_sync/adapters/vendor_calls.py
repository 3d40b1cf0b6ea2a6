"""What is asked of a vendor besides its models' answers: its stores of files, its batches.

From the SDKs: openai 3.54 (`resources/files.py`), google-genai 3.4 (`files.py`, `_api_client.py`:
a resumable upload in one piece).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Callable
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from ..values.model import Model
from ..values.wire import FileBody, HttpRequest, HttpResponse
from .body import JSON_HEADERS, MalformedError, as_object, dump, join_url, load
from .failures import Fault, failure, unreadable

ReadFault = Callable[[Any, int], Fault]
"""How one vendor's errors are read: out of any JSON value, and the status."""

UPLOAD_WHOLE = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
"""The headers of Google's second step: all of the file, and that is the end."""

_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}
"""In the names of a form, as browsers and the SDKs write them."""


def ask(
    model: Model,
    path: str,
    headers: Mapping[str, str] = {},
    body: bytes | None = None,
    *,
    query: Mapping[str, str] = {},
    file: FileBody | None = None,
) -> HttpRequest:
    """A GET, or with a `body` a POST, with what every request to the provider carries.

    `path` goes behind the base URL; one that is a URL already is taken as it is. `headers` win over
    the provider's own.
    """
    provider = model.provider
    by_name = {name.lower(): (name, value) for name, value in headers.items()}
    if provider.adapter == "anthropic":
        version = ("anthropic-version", model.api_version or "2026-10-21")
        by_name.setdefault("anthropic-version", version)
    for name, value in provider.headers.items():
        by_name.setdefault(name.lower(), (name, value))
    url = join_url(provider.base_url, path) if path.startswith("/") else path
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query)
    method = "GET" if body is None else "POST"
    return HttpRequest(method, url, tuple(by_name.values()), body or b"", file)


def post_json(model: Model, path: str, value: Mapping[str, Any]) -> HttpRequest:
    """A POST of `value`."""
    return ask(model, path, JSON_HEADERS, dump(dict(value)))


def body_of(response: HttpResponse, model: Model, fault: ReadFault) -> dict[str, Any]:
    """The object in a good answer; every other answer is raised as the error it is."""
    good = 200 <= response.status <= 299
    try:
        body = load(response.body)
        if good:
            return as_object(body, "the body")
    except MalformedError as error:
        if good:
            raise unreadable(response, model, error) from None
        body = None
    raise failure(response, model, fault(body, response.status))


def form(
    name: str, media_type: str, unique: bytes, fields: Mapping[str, str]
) -> tuple[bytes, bytes, dict[str, str]]:
    """What goes before a file and behind it in a form with `fields`, and the form's header.

    The same file gives the same bytes: what separates the fields is made of the hash of `unique`,
    which may not be found in the file. Its 60 characters are within the 70 that RFC 2046 allows.
    """
    boundary = f"deluge-sync-{hashlib.sha256(unique).hexdigest()[:48]}"
    name = name.translate(_ESCAPES)
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    pieces.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    head = "".join(pieces).encode("utf-8", "replace")
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return head, f"\r\n--{boundary}--\r\n".encode(), headers


def at_home(url: str, ours: str) -> str:
    """`url` at the server of `ours`, as Google's SDK has it: the key goes to nobody else, and a
    gateway stays in between.
    """
    home = urlsplit(ours)
    return urlunsplit(split_url(url)._replace(scheme=home.scheme, netloc=home.netloc))


def split_url(url: str) -> SplitResult:
    """The parts of a URL out of an answer; `MalformedError` for what is none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise MalformedError(f"not a URL ({error})") from None


# Google's resumable upload


def version_of(model: Model) -> str:
    """The version in the path of Google's API."""
    return model.api_version or "v1"


def resumable_start(name: str, media_type: str, size: int, model: Model) -> HttpRequest:
    """The first step: what is going to be uploaded."""
    described = {"displayName": name[:512], "mimeType": media_type}
    headers = {
        **JSON_HEADERS,
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(size),
        "x-goog-upload-header-content-type": media_type,
    }
    path = f"/upload/{version_of(model)}/files"
    return ask(model, path, headers, dump({"file": described}))


def upload_url(begun: HttpResponse, model: Model, fault: ReadFault) -> str:
    """Where the second step goes, out of the answer to the first: at our own server."""
    where = begun.headers.get("x-goog-upload-url")
    if not 200 <= begun.status <= 299 or not where:
        body_of(begun, model, fault)
        raise unreadable(begun, model, MalformedError("no x-goog-upload-url to send the file to"))
    try:
        return at_home(where, model.provider.base_url)
    except MalformedError as error:
        raise unreadable(begun, model, error) from None
