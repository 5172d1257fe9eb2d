"""The counts of a post: their names here and in the API, and their meaning."""

from typing import Final

COUNTS: Final = {
    "play_count": "Plays, as the API counts them; Douyin does not report plays and gives 0",
    "digg_count": "Likes",
    "comment_count": "Comments",
    "share_count": "Shares",
    "collect_count": "Saves (favourites)",
    "download_count": "Downloads",
}


API_COUNTS = {  # the name here → the name in the API
    "likes": "digg_count",
    "comments": "comment_count",
    "shares": "share_count",
    "plays": "play_count",
    "saves": "collect_count",
    "downloads": "download_count",
}
