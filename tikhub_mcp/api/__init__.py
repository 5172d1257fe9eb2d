"""The client of TikHub's API; the only folder that spends money.

Imports net and posts.
"""
