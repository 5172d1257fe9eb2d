"""Atomic file writes, file names, locks, and the stored answers that were paid for.

Imports posts.
"""
