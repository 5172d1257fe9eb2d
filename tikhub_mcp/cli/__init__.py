"""The command-line interface: the three tools and the maintenance commands, for people and scripts.

May import any other folder; only `__main__` imports it. It is the only folder that prints.
"""
