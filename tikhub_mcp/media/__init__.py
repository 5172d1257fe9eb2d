"""Video files: downloading one from its mirrors, verifying it, and finding it again on disk.

May import net, posts and storage, and the modules beside the folders.
"""
