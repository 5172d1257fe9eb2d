"""The folders of photo posts: their receipts, what is in them, and the download of what is missing.

May import the modules beside the folders.
"""
