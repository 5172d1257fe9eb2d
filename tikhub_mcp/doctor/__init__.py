"""What is wrong with an installation, check by check.

Imports api, net, install, settings and summary; with cli, all that may import sandbox.
"""
