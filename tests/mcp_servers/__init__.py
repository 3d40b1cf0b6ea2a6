"""MCP servers for the tests, written with the `mcp` package; each runs as a program."""
