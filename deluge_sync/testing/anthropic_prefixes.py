"""Anthropic's prompt cache: which beginnings of a prompt are to be kept, and which are.

A prompt is read in the order tools, system, messages, block by block. What stands before a
breakpoint is kept once the prompt is *answered*, so prompts that arrive together find nothing of
each other's. Nothing is too short to be kept, and nothing expires: this is a sandbox.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..values.response import Usage
from .answers import CHARACTERS_PER_TOKEN

_MOST_KEPT = 10_000


class Prefix(NamedTuple):
    """A prompt up to the end of one of its blocks. `lifetime` is set where a breakpoint is."""

    key: str
    tokens: int
    lifetime: Optional[str]


class Kept:
    """The prefixes that are kept, the oldest forgotten first.

    Sandboxes of one process share them (their keys tell them apart): the lock guards the keys.
    """

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._lock = threading.Lock()

    def found(self, prefixes: Sequence[Prefix]) -> Usage:
        """What of a prompt is read from the cache and what is to be written, as the cache fields of
        a `Usage`. The longest kept prefix before the last breakpoint is read.
        """
        marked = [at for at, prefix in enumerate(prefixes) if prefix.lifetime is not None]
        if not marked:
            return Usage()
        before = prefixes[: marked[-1] + 1]
        with self._lock:
            read = max((prefix.tokens for prefix in before if prefix.key in self._keys), default=0)
        done, written, written_long = read, 0, 0
        for prefix in (before[at] for at in marked):
            size = max(0, prefix.tokens - done)
            written += size
            written_long += size if prefix.lifetime == "1h" else 0
            done += size
        return Usage(
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_long_tokens=written_long,
        )

    def keep(self, keys: Iterable[str]) -> None:
        """Keep the prefixes of these keys."""
        with self._lock:
            for key in keys:
                self._keys.pop(key, None)
                self._keys[key] = None
            while len(self._keys) > _MOST_KEPT:
                del self._keys[next(iter(self._keys))]


def prefixes(body: Mapping[str, Any], owner: str) -> list[Prefix]:
    """The prefixes of a checked prompt, the shortest first; [] where it has no breakpoint."""
    blocks = list(_blocks(body))
    if body.get("cache_control") and blocks:  # marks the last block there is
        blocks[-1] = (blocks[-1][0], {"cache_control": body["cache_control"], **blocks[-1][1]})
    if not any("cache_control" in block for _, block in blocks):
        return []
    digest = hashlib.sha256(owner.encode("utf-8", "replace"))
    found, characters = [], 0
    for place, block in blocks:
        digest.update(json.dumps([place, _bare(block)], sort_keys=True).encode("ascii"))
        characters += len(text_of(block))
        tokens = -(-characters // CHARACTERS_PER_TOKEN)
        found.append(Prefix(digest.hexdigest(), tokens, _lifetime(block)))
    return found


def text_of(block: Mapping[str, Any]) -> str:
    """What of a block or a tool counts as text."""
    kind = block.get("type")
    if kind == "text":
        return str(block["text"])
    if kind == "tool_result":
        content = block.get("content") or ""
        return content if isinstance(content, str) else "".join(map(text_of, content))
    if kind == "document" and block["source"].get("type") == "text":
        return str(block["source"].get("data"))
    return json.dumps(_bare(block), sort_keys=True) if "input_schema" in block else ""


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _lifetime(block: Mapping[str, Any]) -> str | None:
    control = block.get("cache_control")
    return (control.get("ttl") or "5m") if control else None


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tool in body.get("tools") or ():
        yield "tools", tool
    for block in _listed(body.get("system") or ()):
        yield "system", block
    for turn in body["messages"]:
        for block in _listed(turn["content"]):
            yield turn["role"], block


def _listed(content: Any) -> Iterable[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
