"""Atomic file writes, file names, locks, and the stored answers that were paid for.

May import posts, and the modules beside the folders.
"""
