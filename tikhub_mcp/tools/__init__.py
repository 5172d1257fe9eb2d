"""The three tools of the server: arguments, replies, many links at once.

Imports jobs, summary and what is below them.
"""
