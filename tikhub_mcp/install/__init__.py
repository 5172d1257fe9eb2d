"""`tikhub-mcp install` and `uninstall`: the server's entry in the settings files of MCP clients.

May import posts, settings and storage, and the modules beside the folders.
"""
