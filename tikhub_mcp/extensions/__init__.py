"""Extensions of the protocol that this server has: tasks and skills.

May import posts and tools, and the modules beside the folders.
"""
