"""Files that are complete or absent: their names, locks, and the raw answers that were paid for.

Imports posts.
"""
