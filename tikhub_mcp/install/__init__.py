"""`tikhub-mcp install` and `uninstall`: the server's entry in the settings files of MCP clients.

Imports settings, posts and storage.
"""
