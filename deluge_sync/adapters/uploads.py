"""Files put into a vendor's store, to be named in prompts by the id it gives them.

From the SDKs: openai 3.54 (`resources/files.py`, `types/file_object.py`), anthropic 2.12
(`resources/files.py`, `types/file_metadata.py`), google-genai 3.4 (`files.py`, `_api_client.py`:
a resumable upload in one piece).

An upload takes several requests at some vendors: a `Flow` is a generator that yields them one by
one, and is sent the answer to each. What goes wrong it raises as the `CallError` that fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote

from ..values.errors import BadRequestError, ConfigError, PromptError
from ..values.media import Audio, File, Media
from ..values.model import Model
from ..values.wire import HttpRequest, HttpResponse
from . import anthropic_answers, gemini_answers, openai_common
from .anthropic_media import is_text
from .base import Flow
from .body import MalformedError, as_object, as_text
from .failures import Fault, masked, unreadable
from .headers import until_rfc3339
from .vendor_calls import (
    UPLOAD_WHOLE,
    ask,
    body_of,
    form,
    resumable_start,
    upload_url,
    version_of,
)

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
    return _look(ask(model, store.path(file_id, model)), store, model)


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


def _read(response: HttpResponse, model: Model, store: _Store, inside: str = "") -> Stored:
    """The file that an answer describes (in its field `inside`)."""
    body = body_of(response, model, store.fault)
    try:
        described = as_object(body[inside], inside) if inside else body
        return store.described(described, response, model)
    except (KeyError, MalformedError) as error:
        raise unreadable(response, model, MalformedError(f"no description: {error}")) from None


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


# OpenAI


def _to_openai(part: Media, model: Model) -> Flow[Stored]:
    head, tail, headers = form(_name(part), part.media_type, part.data, {"purpose": PURPOSE})
    response = yield ask(model, "/files", headers, b"".join((head, part.data, tail)))
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
    head, tail, headers = form(name, kind, part.data, {})
    response = yield ask(model, "/v1/files", headers, b"".join((head, part.data, tail)))
    return _read(response, model, _ANTHROPIC)


def _anthropic_path(file_id: str, model: Model) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"


def _anthropic_file(body: Mapping[str, Any], response: HttpResponse, model: Model) -> Stored:
    return Stored(as_text(body.get("id"), "id"), _seconds(body.get("expires_at"), response))


_ANTHROPIC = _Store(_to_anthropic, _anthropic_path, _anthropic_file, anthropic_answers.fault)


# Gemini


def _to_gemini(part: Media, model: Model) -> Flow[Stored]:
    begun = yield resumable_start(_name(part), part.media_type, len(part.data), model)
    where = upload_url(begun, model, _GEMINI.fault)
    done = yield ask(model, where, UPLOAD_WHOLE, part.data)
    return _read(done, model, _GEMINI, inside="file")


def _gemini_path(file_id: str, model: Model) -> str:
    name = file_id.rpartition("/")[2]
    return f"/{version_of(model)}/files/{quote(name, safe='')}"


def _gemini_file(body: Mapping[str, Any], response: HttpResponse, model: Model) -> Stored:
    state = body.get("state")
    if state == "FAILED":
        why = _GEMINI.fault(body, response.status).message
        raise BadRequestError(f"{model.provider.name} could not process the file: {masked(why)}")
    uri = as_text(body.get("uri"), "uri")
    return Stored(uri, _seconds(body.get("expirationTime"), response), state == "ACTIVE")


_GEMINI = _Store(_to_gemini, _gemini_path, _gemini_file, gemini_answers.read_fault)


_STORES: Mapping[str, _Store] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
}
"""By `Provider.adapter`."""
