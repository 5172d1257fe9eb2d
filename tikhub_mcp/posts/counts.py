"""The counts of a post: their names in the API, and here."""

from typing import Final

COUNTS: Final = ("play_count", "digg_count", "comment_count", "share_count", "collect_count", "download_count")
API_COUNTS = {  # the name here → the name in the API
    "likes": "digg_count",
    "comments": "comment_count",
    "shares": "share_count",
    "plays": "play_count",
    "saves": "collect_count",
    "downloads": "download_count",
}
