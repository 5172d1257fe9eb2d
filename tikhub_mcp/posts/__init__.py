"""Pasted text to links, and answers of TikHub to posts: no files, no network.

Imports errors and text.
"""
