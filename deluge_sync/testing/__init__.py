"""The sandbox provider: a local server with the OpenAI, Anthropic and Gemini wire formats.

    from deluge_sync.testing import Sandbox

    with Sandbox(requests_per_minute=600) as sandbox:
        client = Client("gpt-4.1-mini", base_url=sandbox.base_url, api_key="any")
        assert client.complete("Hello").completion == "Hello"
        assert sandbox.journal[0].prompt == "Hello"

Batches live as `BatchScript` says: `Sandbox(batches=BatchScript(share=0.7, end="expired"))`.

Standard library only. The names below are loaded when first used, so that the pytest plugin costs
nothing to collect.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answers import Question, Reply
    from .batch_script import BatchRecord, BatchScript
    from .faults import Fault
    from .journal import Record
    from .launching import launch, serve
    from .sandbox import Sandbox

__all__ = [
    "BatchRecord",
    "BatchScript",
    "Fault",
    "Question",
    "Record",
    "Reply",
    "Sandbox",
    "launch",
    "serve",
]

_HOME = {
    "BatchRecord": ".batch_script",
    "BatchScript": ".batch_script",
    "Fault": ".faults",
    "Question": ".answers",
    "Record": ".journal",
    "Reply": ".answers",
    "Sandbox": ".sandbox",
    "launch": ".launching",
    "serve": ".launching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
