"""The columns of a summary, in order, with a heading and the meaning of each for people."""

from typing import Final

from tikhub_mcp.messages import translate

# Columns of this project, after the first ones of the API. `is_latest` is known only when all files are read:
# `Spool.rows` fills it in.
OURS: Final[tuple[str, ...]] = (
    "platform",
    "as_of",
    "engagement_rate",
    "is_latest",
    "link",
    "kind",
    "image_count",
    "clip_count",
)
COLUMNS: Final[tuple[str, ...]] = (
    "source_file",
    "parse_ok",
    "error",
    "request_id",
    "api_code",
    "api_message",
    "router",
    "share_url",
    "cache_url",
    "aweme_id",
    "desc",
    "create_time_unix",
    "aweme_type",
    "content_desc",
    "author_nickname",
    "author_unique_id",
    "author_sec_uid",
    "author_uid",
    "author_follower_count",
    "author_following_count",
    "author_aweme_count",
    "author_verification_type",
    "author_account_region",
    "author_commerce_user_level",
    "digg_count",
    "comment_count",
    "share_count",
    "play_count",
    "collect_count",
    "download_count",
    "forward_count",
    "whatsapp_share_count",
    "video_duration_ms",
    "video_width",
    "video_height",
    "video_ratio",
    "video_has_watermark",
    "cover_url",
    "play_url_sample",
    "music_id",
    "music_title",
    "music_author",
    "music_is_original_sound",
    "music_is_commerce_music",
    "music_commercial_right_type",
    "music_user_count",
    "is_ads",
    "commerce_info_min",
    "aigc_created_by_ai",
    "aigc_label_type",
    "hashtags",
    *OURS,
    "title",
)
CHANGES: Final = ("change", "per_day")  # what the history tells of each count, as the ends of column names


def heading_and_meaning(column: str) -> tuple[str, str]:
    """Return the heading and the meaning of a column of a summary or its history, in the language of the locale."""
    for end in CHANGES:
        if column.endswith(f"_{end}"):
            of_count = translate(f"column_heading.{column.removesuffix(f'_{end}')}")
            return translate(f"column_change.{end}", heading=of_count), translate(f"column_change_meaning.{end}")
    return translate(f"column_heading.{column}"), translate(f"column_meaning.{column}")
