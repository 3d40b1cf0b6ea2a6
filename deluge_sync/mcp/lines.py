"""The way to one server: opened when first needed, again after a crash, and held to its pin."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Optional

from ..values.errors import ConfigError, ConnectionFailedError, ToolError
from ..values.mcp_tools import Pin
from .background import Background, background
from .pins import Definition, changes, pin_of, refuse
from .results import value_of
from .settings import LocalServer, Server

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)


class Line:
    """One process's way to a server, all of it in the event loop.

    A local server that has ended is started again by the next call, `max_restarts` times in all; a
    remote one is reached for again as often as asked.
    """

    def __init__(self, server: Server, max_restarts: int) -> None:
        self._server = server
        self._restarts_left = max_restarts
        self._connection: Optional[Connection] = None
        self._opening = asyncio.Lock()
        self._ended = False

    async def definitions(self) -> Mapping[str, Definition]:
        """The server's tools as they are now."""
        lost = connection_module().LostSession
        connection = await self._connected()
        try:
            return await connection.definitions()
        except lost:
            await connection.end()
        return await (await self._connected()).definitions()

    async def call(self, tool: str, arguments: Mapping[str, Any], pin: Pin) -> Any:
        """What the tool gives; sent twice only where the server has said that it did nothing."""
        lost = connection_module().LostSession
        for _ in range(2):
            connection = await self._connected()
            try:
                await self._check(connection, tool, pin)
                return value_of(await connection.call(tool, arguments))
            except lost:
                await connection.end()
        raise ConnectionFailedError(f"MCP server {self._server.name} does not keep its sessions")

    async def end(self) -> None:
        """End the connection; there is no other."""
        self._ended = True
        if self._connection is not None:
            await self._connection.end()

    async def _check(self, connection: Connection, tool: str, pin: Pin) -> None:
        present = await connection.definitions()
        if tool not in present:
            raise ToolError(f"MCP server {self._server.name} has no tool {tool} any longer")
        refuse(self._server.name, changes(pin, (present[tool],)))

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._ended:
                raise ConfigError(f"MCP server {self._server.name} has been closed")
            if self._connection is not None and not self._connection.alive:
                await self._restart(self._connection)
            if self._connection is None:
                connection = connection_module().Connection(self._server)
                # Known before it is open, so that it is ended whatever interrupts the opening.
                self._connection = connection
                await connection.open()
            return self._connection

    async def _restart(self, dead: Connection) -> None:
        await dead.end()
        if isinstance(self._server, LocalServer):
            if self._restarts_left <= 0:
                raise ConnectionFailedError(
                    f"MCP server {self._server.name} has ended too often ({dead.reason}); it is "
                    "not started again"
                )
            self._restarts_left -= 1
        logger.warning("MCP server %s is started again (%s)", self._server.name, dead.reason)
        self._connection = None


class Handle:
    """What the tools of one server hold; any thread of any process may call it.

    A process that forked has a line of its own, so a server of its own. A line ends when nobody
    holds the handle any longer.
    """

    def __init__(self, server: Server, *, pin: Pin | None, max_restarts: int) -> None:
        connection_module()
        self.name = server.name
        self.pin: Pin = pin or {}
        self.pinned = pin is not None
        self._server = server
        self._max_restarts = max_restarts
        self._lines: dict[Background, Line] = {}
        self._closed = False

    def accept(self, definitions: Iterable[Definition]) -> None:
        """Hold the server to these from now on."""
        self.pin, self.pinned = pin_of(definitions), True

    def call(self, tool: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """What `tool` gives or raises, within `seconds`."""
        what = f"MCP server {self.name}: {tool}"
        line = self.line()
        return background().run(line.call(tool, arguments, self.pin), seconds=seconds, what=what)

    def closed(self) -> Line | None:
        """From now on nothing can be called; the line (of this process) to end, if there is one."""
        self._closed = True
        return self._lines.get(background())

    def line(self) -> Line:
        """This process's."""
        if self._closed:
            raise ConfigError(f"MCP server {self.name} has been closed")
        place = background()
        line = self._lines.get(place)
        if line is None:
            made = Line(self._server, self._max_restarts)
            line = self._lines.setdefault(place, made)
            if line is made:
                place.add(line)
                weakref.finalize(self, place.forget, line).atexit = False
        return line

    def __repr__(self) -> str:
        return f"Handle({self.name!r})"


def close_all(handles: Iterable[Handle]) -> None:
    """End the servers of these handles (those of this process), all at once."""
    lines = [handle.closed() for handle in handles]
    background().close([line for line in lines if line is not None])


def definitions_of(handles: Iterable[Handle], seconds: float) -> list[list[Definition]]:
    """The tools of each server, all asked at once, in `seconds`."""
    lines = [handle.line() for handle in handles]
    names = ", ".join(handle.name for handle in handles)

    async def ask() -> list[list[Definition]]:
        found = await asyncio.gather(*(line.definitions() for line in lines))
        return [list(definitions.values()) for definitions in found]

    return background().run(ask(), seconds=seconds, what=f"starting MCP servers ({names})")


def connection_module() -> Any:
    """The module on the `mcp` package, which is an extra."""
    try:
        return importlib.import_module(".connection", __package__)
    except ImportError as error:
        if sys.version_info < (3, 10):
            raise ConfigError(
                "MCP needs Python 3.10 or newer, as the mcp package does; run this with a newer "
                'Python and pip install "deluge-sync[mcp]"'
            ) from None
        raise ConfigError(
            f'MCP needs the mcp package: pip install "deluge-sync[mcp]" ({error})'
        ) from None
