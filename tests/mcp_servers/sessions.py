"""The older server over HTTP, by hand, with sessions that it forgets when a word says so."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import older

numbers = count()
sessions: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """One message a request; notices are not told."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer it; 404 to a session that is not known."""
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session = self.headers.get("mcp-session-id")
        if session is not None and session not in sessions:
            return self.reply(404)
        if "id" not in message:
            return self.reply(202)
        params = message.get("params") or {}
        if message["method"] == "initialize":
            session = f"session-{next(numbers)}"
            sessions.add(session)
        if params.get("arguments") == {"word": "forget"}:
            sessions.clear()
        result = older.answer(message["method"], params)
        if result is None:
            return self.reply(404)
        return self.reply(200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, session)

    def do_GET(self) -> None:
        """No stream of notices here."""
        self.reply(405)

    do_DELETE = do_GET  # noqa: N815

    def reply(self, status: int, body: object = None, session: str | None = None) -> None:
        """Send it."""
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        if session is not None:
            self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
