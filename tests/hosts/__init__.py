"""Programs that people use the server in: Claude Code, the Inspector, agent frameworks, a bundle, and Pythons.

The programs come from the npm registry and the package index, once a machine, into folders outside the repository;
`pytest -m index tests/hosts` fetches them, and the other tests need no network then. Without them, these are skipped.
"""
