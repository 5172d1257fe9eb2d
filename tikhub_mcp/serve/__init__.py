"""The server over HTTP for several people: tokens, each person's own tools and folder, and links to files.

May import jobs, server, settings, stdio, storage and tools, and the modules beside the folders.
"""
