"""An MCP server of the protocol of 2025, by hand: it knows no `server/discover`, lists its tools on
two pages, and tells of a change by `notifications/tools/list_changed`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

VERSION = "2025-06-18"
description = "Says it again."


def tool(name: str, text: str) -> dict[str, Any]:
    """A tool that takes a word."""
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    return {"name": name, "description": text, "inputSchema": schema}


def say(message: dict[str, Any]) -> None:
    """Send it."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None where the method is not known."""
    global description
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}}
        server = {"name": "older", "version": "1"}
        return {"protocolVersion": VERSION, "capabilities": capabilities, "serverInfo": server}
    if method == "tools/list":
        if params.get("cursor") == "second":
            return {"tools": [tool("shout.it", "Louder.")]}
        return {"tools": [tool("echo", description)], "nextCursor": "second"}
    if method == "tools/call":
        word = params["arguments"]["word"]
        if word == "change":
            description = "Says it again, and more."
            say({"method": "notifications/tools/list_changed"})
        return {"content": [{"type": "text", "text": word}]}
    return None


def main() -> None:
    """Answer line by line until stdin ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params") or {})
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            say({"id": message["id"], "error": error})
        else:
            say({"id": message["id"], "result": result})


if __name__ == "__main__":
    main()
