"""Settings from the environment, the API key, and the paths that tools may use.

Only this folder reads the environment, apart from the locale (messages) and Python's own variables (isolation). Imports
errors and messages.

May import only the modules beside the folders.
"""
