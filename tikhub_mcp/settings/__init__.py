"""The environment, the API key, and the paths that tools may use.

Nothing else reads the environment, but the language in messages. Imports errors and messages.
"""
