"""Connections: one for each request, to public addresses only where the host is not the user's choice.

Imports errors.
"""
