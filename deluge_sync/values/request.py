"""One request, before any vendor's wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .params import SamplingParams
from .prompt import Conversation


@dataclass(frozen=True)
class Request:
    """A prompt with everything that decides the answer.

    `params` holds only what the model takes (see `Model.accepts`). `extra_body` is merged over the
    wire body at its top level, `extra_headers` over the headers.
    """

    conversation: Conversation
    params: SamplingParams = SamplingParams()
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict)
