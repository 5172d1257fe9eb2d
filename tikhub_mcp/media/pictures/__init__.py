"""Verification of pictures: JPEG, PNG, WebP and HEIC files are walked to their end, without decoding the pixels.

They use `boxes` and `mp4` of the folder media. May import the modules beside the folders.
"""
