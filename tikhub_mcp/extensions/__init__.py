"""Extensions of the protocol that this server has: tasks and skills.

May import settings, posts and tools, and the modules beside the folders.
"""
