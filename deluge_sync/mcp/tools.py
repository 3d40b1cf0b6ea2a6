"""MCP servers started, their tools made `Tool`s."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..notices import warn_once
from ..values.errors import ConfigError
from ..values.mcp_tools import MCPTools, Pin
from ..values.tool import Tool
from .lines import Handle, close_all, definitions_of
from .pins import Definition, changes, names_of, refuse, visible, visible_schema
from .settings import Server, server_of, servers_of


@dataclass(frozen=True)
class Caller:
    """A tool's `run`: called with its arguments by name, in any thread."""

    handle: Handle
    tool: str
    seconds: float

    def __call__(self, /, **arguments: Any) -> Any:
        """What the tool gives, or raises."""
        return self.handle.call(self.tool, arguments, self.seconds)


class Servers:
    """One or several servers, and what their tools are called with."""

    def __init__(self, handles: Sequence[Handle], *, timeout: float, start_timeout: float) -> None:
        self._handles = tuple(handles)
        self._timeout = timeout
        self._start_timeout = start_timeout

    def pin(self) -> dict[str, Pin]:
        """What is accepted, by server."""
        return {handle.name: handle.pin for handle in self._handles}

    def open(self) -> list[Tool]:
        """Start the servers; a tool that differs from a stored pin is refused."""
        read = self._read()
        for handle, present in read:
            if handle.pinned:
                refuse(handle.name, changes(handle.pin, present))
            handle.accept(present)
        return self._tools(read)

    def accept(self) -> tuple[list[Tool], list[str]]:
        """Accept the tools as they are now: these, and what has changed."""
        read = self._read()
        told: list[str] = []
        for handle, present in read:
            found = changes(handle.pin, present)
            told += [f"{handle.name}: {name} {what}" for name, what in found.items()]
            handle.accept(present)
        return self._tools(read), told

    def close(self) -> None:
        """End them."""
        close_all(self._handles)

    def _read(self) -> list[tuple[Handle, list[Definition]]]:
        return list(zip(self._handles, definitions_of(self._handles, self._start_timeout)))

    def _tools(self, read: Sequence[tuple[Handle, list[Definition]]]) -> list[Tool]:
        return [
            tool
            for handle, definitions in read
            for tool in _tools(handle, definitions, self._timeout)
        ]


def from_server(
    name: str,
    *,
    pin: Mapping[str, Pin] | None,
    timeout: float,
    start_timeout: float,
    max_restarts: int,
    **server: Any,
) -> MCPTools:
    """See `Tool.from_mcp`."""
    return _opened((server_of(name, **server),), pin, timeout, start_timeout, max_restarts)


def from_config(
    config: Mapping[str, Any],
    *,
    pin: Mapping[str, Pin] | None,
    timeout: float,
    start_timeout: float,
    max_restarts: int,
) -> MCPTools:
    """See `Tool.from_mcp_config`."""
    return _opened(servers_of(config), pin, timeout, start_timeout, max_restarts)


def _opened(
    servers: Sequence[Server],
    pin: Mapping[str, Pin] | None,
    timeout: float,
    start_timeout: float,
    max_restarts: int,
) -> MCPTools:
    for field, value in (("timeout", timeout), ("start_timeout", start_timeout)):
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ConfigError(f"{field} must be seconds above 0, not {value!r}")
    if not isinstance(max_restarts, int) or max_restarts < 0:
        raise ConfigError(f"max_restarts must be a number of 0 or more, not {max_restarts!r}")
    if pin is not None and not _is_pin(pin):
        raise ConfigError("pin must be what the `pin` of such a list was: {server: {tool: {...}}}")
    handles = [
        Handle(
            server,
            # A server that a stored pin does not know has nothing accepted.
            pin=None if pin is None else pin.get(server.name, {}),
            max_restarts=max_restarts,
        )
        for server in servers
    ]
    opened = Servers(handles, timeout=timeout, start_timeout=start_timeout)
    try:
        return MCPTools(opened.open(), opened)
    except BaseException:
        opened.close()
        raise


def _is_pin(pin: Any) -> bool:
    return isinstance(pin, Mapping) and all(
        isinstance(tools, Mapping) and all(isinstance(hashes, Mapping) for hashes in tools.values())
        for tools in pin.values()
    )


def _tools(handle: Handle, definitions: Sequence[Definition], seconds: float) -> list[Tool]:
    names = names_of(handle.name, [definition.name for definition in definitions])
    tools = []
    for definition in definitions:
        try:
            tool = Tool(
                names[definition.name],
                visible(definition.description),
                visible_schema(definition.parameters),
                run=Caller(handle, definition.name, seconds),
                timeout=seconds,
            )
        except ConfigError as error:
            # One tool of somebody else's server is no reason to do without the others.
            warn_once(f"MCP server {handle.name}: {definition.name} is left out: {error.message}")
            continue
        tools.append(tool)
    return tools
