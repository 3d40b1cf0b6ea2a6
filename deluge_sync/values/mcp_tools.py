"""The list of tools that `Tool.from_mcp` gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from .tool import Tool

Pin = Mapping[str, Mapping[str, str]]
"""By a tool's name: the SHA-256 of each of its parts. JSON, to be stored."""


class Servers(Protocol):
    """The MCP servers behind a list of tools."""

    def pin(self) -> dict[str, Pin]:
        """What is accepted, by server."""

    def accept(self) -> tuple[list[Tool], list[str]]:
        """Accept the tools as they are now: these, and what has changed."""

    def close(self) -> None:
        """End them."""


class MCPTools(list[Tool]):
    """The tools of one or several MCP servers, an ordinary list of them.

    `close()`, or leaving it as a context manager, ends the servers; so does the end of the program,
    and that nobody holds any of these tools. `pin` is what was accepted, by server and tool: JSON,
    to be stored and given to `Tool.from_mcp` later.
    """

    def __init__(self, tools: Iterable[Tool], servers: Servers) -> None:
        super().__init__(tools)
        self._servers = servers

    @property
    def pin(self) -> dict[str, Pin]:
        """What was accepted: hashes of the parts of each tool."""
        return self._servers.pin()

    def accept_changes(self) -> list[str]:
        """Read the servers' tools anew and accept them, here in place; gives what has changed."""
        self[:], changed = self._servers.accept()
        return changed

    def close(self) -> None:
        """End the servers; a call of one of the tools is a `ConfigError` afterwards."""
        self._servers.close()

    def __enter__(self) -> MCPTools:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
