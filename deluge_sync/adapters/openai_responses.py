"""OpenAI Responses: `POST /responses`, its streams, and runs in the background.

Written from the types of the openai SDK 3.54 (`types/responses`, `resources/responses`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..values.errors import ConfigError
from ..values.model import Model
from ..values.request import OutputFormat, Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse
from .body import JSON_HEADERS, join_url, post
from .failures import read_answer, request_id
from .openai_common import fault, limits, schema_of
from .openai_tools import responses_tool_fields, with_flat_tools
from .options import refuse
from .responses_events import ResponsesFold
from .responses_input import input_fields
from .responses_output import read_response

__all__ = [
    "UNSUPPORTED",
    "cancel",
    "decode",
    "encode",
    "fold",
    "follow",
    "limits",
    "needs_stream",
    "poll",
    "request_id",
]

UNSUPPORTED: frozenset[str] = frozenset(
    {"top_k", "thinking_budget", "stop", "seed", "presence_penalty", "frequency_penalty"}
)

_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_logprobs": "top_logprobs",
    "max_new_tokens": "max_output_tokens",
    "service_tier": "service_tier",
}
_WINDOWS = ("soonest", "2h", "8h")
_STANDARD_TIERS = (None, "auto", "default")
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESPONSE_ID = re.compile(r"[A-Za-z0-9][\w.:=~-]*", re.ASCII)


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`.

    `extra_body`'s `reasoning` is merged into ours, so `{"reasoning": {"summary": None}}` asks for
    no summary. Its function tools may be those of Chat, which nests them.
    """
    return post(
        join_url(model.provider.base_url, "/responses"),
        {
            "model": model.id,
            **input_fields(request, model),
            **responses_tool_fields(request, model),
            **_options(request, model),
        },
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=with_flat_tools(request.extra_body),
        nested="reasoning",
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`. What takes long may run in the background."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`. The answers of `poll` and `cancel` too."""
    return read_answer(response, model, read_response, fault)


def fold(head: HttpResponse, model: Model) -> ResponsesFold:
    """The reader of a stream; see `base.Adapter.fold`."""
    return ResponsesFold(head, model)


def poll(response_id: str, request: Request, model: Model) -> HttpRequest:
    """Asks how the response to `request` stands; `decode` reads what comes."""
    return _call("GET", response_id, "", _included(request, model), request, model)


def follow(
    response_id: str, starting_after: int | None, request: Request, model: Model
) -> HttpRequest:
    """Asks for the events after the one of that `sequence_number`; None is from the first on.

    Only for a response that was begun with both `background` and `stream`.
    """
    query = [*_included(request, model), ("stream", "true"), ("include_obfuscation", "false")]
    if starting_after is not None:
        query.append(("starting_after", str(starting_after)))
    return _call("GET", response_id, "", query, request, model)


def cancel(response_id: str, request: Request, model: Model) -> HttpRequest:
    """Stops a response in the background. Where it had ended before, its end comes back."""
    return _call("POST", response_id, "/cancel", [], request, model)


def _call(
    method: str,
    response_id: str,
    action: str,
    query: list[tuple[str, str]],
    request: Request,
    model: Model,
) -> HttpRequest:
    if not _RESPONSE_ID.fullmatch(response_id):
        raise ConfigError(f"{response_id!r} is not the id of a response")
    provider = model.provider
    url = join_url(provider.base_url, f"/responses/{response_id}{action}")
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query)
    call = post(url, {}, provider.headers, request.extra_headers, extra_body={})
    return call._replace(method=method, body=b"")


def _options(request: Request, model: Model) -> dict[str, Any]:
    refuse(request, model, "continuation")
    params = request.params
    fields = {_FIELDS[name]: value for name, value in params.given().items() if name in _FIELDS}
    if params.reasoning_effort is not None:
        fields["reasoning"] = _reasoning(params.reasoning_effort)
    text = _text(request, model)
    if text:
        fields["text"] = text
    # What is kept at the vendor is kept for a reason: others may read it there for 30 days.
    kept = request.background or request.previous_response_id is not None
    fields["store"] = kept
    include = _include(request, model)
    if include:
        fields["include"] = include
    if request.previous_response_id is not None:
        fields["previous_response_id"] = request.previous_response_id
    if request.stream:
        # Random padding against who listens to the sizes of packets: dear in bytes.
        fields.update(stream=True, stream_options={"include_obfuscation": False})
    return {**fields, **_background(request, model)}


def _reasoning(effort: str) -> dict[str, Any]:
    return {"effort": effort} if effort == "none" else {"effort": effort, "summary": "auto"}


def _text(request: Request, model: Model) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.output is not None:
        fields["format"] = _format(request.output, model)
    if request.params.verbosity is not None:
        fields["verbosity"] = request.params.verbosity
    return fields


def _format(output: OutputFormat, model: Model) -> Mapping[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    if "json_schema" not in model.supports:
        raise ConfigError(
            f"{model.name} takes no output_schema (its entry's `supports` lacks 'json_schema'): "
            "use json_mode=True, or another model"
        )
    if not _FORMAT_NAME.fullmatch(output.name):
        raise ConfigError(
            f"a schema's name is of letters, digits, _ and -, at most 64 of them: {output.name!r}"
        )
    return {
        "type": "json_schema",
        "name": output.name,
        "schema": schema_of(output),
        "strict": output.strict,
    }


def _include(request: Request, model: Model) -> list[str]:
    """What comes only where it is asked for.

    OpenAI fills encrypted reasoning into the answer to a POST by itself; other hosts, and a GET,
    do not. Models that do not reason refuse to be asked.
    """
    words = []
    if "reasoning" in model.supports:
        words.append("reasoning.encrypted_content")
    if request.params.logprobs or request.params.top_logprobs is not None:
        words.append("message.output_text.logprobs")
    return words


def _included(request: Request, model: Model) -> list[tuple[str, str]]:
    return [("include[]", word) for word in _include(request, model)]


def _background(request: Request, model: Model) -> dict[str, Any]:
    window = request.completion_window
    if not request.background:
        if window is not None:
            raise ConfigError("completion_window needs background=True")
        return {}
    if window is None:
        return {"background": True}
    if window not in _WINDOWS:
        raise ConfigError(f"completion_window is one of {', '.join(_WINDOWS)}, not {window!r}")
    if window != "soonest":
        if request.stream:
            raise ConfigError(f"completion_window={window!r} and a stream exclude each other")
        if request.params.service_tier not in _STANDARD_TIERS:
            raise ConfigError(f"completion_window={window!r} needs the default service_tier")
    return {"background": True, "background_options": {"completion_window": window}}
