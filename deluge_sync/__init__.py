"""Blocking calls to language models at full throughput, for code that has no event loop.

The names below are loaded when first used: the pytest plugin, and programs that only mention this
package, pay nothing for it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .agent import AgentRound
    from .batch.job import BatchJob, BatchPart, BatchStatus
    from .client import Client
    from .estimate import Estimate
    from .journal import Journal
    from .stats import Report
    from .stores.base import Store
    from .stores.disk import DiskStore
    from .stores.memory import MemoryStore
    from .values.deltas import TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
    from .values.embedding import Embedding, EmbedResponse, Ranked, RerankResponse
    from .values.errors import (
        AuthError,
        BadRequestError,
        BatchError,
        BudgetExceeded,
        CallCancelledError,
        CallError,
        ConfigError,
        ConnectionFailedError,
        DeadlineExceededError,
        DecodeError,
        DelugeError,
        DelugeWarning,
        EmbedError,
        ForkedError,
        JournalError,
        JournalInUseError,
        MissingKeyError,
        NotFoundError,
        OutputError,
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
    from .values.mcp_tools import MCPTools
    from .values.media import Audio, File, Image
    from .values.params import SamplingParams
    from .values.prompt import (
        Conversation,
        Message,
        Text,
        Thinking,
        ToolCall,
        ToolResult,
        VendorBlock,
    )
    from .values.response import Response, RouteStep, TokenLogprob, Usage
    from .values.tool import MCPServer, Tool

__all__ = [
    "AgentRound",
    "Audio",
    "AuthError",
    "BadRequestError",
    "BatchError",
    "BatchJob",
    "BatchPart",
    "BatchStatus",
    "BudgetExceeded",
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
    "DiskStore",
    "EmbedError",
    "EmbedResponse",
    "Embedding",
    "Estimate",
    "File",
    "ForkedError",
    "Image",
    "Journal",
    "JournalError",
    "JournalInUseError",
    "MCPServer",
    "MCPTools",
    "MemoryStore",
    "Message",
    "MissingKeyError",
    "NotFoundError",
    "OutputError",
    "PostprocessError",
    "PromptError",
    "QuotaExhaustedError",
    "Ranked",
    "RefusalError",
    "Report",
    "RerankResponse",
    "Response",
    "ResponseTooLargeError",
    "RouteStep",
    "SamplingParams",
    "Store",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "ThrottledError",
    "TokenLogprob",
    "TooLongError",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChangedError",
    "ToolError",
    "ToolResult",
    "TransientError",
    "UnknownModelError",
    "Usage",
    "UsageDelta",
    "VendorBlock",
    "__version__",
]

_HOME = {
    "AgentRound": ".agent",
    "Client": ".client",
    "DiskStore": ".stores.disk",
    "Estimate": ".estimate",
    "Journal": ".journal",
    "MCPTools": ".values.mcp_tools",
    "MemoryStore": ".stores.memory",
    "Report": ".stats",
    "SamplingParams": ".values.params",
    "Store": ".stores.base",
}
_HOME.update(dict.fromkeys(("BatchJob", "BatchPart", "BatchStatus"), ".batch.job"))
_HOME.update(dict.fromkeys(("Response", "RouteStep", "TokenLogprob", "Usage"), ".values.response"))
_HOME.update(
    dict.fromkeys(("EmbedResponse", "Embedding", "Ranked", "RerankResponse"), ".values.embedding")
)
_HOME.update(dict.fromkeys(("MCPServer", "Tool"), ".values.tool"))
_HOME.update(dict.fromkeys(("Audio", "File", "Image"), ".values.media"))
_HOME.update(
    dict.fromkeys(("TextDelta", "ThinkingDelta", "ToolCallDelta", "UsageDelta"), ".values.deltas")
)
_HOME.update(
    dict.fromkeys(
        ("Conversation", "Message", "Text", "Thinking", "ToolCall", "ToolResult", "VendorBlock"),
        ".values.prompt",
    )
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # What is not listed is an error: they are many, and all at home in one place.
    value = getattr(import_module(_HOME.get(name, ".values.errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


logging.getLogger(__name__).addHandler(logging.NullHandler())
