"""Programs that people use the server in: the Inspector by command and page, a bundle as a host starts it, and Pythons.

The programs come from the npm registry and the package index, once a machine, into folders outside the repository;
`pytest -m index tests/hosts` fetches them, and the other tests need no network then. Without them, these are skipped.
"""
