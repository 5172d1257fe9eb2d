"""The line to the client on standard input and output, and when the process ends.

Imports settings and posts.
"""
