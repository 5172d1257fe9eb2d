"""A video's bytes, from a mirror to a verified file, and finding that file again.

Imports net, posts and storage.
"""
