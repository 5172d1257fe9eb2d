"""The counts of a post: our names, the API's, and what they mean."""

from typing import Final

COUNTS: Final = {
    "play_count": "Plays, as the API counts them; Douyin does not report plays and gives 0",
    "digg_count": "Likes",
    "comment_count": "Comments",
    "share_count": "Shares",
    "collect_count": "Saves (favourites)",
    "download_count": "Downloads",
}


API_COUNTS = {  # our names of the counts → the API's
    "likes": "digg_count",
    "comments": "comment_count",
    "shares": "share_count",
    "plays": "play_count",
    "saves": "collect_count",
    "downloads": "download_count",
}
