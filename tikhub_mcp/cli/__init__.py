"""The command line: the same for people.

Imports everything, and nothing imports it; the only folder that prints.
"""
