"""`tikhub-mcp doctor`: checks of an installation, and the report of their findings.

May import api, install, net, posts, sandbox, settings, storage and summary, and the modules beside the folders.
"""
