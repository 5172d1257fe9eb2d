"""The three tools of the server: their arguments, their replies, and batches of links.

May import jobs, media, posts, settings, storage and summary, and the modules beside the folders.
"""
