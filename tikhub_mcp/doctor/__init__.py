"""What is wrong with an installation, check by check.

Imports api, net, install and settings; with cli, all that may import sandbox.
"""
