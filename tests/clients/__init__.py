"""The programs that people open the server in: the Inspector by command and by page, and a bundle as a host starts it.

They come from the npm registry, once a machine, into a folder outside the repository; without them, these are skipped.
"""
