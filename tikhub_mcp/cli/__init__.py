"""The command-line interface: the three tools and the maintenance commands, for people and scripts.

May import doctor, install, jobs, posts, sandbox, serve, settings, stdio, summary, tools and server, and the modules
beside the folders.
"""
