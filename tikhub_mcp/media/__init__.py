"""Video files: downloading one from its mirrors, verifying it, and finding it again on disk.

Also the verification of music, captions and, in the folder pictures, of pictures.

May import net, posts and storage, and the modules beside the folders.
"""
