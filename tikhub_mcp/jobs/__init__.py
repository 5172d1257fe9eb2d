"""One job for each post, shared by everyone who asks for it: in time, and within budget.

Imports api, media, storage and what is below them.
"""
