"""Tools of MCP servers, for code that has no event loop; `Tool.from_mcp` is the way in.

On the official `mcp` package (extra `[mcp]`), whose event loop runs in one thread of the process.
Only `connection` and `background` know that loop; `settings`, `pins` and `results` are pure.
"""

from .tools import from_config, from_server

__all__ = ["from_config", "from_server"]
