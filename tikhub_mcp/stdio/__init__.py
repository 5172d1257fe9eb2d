"""The connection to the client over standard input and output, and the end of the process.

May import posts and settings, and the modules beside the folders.
"""
