"""The server's entry in the settings of MCP clients.

Imports settings, posts and storage.
"""
