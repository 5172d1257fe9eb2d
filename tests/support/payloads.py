"""Small answers in TikHub's shapes, with made-up people, ids and links.

Every builder takes what should differ as keyword arguments, which replace whole top-level values.
"""

import copy
from collections.abc import Iterator

from tikhub_mcp.posts.answer import Json

TIKTOK_ID = "7300000000000000001"
DOUYIN_ID = "7400000000000000002"
PHOTO_ID = "7500000000000000003"
REQUEST_ID = "0a1b2c3d-0000-4000-8000-000000000001"
ANSWERED = 1_760_000_000  # time_stamp of the envelopes
ECHOED_KEY = "made-up-key-that-an-error-echoes"

Object = dict[str, Json]


def address(codec: str = "h264", width: int = 576, height: int = 1024, size: int = 1_000_000, **over: Json) -> Object:
    """What `play_addr` and its like hold: two CDN mirrors, then the play API."""
    name = f"v0-made-up-{codec}-{width}x{height}"
    hosts = ("https://cdn-a.example/video", "https://cdn-b.example/video", "https://api.example/aweme/v1/play")
    return {
        "uri": name,
        "url_list": [f"{host}/{name}.mp4" for host in hosts],
        "width": width,
        "height": height,
        "url_key": f"{name}_{codec}_{min(width, height)}p_800000",
        "data_size": size,
        "file_hash": "0123456789abcdef0123456789abcdef",
    } | over


def video(**over: Json) -> Object:
    """A `video`: H.264 in `play_addr`, a larger H.265 in `bit_rate` only."""
    return {
        "duration": 15_000,
        "width": 1080,
        "height": 1920,
        "ratio": "540p",
        "has_watermark": True,
        "cdn_url_expired": 0,
        "play_addr": address(),
        "download_addr": address(width=720, height=720, size=1_200_000),
        "bit_rate": [{"gear_name": "normal_720_0", "bit_rate": 900_000, "play_addr": address("bytevc1", 720, 1280)}],
        "cover": {"url_list": ["https://img-a.example/cover.jpg", "https://img-b.example/cover.jpg"]},
    } | over


def tiktok_post(**over: Json) -> Object:
    """A TikTok video as its share-link endpoint gives it."""
    return {
        "aweme_id": TIKTOK_ID,
        "desc": "Paper boats on the canal #boats #canal",
        "create_time": 1_700_000_000,
        "aweme_type": 0,
        "content_desc": "",
        "share_url": f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}",
        "is_ads": False,
        "author": {
            "uid": "6900000000000000001",
            "unique_id": "paper.boats",
            "sec_uid": "MS4wLjABAAAAmade-up-tiktok",
            "nickname": "Ada Paper",
            "follower_count": 1200,
            "following_count": 34,
            "aweme_count": 56,
            "verification_type": 1,
            "account_region": "NL",
            "commerce_user_level": 0,
        },
        "statistics": {
            "play_count": 98_765,
            "digg_count": 4321,
            "comment_count": 87,
            "share_count": 65,
            "collect_count": 43,
            "download_count": 21,
            "forward_count": 0,
            "whatsapp_share_count": 9,
        },
        "status": {"is_delete": False, "private_status": 0, "is_prohibited": False},
        "text_extra": [{"hashtag_name": "boats"}, {"hashtag_name": ""}, {"user_id": "1"}, {"hashtag_name": "canal"}],
        "music": {
            "id_str": "7200000000000000009",
            "mid": "7200000000000000009",
            "title": "Water Song",
            "owner_nickname": "",
            "author": "The Locks",
            "is_original_sound": False,
            "is_commerce_music": True,
            "commercial_right_type": 2,
            "user_count": 77,
            "duration": 15,
        },
        "aigc_info": {"aigc_label_type": 0, "created_by_ai": False},
        "commerce_info": {"auction_ad_invited": False, "adv_promotable": True, "with_comment_filter_words": False},
        "video": video(),
    } | over


def douyin_post(**over: Json) -> Object:
    """A Douyin video: no plays and no followers reported, no account of AI, commerce_info with other keys."""
    plays = tiktok_post()["statistics"] | {"play_count": 0}
    author = tiktok_post()["author"] | {"nickname": "纸船", "unique_id": "", "follower_count": 0, "account_region": ""}
    post = tiktok_post(
        aweme_id=DOUYIN_ID,
        desc="河上的纸船 #纸船",
        share_url=f"https://www.iesdouyin.com/share/video/{DOUYIN_ID}/",
        author=author,
        statistics=plays,
        text_extra=[{"hashtag_name": "纸船"}],
        commerce_info={"is_ad": False, "ad_type": 0},
    )
    del post["aigc_info"]
    del post["content_desc"]
    return post | over


def photo_post(**over: Json) -> Object:
    """A TikTok photo post, whose `video.play_addr` is the music."""
    music = address(width=720, height=720, url_list=["https://cdn-a.example/music/song.mp3"], url_key="song")
    return (
        tiktok_post(
            aweme_id=PHOTO_ID,
            aweme_type=150,
            share_url=f"https://www.tiktok.com/@paper.boats/photo/{PHOTO_ID}",
            image_post_info={"images": [{"display_image": {"url_list": ["https://img-a.example/1.jpg"]}}]},
            video={"duration": 0, "play_addr": music},
        )
        | over
    )


def envelope(post: Json = None, *, douyin: bool = False, **over: Json) -> Object:
    """A whole answer with the post where its platform's endpoint has it, or without one."""
    platform, at = ("douyin", "aweme_detail") if douyin else ("tiktok", "aweme_details")
    found = post if douyin else [post] if post is not None else []
    return {
        "code": 200,
        "request_id": REQUEST_ID,
        "message": "Request successful. This request will incur a charge.",
        "message_zh": "请求成功，本次请求将被计费。",
        "time": "2025-10-09 01:53:20",
        "time_stamp": ANSWERED,
        "cache_url": "https://cache.example/api/v1/cache/public/abc?sign=made-up",
        "router": f"/api/v1/{platform}/app/v3/fetch_one_video_by_share_url",
        "params": {"share_url": "https://vm.example/ABC/"},
        "data": {"status_code": 0, at: found},
    } | over


def private_answer(reason: Json = 5, **over: Json) -> Object:
    """200 and billed, without a post; `reason` is 5 private, 8 copyright or gone, 10 visible to some."""
    filtered = {"aweme_id": DOUYIN_ID, "reason": reason, "filter_reason": "该内容暂时无法观看", "notice": "无法观看"}
    return envelope(douyin=True, data={"status_code": 0, "aweme_detail": None, "filter_list": [filtered]}) | over


def error_answer(code: Json = 402, message: str = "Insufficient balance, please top up.", **over: Json) -> Object:
    """The body of an error, which echoes the request's headers, the key among them."""
    detail = {
        "code": code,
        "request_id": REQUEST_ID,
        "message": message,
        "router": "/api/v1/tiktok/app/v3/fetch_one_video_by_share_url",
        "params": {"share_url": "https://vm.example/ABC/"},
        "headers": {"authorization": f"Bearer {ECHOED_KEY}"},
    }
    return {"detail": detail | over}


def paths(value: Json, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in a payload something stands: the way to each field and item, the whole included."""
    yield at
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(item, (*at, key))


def replaced(value: Json, at: tuple[str | int, ...], by: Json) -> Json:
    """The payload with something else at that place."""
    if not at:
        return by
    changed = copy.copy(value)
    changed[at[0]] = replaced(value[at[0]], at[1:], by)
    return changed
