"""The client of TikHub's API; the only folder that spends money.

May import net and posts, and the modules beside the folders.
"""
