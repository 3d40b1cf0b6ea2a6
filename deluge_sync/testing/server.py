"""The server's thread: one asyncio loop that listens on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import weakref

from .connection import Common, Connection, Counters, Handler

HOST = "127.0.0.1"
BACKLOG = 4096
JOIN_SECONDS = 1.0

_log = logging.getLogger(__name__)
_servers: weakref.WeakSet[Server] = weakref.WeakSet()


class Server:
    """Runs connections in a daemon thread between `start` and `close`.

    Belongs to the process that started it: a forked child lets go of the sockets (else the
    parent's resets and closes would not reach the clients) and sees a server that is not running.
    """

    def __init__(self, handler: Handler, counters: Counters, *, port: int, max_body: int) -> None:
        self._wanted_port = port
        self._common = Common(handler, counters, max_body)
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    @property
    def running(self) -> bool:
        """Whether this process's server listens."""
        return self._thread is not None and self._process == os.getpid()

    @property
    def port(self) -> int:
        """The port it listens on. `RuntimeError` while it does not run."""
        if not self.running or self._listener is None:
            raise RuntimeError("the sandbox is not running; use `with` or call start()")
        return int(self._listener.getsockname()[1])

    @property
    def open_connections(self) -> int:
        """Clients connected now."""
        return len(self._common.living)

    def start(self) -> None:
        """Listen. `OSError` where the port is taken. Does nothing when running."""
        if self.running:
            return
        self._listener = socket.create_server((HOST, self._wanted_port), backlog=BACKLOG)
        # Connections inherit it. asyncio sets it for sockets that name their protocol only, and
        # without it an event waits 40 ms for the client to acknowledge the one before.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, self._listener, ready), name="sandbox", daemon=True
        )
        _servers.add(self)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        """Cut all connections and end the thread. Does nothing when not running."""
        if not self.running or self._loop is None or self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_SECONDS)
        self._thread = None
        _servers.discard(self)

    def let_go(self) -> None:
        """In a forked child: point the inherited descriptors of our sockets at nothing.

        Closing them would be wrong: the socket objects would later close the same numbers again.
        """
        descriptors = [connection.descriptor for connection in tuple(self._common.living)]
        if self._listener is not None:
            descriptors.append(self._listener.fileno())
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in descriptors:
            if descriptor >= 0:
                os.dup2(nothing, descriptor)
        os.close(nothing)

    def _run(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, ready: threading.Event
    ) -> None:
        asyncio.set_event_loop(loop)
        try:
            server = loop.run_until_complete(
                loop.create_server(self._connect, sock=listener, backlog=BACKLOG)
            )
            ready.set()
            loop.run_forever()
            loop.remove_reader(listener.fileno())
            loop.run_until_complete(self._cut_all())
            server.close()
        except Exception:
            _log.exception("the sandbox has ended")
        finally:
            ready.set()
            listener.close()
            loop.close()

    async def _cut_all(self) -> None:
        """End the connections; those just accepted must first be set up (two turns of the loop)."""
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        for connection in tuple(self._common.living):
            connection.abort()
        await asyncio.sleep(0)

    def _connect(self) -> Connection:
        return Connection(self._common)


def _let_go_all() -> None:
    for server in tuple(_servers):
        server.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_all)
