"""Verification of pictures: JPEG, PNG, WebP and HEIC files are walked to their end, without decoding the pixels.

May import boxes and mp4 of the folder media, and the modules beside the folders.
"""
