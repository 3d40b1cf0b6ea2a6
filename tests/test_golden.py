"""The wire formats at a glance: one file per adapter and feature, of what is sent and comes back.

A file holds `sent` (the body), and where something is to be read, `received` (the body of the
answer) or `stream` (its events as [name, data] pairs), with `read`, the answer as we keep it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deluge_sync.adapters import ADAPTERS
from deluge_sync.adapters.sse import ServerEvent
from deluge_sync.values.errors import ConfigError, PromptError
from deluge_sync.values.model import Model, Provider
from deluge_sync.values.plain import answer_to_plain
from deluge_sync.values.response import Answer
from deluge_sync.values.wire import HttpResponse

from .golden_features import FEATURES

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.json"))
EVERYTHING = frozenset(
    {
        "vision",
        "pdf",
        "audio_in",
        "tools",
        "forced_tool_choice",
        "json_schema",
        "reasoning",
        "prompt_caching",
        "cache_breakpoints",
        "computer_use",
    }
)


def model_of(adapter: str) -> Model:
    """One that takes all there is."""
    efforts = ("none", "low", "medium", "high")
    provider = Provider("vendor", adapter, base_url="https://vendor")
    thinking = {"openai_chat": "effort", "openai_responses": "effort", "gemini": "level"}
    return Model(
        "m",
        provider,
        efforts=efforts,
        thinking=thinking.get(adapter, "adaptive"),
        supports=EVERYTHING,
    )


def plain(answer: Answer) -> dict[str, Any]:
    return json.loads(json.dumps(answer_to_plain(answer)))


def contents(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}: {path.stem}")
def test_a_request_is_sent_and_its_answer_read_as_the_golden_file_shows(path: Path) -> None:
    name, feature = path.parent.name, path.stem
    adapter, model, golden = ADAPTERS[name], model_of(name), contents(path)
    assert json.loads(adapter.encode(FEATURES[feature], model).body) == golden["sent"]
    headers = {"content-type": "application/json"}
    if "received" in golden:
        body = json.dumps(golden["received"]).encode()
        answer = adapter.decode(HttpResponse(200, headers, body), model)
        assert plain(answer) == golden["read"]
    if "stream" in golden:
        fold = adapter.fold(HttpResponse(200, headers, b""), model)
        for event_name, data in golden["stream"]:
            text = data if isinstance(data, str) else json.dumps(data)
            fold.feed(ServerEvent(event_name, text))
        assert fold.done or name == "gemini"  # which has no sign for the end but the body's
        assert plain(fold.answer()) == golden["read"]


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_what_a_wire_format_has_no_form_for_is_named_before_sending(name: str) -> None:
    known = {path.stem for path in FILES if path.parent.name == name}
    for feature, request in FEATURES.items():
        if feature not in known and not feature.startswith("computer, "):  # words of one vendor
            with pytest.raises((PromptError, ConfigError)):
                ADAPTERS[name].encode(request, model_of(name))
