"""Jobs: one for each post, shared by all tool calls that ask for it, within each call's time limit and budget.

Imports api, media, storage and what is below them.
"""
