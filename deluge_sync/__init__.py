"""Blocking calls to language models at full throughput, for code that has no event loop."""

from __future__ import annotations

import logging

from ._version import __version__
from .client import Client
from .stats import Report
from .values.errors import (
    AuthError,
    BadRequestError,
    CallCancelledError,
    CallError,
    ConfigError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    DelugeError,
    DelugeWarning,
    ForkedError,
    MissingKeyError,
    NotFoundError,
    PostprocessError,
    PromptError,
    QuotaExhaustedError,
    RefusalError,
    ResponseTooLargeError,
    ThrottledError,
    TooLongError,
    TransientError,
    UnknownModelError,
)
from .values.params import SamplingParams
from .values.prompt import Conversation, Message, Text, Thinking, ToolCall, ToolResult
from .values.response import Response, Usage

__all__ = [
    "AuthError",
    "BadRequestError",
    "CallCancelledError",
    "CallError",
    "Client",
    "ConfigError",
    "ConnectionFailedError",
    "Conversation",
    "DeadlineExceededError",
    "DecodeError",
    "DelugeError",
    "DelugeWarning",
    "ForkedError",
    "Message",
    "MissingKeyError",
    "NotFoundError",
    "PostprocessError",
    "PromptError",
    "QuotaExhaustedError",
    "RefusalError",
    "Report",
    "Response",
    "ResponseTooLargeError",
    "SamplingParams",
    "Text",
    "Thinking",
    "ThrottledError",
    "TooLongError",
    "ToolCall",
    "ToolResult",
    "TransientError",
    "UnknownModelError",
    "Usage",
    "__version__",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
