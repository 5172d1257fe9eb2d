"""Jobs: one for each post, shared by all tool calls that ask for it, within each call's time limit and budget.

May import api, media, net, posts, settings and storage, and the modules beside the folders.
"""
