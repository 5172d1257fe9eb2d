"""HTTP connections: a new one for each request, restricted to public addresses unless the user named the host.

May import only the modules beside the folders.
"""
