"""A little MCP server for mcp_tools.py: the notes of a shop, over stdin and stdout."""

from mcp.server.mcpserver import MCPServer

NOTES = {
    "kettle": "Boils 1.7 litres. The handle of those made before March broke; replace for free.",
    "toaster": "Two slices. The crumb tray is sold apart, for 9 EUR.",
}

server = MCPServer("notes")


@server.tool()
def search(word: str) -> list[str]:
    """The names of the notes that hold this word."""
    return [name for name, text in NOTES.items() if word.lower() in (name + text).lower()]


@server.tool()
def read(name: str) -> str:
    """One note, by its name."""
    return NOTES[name]


if __name__ == "__main__":
    server.run()
