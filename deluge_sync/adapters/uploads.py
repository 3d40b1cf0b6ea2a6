"""Files put into a vendor's store, to be named in prompts by the id it gives them.

From the SDKs: openai 3.54 (`resources/files.py`, `types/file_object.py`), anthropic 2.12
(`resources/files.py`, `types/file_metadata.py`), google-genai 3.4 (`files.py`, `_api_client.py`:
a resumable upload in one piece).

An upload takes several requests at some vendors: a `Flow` is a generator that yields them one by
one, and is sent the answer to each. What goes wrong it raises as the `CallError` that fits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote, urlsplit, urlunsplit

from ..values.errors import BadRequestError, ConfigError, PromptError
from ..values.media import Audio, File, Media
from ..values.model import Model
from ..values.wire import HttpRequest, HttpResponse
from . import anthropic_answers, gemini_answers, openai_common
from .anthropic_media import is_text
from .base import Flow
from .body import JSON_HEADERS, MalformedError, as_object, as_text, dump, join_url, load
from .failures import Fault, failure, masked, unreadable
from .headers import until_rfc3339

PURPOSE = "user_data"
"""What OpenAI is told a file is for: to be an input of its models."""

GONE = frozenset({403, 404, 410})
"""How a store says that it has no such file; Google does not tell missing from forbidden."""

_SUFFIXES = {
    "application/json": ".json",
    "application/pdf": ".pdf",
    "audio/mp3": ".mp3",
    "image/jpeg": ".jpg",
    "text/markdown": ".md",
    "text/plain": ".txt",
}
_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}
"""In the names of a form, as browsers and the SDKs write them."""


class Stored(NamedTuple):
    """A file in a vendor's store.

    `file_id` is what a prompt names it by; at Google, the URI. `expires_at` is wall-clock time in
    seconds since the epoch, None where the vendor keeps it until it is deleted. It can be used once
    it is `ready`: see `look`.
    """

    file_id: str
    expires_at: Optional[float] = None
    ready: bool = True


def upload(part: Media, model: Model) -> Flow[Stored]:
    """Put the data of `part` into the store of the model's provider.

    Raises `ConfigError` where there is none, `PromptError` for a part without data and for one
    that the vendor takes in no prompt.
    """
    store = _store(model)
    if not part.data:
        raise PromptError("only a file's bytes can be uploaded, not its URL or its id")
    if isinstance(part, Audio) and store is not _GEMINI:
        raise PromptError(f"{model.provider.name} takes no sound by its id: send the sound itself")
    if isinstance(part, File) and store is _OPENAI:
        openai_common.check_size(part)
    return store.upload(part, model)


def look(file_id: str, model: Model) -> Flow[Optional[Stored]]:
    """How an uploaded file is doing; None where the store does not have it (any more)."""
    store = _store(model)
    return _look(_request(model, store.path(file_id, model)), store, model)


def _look(request: HttpRequest, store: _Store, model: Model) -> Flow[Optional[Stored]]:
    response = yield request
    if response.status in GONE:
        return None
    return _read(response, model, store)


class _Store(NamedTuple):
    """One vendor's store: how a file gets there, where it is looked at, how its description and an
    error's are read.
    """

    upload: Callable[[Media, Model], Flow[Stored]]
    path: Callable[[str, Model], str]
    described: Callable[[Mapping[str, Any], HttpResponse, Model], Stored]
    fault: Callable[[Any, int], Fault]


def _store(model: Model) -> _Store:
    store = _STORES.get(model.provider.adapter)
    if store is None or not model.provider.file_store:
        raise ConfigError(
            f"{model.provider.name} has no file store that we know of: send the file itself; if it "
            "has one, say file_store: true in the provider's entry"
        )
    return store


def _request(
    model: Model, path: str, headers: Mapping[str, str] = {}, body: bytes | None = None
) -> HttpRequest:
    """A GET, or with a `body` a POST, with what every request to the provider carries."""
    provider = model.provider
    by_name = {name.lower(): (name, value) for name, value in headers.items()}
    if provider.adapter == "anthropic":
        version = model.api_version or "2026-10-21"
        by_name["anthropic-version"] = ("anthropic-version", version)
    for name, value in provider.headers.items():
        by_name.setdefault(name.lower(), (name, value))
    url = join_url(provider.base_url, path)
    return HttpRequest("GET" if body is None else "POST", url, tuple(by_name.values()), body or b"")


def _read(response: HttpResponse, model: Model, store: _Store, inside: str = "") -> Stored:
    """The file that an answer describes (in its field `inside`)."""
    body = _body(response, model, store)
    try:
        described = as_object(body[inside], inside) if inside else body
        return store.described(described, response, model)
    except (KeyError, MalformedError) as error:
        raise unreadable(response, model, MalformedError(f"no description: {error}")) from None


def _body(response: HttpResponse, model: Model, store: _Store) -> dict[str, Any]:
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
    raise failure(response, model, store.fault(body, response.status))


def _seconds(value: Any, response: HttpResponse) -> float | None:
    """The wall-clock time of an RFC 3339 instant, by our clock. One that cannot be read is now: the
    file is used, but not relied on later.
    """
    if value is None:
        return None
    left = until_rfc3339(value, response) if isinstance(value, str) else None
    return response.received_at + (left or 0.0)


def _name(part: Media) -> str:
    """What the file is to be called; some vendors tell its kind by that."""
    if isinstance(part, File) and part.name:
        return part.name
    kind = part.media_type
    return "file" + _SUFFIXES.get(kind, "." + kind.rpartition("/")[2].rpartition("+")[2])


def _form(
    data: bytes, media_type: str, name: str, fields: Mapping[str, str]
) -> tuple[dict[str, str], bytes]:
    """A form with `fields` and the file, and its header. The same file gives the same bytes: what
    separates the fields is made of the hash of the data, which data cannot hold.
    """
    boundary = f"deluge-sync-{hashlib.sha256(data).hexdigest()}"
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
    return headers, b"".join((head, data, f"\r\n--{boundary}--\r\n".encode()))


# OpenAI


def _to_openai(part: Media, model: Model) -> Flow[Stored]:
    headers, body = _form(part.data, part.media_type, _name(part), {"purpose": PURPOSE})
    response = yield _request(model, "/files", headers, body)
    return _read(response, model, _OPENAI)


def _openai_path(file_id: str, model: Model) -> str:
    return f"/files/{quote(file_id, safe='')}"


def _openai_file(body: Mapping[str, Any], response: HttpResponse, model: Model) -> Stored:
    at = body.get("expires_at")
    return Stored(
        as_text(body.get("id"), "id"), float(at) if isinstance(at, (int, float)) else None
    )


_OPENAI = _Store(_to_openai, _openai_path, _openai_file, openai_common.fault)


# Anthropic

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f]')


def _to_anthropic(part: Media, model: Model) -> Flow[Stored]:
    # The Files page of its documentation: documents are PDFs and plain texts, and these characters
    # may not be in a name, which has 1 to 255.
    name = _FORBIDDEN.sub("_", _name(part))[-255:]
    kind = "text/plain" if is_text(part.media_type) else part.media_type
    headers, body = _form(part.data, kind, name, {})
    response = yield _request(model, "/v1/files", headers, body)
    return _read(response, model, _ANTHROPIC)


def _anthropic_path(file_id: str, model: Model) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"


def _anthropic_file(body: Mapping[str, Any], response: HttpResponse, model: Model) -> Stored:
    return Stored(as_text(body.get("id"), "id"), _seconds(body.get("expires_at"), response))


_ANTHROPIC = _Store(_to_anthropic, _anthropic_path, _anthropic_file, anthropic_answers.fault)


# Gemini


def _to_gemini(part: Media, model: Model) -> Flow[Stored]:
    described = {"displayName": _name(part)[:512], "mimeType": part.media_type}
    headers = {
        **JSON_HEADERS,
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(len(part.data)),
        "x-goog-upload-header-content-type": part.media_type,
    }
    path = f"/upload/{_version(model)}/files"
    begun = yield _request(model, path, headers, dump({"file": described}))
    where = begun.headers.get("x-goog-upload-url")
    if not 200 <= begun.status <= 299 or not where:
        _body(begun, model, _GEMINI)
        raise unreadable(begun, model, MalformedError("no x-goog-upload-url to send the file to"))
    whole = {"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"}
    send = _request(model, path, whole, part.data)
    done = yield send._replace(url=_at_home(where, send.url))
    return _read(done, model, _GEMINI, inside="file")


def _at_home(url: str, ours: str) -> str:
    """`url` at the server of `ours`, as Google's SDK has it: the key goes to nobody else, and a
    gateway stays in between.
    """
    home = urlsplit(ours)
    return urlunsplit(urlsplit(url)._replace(scheme=home.scheme, netloc=home.netloc))


def _gemini_path(file_id: str, model: Model) -> str:
    name = file_id.rpartition("/")[2]
    return f"/{_version(model)}/files/{quote(name, safe='')}"


def _gemini_file(body: Mapping[str, Any], response: HttpResponse, model: Model) -> Stored:
    state = body.get("state")
    if state == "FAILED":
        why = _GEMINI.fault(body, response.status).message
        raise BadRequestError(f"{model.provider.name} could not process the file: {masked(why)}")
    uri = as_text(body.get("uri"), "uri")
    return Stored(uri, _seconds(body.get("expirationTime"), response), state == "ACTIVE")


def _version(model: Model) -> str:
    return model.api_version or "v1"


_GEMINI = _Store(_to_gemini, _gemini_path, _gemini_file, gemini_answers.read_fault)


_STORES: Mapping[str, _Store] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
}
"""By `Provider.adapter`."""
