"""`tikhub-mcp doctor`: checks of an installation, and the report of their findings.

Imports api, net, install, settings and summary. Only this folder and cli may import sandbox.
"""
