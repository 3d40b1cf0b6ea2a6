"""One session with one MCP server, in the event loop; the only module that imports `mcp`.

All of it runs in the background's thread, so nothing here needs a lock against threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from mcp import Client, Implementation, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.types import CONNECTION_CLOSED, ToolListChangedNotification

from .._version import __version__
from ..engine.proxies import proxy_for
from ..engine.trust import Trust
from ..values.errors import ConnectionFailedError, ToolError
from .pins import Definition
from .settings import LocalServer, RemoteServer, Server

logger = logging.getLogger(__name__)

MOST_PAGES = 100
"""Of one list of tools; a server that has more is broken."""

LONGEST_LINE = 4096
"""Of a server's stderr, in the log."""

LINES_KEPT, LONGEST_TOLD = 5, 500
"""Of a server's stderr, and characters of it, in the error where it does not start."""

SECONDS_TO_READ = 1.0
"""For the rest of a server's stderr; what it started itself may hold it open."""

_NO_SESSION = "Session terminated"
"""The `mcp` package's words for 404 where there was a session."""

_REFUSED = "Server returned an error response"
"""Its words for any other status of 400 or more."""

SECONDS_TO_CONNECT = 30.0
SECONDS_TO_FIND_OUT = 3.0
SECONDS_BETWEEN_LISTENS = (1.0, 300.0)
"""The shortest, and the longest, to a server that never holds the stream open."""


class LostSession(Exception):  # noqa: N818  (a message to `lines`, not to users)
    """The server does not know the session any longer, and has done nothing."""


class Connection:
    """A session, from `open` to its end, which may be the server's; it is not opened again.

    `alive` is whether it can be called, `reason` why it is not. `definitions()` are the tools,
    read anew where the server has said that they changed.
    """

    def __init__(self, server: Server) -> None:
        self.alive = False
        self.reason = "the connection was lost"
        self._server = server
        self._answers = _Answers()
        self._errors = _Errors(server)
        self._scope = anyio.CancelScope()
        self._over = asyncio.Event()
        self._reading = asyncio.Lock()
        self._stale = True
        self._listed: dict[str, Definition] = {}
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start or reach the server; a `ConnectionFailedError` says why not."""
        opened = asyncio.Event()
        # The session must be entered and left by the same task, hence one that keeps it.
        self._keeper = asyncio.get_running_loop().create_task(self._keep(opened))
        try:
            await opened.wait()
        except asyncio.CancelledError:
            self._scope.cancel()
            raise
        if not self.alive:
            told = self._server.told(self.reason, await self._errors.last())
            raise ConnectionFailedError(f"MCP server {self._server.name}: {told}")

    async def end(self) -> None:
        """End the session, and the process where there is one."""
        self.alive = False
        self._scope.cancel()
        if self._keeper is not None:
            await asyncio.wait((self._keeper,))

    async def definitions(self) -> Mapping[str, Definition]:
        """The server's tools as it says they are now; raises as `call` does."""
        try:
            return await self._read()
        except (MCPError, RuntimeError, ValueError) as error:
            raise await self._failure(error, "its tools were listed") from None

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """The server's `CallToolResult`. Raises `LostSession`, `ConnectionFailedError` where the
        server ended meanwhile, and `ToolError` for its refusals.
        """
        assert self._client is not None
        try:
            # Not the client's own call: that would read a changed list and go on with it.
            return await self._client.session.call_tool(tool, dict(arguments))
        except (MCPError, RuntimeError, ValueError) as error:
            # The latter two: the answer is not what was announced.
            raise await self._failure(
                error, f"{tool} ran; what it had done by then is not known"
            ) from None

    async def _failure(self, error: Exception, what: str) -> Exception:
        if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
            await self._lost()
            return ConnectionFailedError(
                f"MCP server {self._server.name} ended ({self.reason}) while {what}"
            )
        if isinstance(error, MCPError) and error.message == _NO_SESSION:
            return LostSession()
        return ToolError(self._told(error))

    async def _read(self) -> Mapping[str, Definition]:
        assert self._client is not None
        async with self._reading:
            if self._stale:
                self._stale = False
                try:
                    self._listed = await _listed(self._client)
                except BaseException:
                    self._stale = True
                    raise
        return self._listed

    async def _lost(self) -> None:
        """Let the keeper find out why, then end what there is left."""
        if self._keeper is not None:
            await asyncio.wait((self._keeper,), timeout=SECONDS_TO_FIND_OUT)
        await self.end()

    async def _keep(self, opened: asyncio.Event) -> None:
        try:
            with self._scope:
                async with Client(
                    self._watched(),
                    cache=None,
                    message_handler=self._notice,
                    client_info=Implementation(name="deluge-sync", version=__version__),
                ) as client:
                    await self._attend(client, opened)
                    if not self._scope.cancel_called:
                        self.reason = "the server ended"
        except Exception as error:
            self.reason = self._told(error)
        finally:
            if self.alive:
                logger.warning("MCP server %s: %s", self._server.name, self.reason)
            self.alive = False
            opened.set()

    async def _attend(self, client: Client, opened: asyncio.Event) -> None:
        self._client = client
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, client)
            await self._read()
            self.alive = True
            opened.set()
            await self._over.wait()
            group.cancel_scope.cancel()

    async def _listen(self, client: Client) -> None:
        """Hear of changed tools from servers that only tell those who listen (2026-07-28)."""
        clock = asyncio.get_running_loop().time
        pause = SECONDS_BETWEEN_LISTENS[0]
        while True:
            begun = clock()
            try:
                async with client.listen(tools_list_changed=True) as events:
                    self._stale = True  # what happened before is not told
                    async for _ in events:
                        self._stale = True
            except (ListenNotSupportedError, MCPError):
                return
            except (SubscriptionLost, TimeoutError):
                pass
            held = clock() - begun > pause
            pause = SECONDS_BETWEEN_LISTENS[0] if held else pause * 2
            await asyncio.sleep(min(pause, SECONDS_BETWEEN_LISTENS[1]))

    async def _notice(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._stale = True

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[Any]:
        """The transport; `_over` is set when the server closes its side."""
        give, take = anyio.create_memory_object_stream[Any](0)
        async with _transport(self._server, self._answers, self._errors) as (incoming, outgoing):

            async def pass_on() -> None:
                try:
                    async with give:
                        async for message in incoming:
                            await give.send(message)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # our side has ended
                finally:
                    self._over.set()

            async with anyio.create_task_group() as group:
                group.start_soon(pass_on)
                try:
                    yield take, outgoing
                finally:
                    take.close()
                    group.cancel_scope.cancel()

    def _told(self, error: BaseException) -> str:
        while isinstance(getattr(error, "exceptions", None), tuple):  # groups of them
            error = error.exceptions[0]  # type: ignore[attr-defined]
        text = str(error) or type(error).__name__
        if text == _REFUSED:
            text = f"the server answered HTTP {self._answers.refusal}"
        return self._server.hidden(text)


@dataclass
class _Answers:
    """The last status of 400 or more that came over HTTP."""

    refusal: int = 0


class _Errors:
    """What a server writes to its stderr: logged, and the last of it kept.

    A thread of its own writes, the event loop reads; appending to a deque needs no lock.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._reader: threading.Thread | None = None

    def read(self, source: int) -> None:
        """Take lines from that file descriptor until it ends, and close it."""
        self._reader = threading.Thread(
            target=self._take, args=(source,), name="deluge-sync-mcp-stderr", daemon=True
        )
        self._reader.start()

    async def last(self) -> str:
        """The last lines as one; of a server that has ended, all that it wrote is there."""
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join, SECONDS_TO_READ)
        return " | ".join(self._lines)[-LONGEST_TOLD:]

    def _take(self, source: int) -> None:
        with os.fdopen(source, "rb") as lines:
            for line in iter(lambda: lines.readline(LONGEST_LINE), b""):
                text = self._server.hidden(line.decode("utf-8", "replace").rstrip())
                logger.debug("MCP server %s: %s", self._server.name, text)
                if text:
                    self._lines.append(text)


def _transport(
    server: Server, answers: _Answers, errors: _Errors
) -> AbstractAsyncContextManager[Any]:
    if isinstance(server, LocalServer):
        return _process(server, errors)
    return _endpoint(server, answers)


@asynccontextmanager
async def _process(server: LocalServer, errors: _Errors) -> AsyncIterator[Any]:
    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=server.environment(os.environ),
        cwd=server.cwd,
    )
    source, sink = os.pipe()
    with os.fdopen(sink, "w") as end:
        errors.read(source)
        async with stdio_client(parameters, errlog=end) as streams:
            end.close()  # the server has its own end: the log ends with it
            yield streams


@asynccontextmanager
async def _endpoint(server: RemoteServer, answers: _Answers) -> AsyncIterator[Any]:
    async with (
        httpx2.AsyncClient(
            transport=_Sender(server, answers),
            # Each call has its own time; a stream of notices may be silent for ever.
            timeout=httpx2.Timeout(SECONDS_TO_CONNECT, read=None),
            trust_env=False,
        ) as client,
        streamable_http_client(server.url, http_client=client) as streams,
    ):
        yield streams


class _Sender(httpx2.AsyncHTTPTransport):  # type: ignore[misc,unused-ignore]
    """Adds headers and query last, so that no log of the HTTP library shows them."""

    def __init__(self, server: RemoteServer, answers: _Answers) -> None:
        proxy = proxy_for(server.url, None)
        chosen = None
        if proxy is not None:
            headers = (
                {"Proxy-Authorization": proxy.authorization.reveal()} if proxy.authorization else {}
            )
            chosen = httpx2.Proxy(f"{proxy.scheme}://{proxy.host}:{proxy.port}", headers=headers)
        super().__init__(verify=Trust().context(), trust_env=False, proxy=chosen)
        self._server = server
        self._answers = answers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, with what is secret."""
        url = request.url
        if self._server.query:
            url = url.copy_with(query=self._server.query.encode("ascii"))
        headers = httpx2.Headers(request.headers)
        headers.update(self._server.headers)
        response = await super().handle_async_request(
            httpx2.Request(
                request.method,
                url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )
        if response.status_code >= 400:
            self._answers.refusal = response.status_code
        return response


async def _listed(client: Client) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    cursor = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            found.setdefault(
                tool.name,
                Definition(
                    tool.name, tool.description or "", tool.input_schema, tool.output_schema
                ),
            )
        cursor = page.next_cursor
        if not cursor:
            break
    return found
