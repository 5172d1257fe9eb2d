"""The three tools of the server: their arguments, their replies, and batches of links.

Imports jobs, summary and what is below them.
"""
