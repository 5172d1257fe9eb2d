"""`tikhub-mcp doctor`: checks of an installation, and the report of their findings.

May import install, net, posts, sandbox, settings and storage, and the modules beside the folders.
"""
