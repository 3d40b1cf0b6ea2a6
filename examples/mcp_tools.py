"""Start an MCP server, see its tools and run two of them; no key, no event loop.

pip install "deluge-sync[mcp]"
python examples/mcp_tools.py
"""

import sys
from pathlib import Path

from deluge_sync import Tool, ToolCall

SERVER = Path(__file__).with_name("mcp_server.py")


def main() -> None:
    """Print the tools, and what two calls of a model would give."""
    with Tool.from_mcp("notes", command=sys.executable, args=[str(SERVER)]) as tools:
        for tool in tools:
            print(f"{tool.name}: {tool.description}")
        by_name = {tool.name: tool for tool in tools}
        for call in (
            ToolCall("1", "notes__search", {"word": "handle"}),
            ToolCall("2", "notes__read", {"name": "kettle"}),
        ):
            tool = by_name[call.name]
            print(f"{call.name}{dict(call.arguments)} -> {tool.run(**tool.arguments_of(call))}")


if __name__ == "__main__":
    main()
