"""OpenAI Chat Completions, and every host that speaks it.

Written from the types of the openai SDK 3.54 (`types/chat`, `types/completion_usage`); what other
hosts do differently is a field of `Model` where we send, and tolerated where we read.
"""

from __future__ import annotations

from typing import Any

from ..values.model import Model
from ..values.params import SamplingParams
from ..values.request import OutputFormat, Request
from ..values.response import Answer
from ..values.wire import HttpRequest, HttpResponse
from .address import address, placed
from .base import Fold
from .body import JSON_HEADERS, post
from .chat_events import ChatFold
from .chat_input import message_fields
from .chat_output import fault, read_completion
from .failures import read_answer, request_id
from .openai_common import limits, schema_of
from .openai_tools import chat_tool_fields
from .options import refuse

__all__ = [
    "UNSUPPORTED",
    "decode",
    "encode",
    "fold",
    "limits",
    "needs_stream",
    "request_id",
]

UNSUPPORTED: frozenset[str] = frozenset({"top_k", "thinking_budget"})

_SAME_NAME = frozenset(
    {
        "temperature",
        "top_p",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "service_tier",
        "top_logprobs",
        "verbosity",
    }
)


def encode(request: Request, model: Model) -> HttpRequest:
    """The call for `request`; see `base.Adapter.encode`."""
    refuse(
        request, model, "background", "completion_window", "previous_response_id", "continuation"
    )
    fields = {"model": model.id, **message_fields(request, model)}
    fields.update(_sampling(request.params, model))
    fields.update(chat_tool_fields(request, model))
    if request.output is not None:
        fields["response_format"] = _format(request.output)
    if request.stream:
        fields["stream"] = True
        if "stream_options" not in model.refuses:
            fields["stream_options"] = {"include_usage": True}
    return post(
        address(model, "/chat/completions", stream=request.stream),
        placed(fields, model, ""),
        JSON_HEADERS,
        model.provider.headers,
        request.extra_headers,
        extra_body=request.extra_body,
        nested="stream_options",
    )


def needs_stream(request: Request, model: Model) -> bool:
    """Never: see `base.Adapter.needs_stream`."""
    return False


def decode(response: HttpResponse, model: Model) -> Answer:
    """What `response` says; see `base.Adapter.decode`."""
    return read_answer(response, model, read_completion, fault)


def fold(head: HttpResponse, model: Model) -> Fold:
    """The reader of a stream; see `base.Adapter.fold`."""
    return ChatFold(head, model)


def _format(output: OutputFormat) -> dict[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    held = {"name": output.name, "schema": schema_of(output), "strict": output.strict}
    return {"type": "json_schema", "json_schema": held}


def _sampling(params: SamplingParams, model: Model) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in params.given().items():
        if name in _SAME_NAME:
            fields[name] = value
        elif name == "max_new_tokens":
            fields[model.max_tokens_field] = value
        elif name == "seed":
            fields[model.seed_field] = value
        elif name == "reasoning_effort":
            fields.update(_reasoning(value, model))
    if params.top_logprobs is not None:
        fields["logprobs"] = True
    return fields


def _reasoning(effort: str, model: Model) -> dict[str, Any]:
    """The effort, and the switch beside it that DeepSeek and its like have ("adaptive")."""
    if model.thinking != "adaptive":
        return {"reasoning_effort": effort}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, "reasoning_effort": effort}
