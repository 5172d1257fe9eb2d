"""Video files: downloading one from its mirrors, verifying it, and finding it again on disk.

Imports net, posts and storage.
"""
