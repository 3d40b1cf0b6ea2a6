"""The floors of the building: a module imports only from those below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "deluge_sync"

FLOORS = {
    "values": 0,
    "notices": 1,
    "rows": 1,
    "signals": 1,
    "adapters": 2,
    "catalog": 2,
    "engine": 2,
    "stores": 2,
    "futures": 3,
    "tool_runs": 3,
    "cache": 3,
    "computer_fields": 0,
    "computer": 3,
    "fetching": 3,
    "pieces": 3,
    "tokens": 3,
    "signing": 3,
    "outlay": 3,
    "options": 3,
    "mcp": 3,
    "route": 4,
    "outcome": 4,
    "errand": 5,
    "call": 5,
    "background": 6,
    "failover": 6,
    "stats": 4,
    "journal": 4,
    "progress": 5,
    "uploads": 7,
    "launch": 6,
    "run": 6,
    "settings": 6,
    "estimate": 8,
    "routes": 8,
    "agent": 7,
    "agent_jobs": 8,
    "plan": 9,
    "process": 9,
    "batch": 11,
    "paid": 6,
    "embeddings": 10,
    "rankings": 10,
    "client": 12,
    "embed": 13,
    "rerank": 13,
    "local": 13,
    "testing": 13,
    "cli": 14,
    "contrib": 15,
}
STRANGERS = {"adapters", "catalog", "engine", "stores"}
FREE = {"__init__", "__main__", "_version"}

FORBIDDEN_IN_ADAPTERS = {
    "os", "time", "random", "socket", "threading", "logging", "urllib3", "requests",
}  # fmt: skip
VENDORS = ("openai", "anthropic", "gemini", "google", "claude", "gpt", "mistral", "cohere", "groq")

MODULES = sorted(ROOT.rglob("*.py"))


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Dotted names of what `path` imports; our own are absolute too, "deluge_sync.values"."""
    package = ("deluge_sync", *path.relative_to(ROOT).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *filter(None, [node.module])))
            names.add(stem)
            if stem == "deluge_sync":
                names.update(f"deluge_sync.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_the_floors_below_its_own(path: Path) -> None:
    own = floor_of(path)
    if own in FREE:
        return
    for name in imported(path):
        if not name.startswith("deluge_sync."):
            continue
        other = name.split(".")[1]
        if other in FREE or other == own or other.startswith("__"):
            continue
        assert FLOORS[other] < FLOORS[own], f"{own} imports {other}"
        assert not {own, other} <= STRANGERS, f"{own} and {other} are strangers"


@pytest.mark.parametrize("path", sorted((ROOT / "adapters").glob("*.py")), ids=lambda p: p.name)
def test_an_adapter_imports_nothing_that_does_io_or_keeps_time(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & FORBIDDEN_IN_ADAPTERS


@pytest.mark.parametrize("path", sorted((ROOT / "engine").glob("*.py")), ids=lambda p: p.name)
def test_the_engine_names_no_vendor(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    assert not [vendor for vendor in VENDORS if vendor in text]
