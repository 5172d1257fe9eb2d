"""The connection to the client over standard input and output, and the end of the process.

Imports settings and posts.
"""
