"""Parses pasted text into links, and TikHub's answers into posts; uses no files and no network.

May import only the modules beside the folders.
"""
