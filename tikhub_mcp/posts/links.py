"""Pasted text → the posts it links to. Pure: nothing is looked up, nothing is paid.

A link in a text ends at white space, at CJK punctuation or a symbol, and before the next link. Which site it leads to
is told by its whole host, never by a name that merely occurs somewhere in it.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.text import clean

Platform = Literal["tiktok", "douyin"]


LONGEST_LINK = 2000  # characters; with all its tracking parameters a real one has about 600
MOST_CHOICES = 5  # posts that an error names


_NO_LINK = (
    "There is no link to a post in this. Give the address of one TikTok or Douyin video, such as "
    "https://www.tiktok.com/@USER/video/ID or https://v.douyin.com/CODE/."
)


# What no link goes beyond: white space, controls, quotes, general punctuation, symbols, CJK and full-width punctuation,
# lone surrogates, private use, emoji, tags. Chinese letters are not among them: they occur in paths and queries.
_STOP = (
    r'\s\x00-\x1f"<>`\x7f-\xbf\u061c\u180e\u2000-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u303f\ud800-\uf8ff'
    r"\ufe00-\ufe6f\ufeff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff"
    r"\U0001f000-\U0001faff\U000e0000-\U0010ffff"
)
_CLOSING = ".,;:!?()[]{}<>\"'*|~+"  # where a link ends with them, they are the sentence's or its markup's
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"


# (?ai): without the a, other letters fold to ASCII ones where case is ignored, as the Kelvin sign does to k.
_OURS = r"(?ai:(?:[a-z0-9-]+\.)*(?:tiktok\.com|tiktokv\.(?:com|us|eu)|douyin\.com|iesdouyin\.com|amemv\.com)\.?)"
_BARE = rf"{_OURS}(?::[0-9]+)?(?=/)"  # without a scheme, only our hosts, and only with a path, make a link
_HTTP = r"(?ai:https?)://"
_ON = rf"(?!{_HTTP}|[,;|]{_BARE})"  # no other link begins here
_START = (
    rf"(?:{_HTTP}(?={_ON}[^{_STOP}!-/:-@\[-`{{-~])"
    # Not the tail of another name, address or link; but Chinese text may stand right before it.
    rf"|(?<![^\W{_CJK}])(?<![.@/\\%=&?#$^~\uff20\uff0d\u2010\u2011-])(?<!(?ai:script:))(?<!(?ai:file:))(?<!(?ai:data:)){_BARE})"
)
_LINK = re.compile(
    rf"(?P<link>{_START}(?:{_ON}[^{_STOP}/?#])*+(?P<rest>[/?#](?:{_ON}[^{_STOP}\\])*+)?)"
    # What is glued to a bare host is the rest of its name, and no link of its own: https://evil＿douyin.com/…
    rf"(?(rest)|(?:[^\s!-~](?:{_ON}\S)*+)?)"
)
_SHORT_LINK = re.compile(rf"(?:{_HTTP})?(?ai:v\.douyin|v[mt]\.tiktok|(?:www\.)?tiktok(?=\.com/t/))\.com/[!-~]*")


_OUR_LINK = re.compile(
    rf"(?:(?P<plain>(?ai:http)://)|(?:(?ai:https)://)?)(?P<host>{_OURS})(?::(?(plain)80|443))?"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?"
)
_ID = r"(?P<id>[0-9]{5,25})(?![\w-]|%3[0-9])"
_IN_PATH: dict[Platform, re.Pattern[str]] = {
    "tiktok": re.compile(
        rf"(?ai)/(?:(?:(?:@|%40)(?P<user>[^/]*)|(?:i18n/)?share)/(?P<kind>video|photo)|embed(?:/v2)?|player/v1|v)/{_ID}"
    ),
    "douyin": re.compile(rf"(?ai)/(?:share/|m/)?(?P<kind>video|note|slides)/{_ID}"),
}
_IN_QUERY = tuple(  # the post that is open on a Douyin page, the most telling name first; `&amp;` is an `&` too
    re.compile(rf"(?a)[?&;]{name}={_ID}") for name in ("modal_id", "vid", "aweme_id", "item_id")
)
_SHORT = re.compile(
    r"(?a)(?:(?:[a-z0-9-]+\.)*tiktok\.com/t|(?P<site>v\.douyin\.com|v[mt]\.tiktok\.com))/(?P<code>[\w-]{1,64})(?![\w-])"
)
_USER = re.compile(r"(?a)[\w.-]{1,30}")
# Any address, as far as it shows its host: a name with a dot in it. What has none may be the user's name or the
# password, where that holds a slash as it is.
_ADDRESS = re.compile(
    r"(?:[^/?#]*@)?(?P<host>[\w-]+(?:\.[\w-]+)+\.?)(?P<port>:[0-9]{0,5})?(?P<rest>[/?#].*)?", re.DOTALL
)
_PAGES = {  # what else is pasted, by host and path; the first that fits
    r"^(?:live|webcast)\.|/(?:live|webcast)(?:/|$)": "a live room",
    r"/music(?:/|$)": "a piece of music",
    r"/(?:tag|hashtag|challenge)(?:/|$)": "a tag",
    r"/(?:playlist|mix|mixdetail|collection)(?:/|$)": "a playlist, mix or collection",
    r"/(?:@|%40)[^/]*/?$|/user(?:/|$)": "a profile",
    r"": "a page that names no post",
}


@dataclass(frozen=True, slots=True)
class Link:
    """The address of one post, as far as it tells.

    Attributes:
        given: The link as it stood in the text; usable again as input.
        platform: Whose post it is.
        url: What TikHub is asked for: canonical, https, without query and fragment.
        post_id: The post's id; None for a short link, until it is answered.
    """

    given: str
    platform: Platform
    url: str
    post_id: str | None

    @property
    def key(self) -> str:
        """What links to the same post have in common, as far as they tell: `tiktok:ID`, or the short link."""
        return f"{self.platform}:{self.post_id}" if self.post_id else self.url


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text.

    Attributes:
        links: Every link, in order, with the number of its line, as it stood.
        without: The numbers of the lines that hold none; nothing else of them may go anywhere.
    """

    links: list[tuple[int, str]]
    without: list[int]


def find(text: str) -> list[str]:
    """Every http(s) link in a text, and every link to our hosts without a scheme: in order, as they stood."""
    return [_trimmed(match["link"]) for match in _LINK.finditer(text)]


def parse(url: str) -> Link:
    """Understand one link, with or without a scheme.

    Raises:
        UnsupportedLink: It does not lead to one post; the message says what it is instead.
    """
    text = url.strip()
    match = _LINK.match(text) if _is_plain(text) else None
    if match is None:
        raise UnsupportedLink(_NO_LINK)
    given = _trimmed(match["link"])
    parts = _OUR_LINK.fullmatch(given)
    if parts is None:
        raise UnsupportedLink(
            f"This link leads to {_host(given) or 'another site'}. Only links to posts on tiktok.com and douyin.com "
            "can be used, without a user name or a port in them."
        )
    host, path, query = parts["host"].lower().rstrip("."), parts["path"] or "", parts["query"] or ""
    platform = _platform(host)
    canonical = _canonical(platform, host, path, query)
    if canonical is None:
        page = next(name for pattern, name in _PAGES.items() if re.search(pattern, host + path))
        raise UnsupportedLink(f"This link leads to {page}. Open one video, and give the link its share button copies.")
    return Link(given, platform, *canonical)


def platform_in(text: str) -> Platform | None:
    """Whose the first link to one of our hosts in a text is; None where there is none."""
    found = filter(None, map(_OUR_LINK.fullmatch, find(text)))
    return next((_platform(parts["host"].lower().rstrip(".")) for parts in found), None)


def one(text: str) -> Link:
    """The one post that a text links to, be it a bare link or a whole share text.

    Several links to the same post are one, and links to anything else do not count beside a post.

    Raises:
        InvalidInput: It links to different posts; the message names them.
        UnsupportedLink: It links to none; the message says what it links to instead.
    """
    found = find(text)
    posts: dict[str, Link] = {}
    for link in found:
        with suppress(UnsupportedLink):
            post = parse(link)
            posts.setdefault(post.key, post)
    if len(posts) > 1:
        named = ", ".join(post.url for post in list(posts.values())[:MOST_CHOICES])
        more = f" and {len(posts) - MOST_CHOICES} more" if len(posts) > MOST_CHOICES else ""
        raise InvalidInput(f"This links to {len(posts)} different posts: {named}{more}. Give one, or all to the batch.")
    if posts:
        return next(iter(posts.values()))
    # None can be used: parse says why, of the first that is at least on our hosts.
    return parse(next(filter(_OUR_LINK.fullmatch, found), found[0] if found else text))


def entries(text: str, *, comments: bool = True) -> Lines:
    """What a list of links holds, line by line; blank lines count for nothing.

    Args:
        text: The list.
        comments: Whether a line that starts with # is skipped; in a share text such a line may begin with a hashtag.
    """
    found, without = list[tuple[int, str]](), list[int]()
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        is_comment = line.lstrip().startswith("#")
        here = [] if is_comment and comments else find(line)
        found += [(number, link) for link in here]
        if not here and not is_comment and clean(line):
            without.append(number)
    return Lines(found, without)


def shown(link: str) -> str:
    """A link that stood among other people's text, fit for a reply.

    Of any but our sites' only scheme and host; of theirs what comes before the next cell of a table.
    """
    if _OUR_LINK.fullmatch(link):
        return _same_post(re.split("[,;|]", link, maxsplit=1)[0], link)
    scheme = re.match(_HTTP, link)
    host = _host(link).partition(":")[0]
    return f"{scheme[0].lower() if scheme else ''}{host}{'/' if host else ''}…"


def _same_post(shorter: str, link: str) -> str:
    """The shorter link, or the whole one where only that leads to its post."""
    try:
        key = parse(link).key
    except UnsupportedLink:
        return shorter
    with suppress(UnsupportedLink):
        return shorter if parse(shorter).key == key else link
    return link


def _is_plain(text: str) -> bool:
    """Whether a text can be one link: not too long, nothing blank or invisible inside, and no backslash."""
    return len(text) <= LONGEST_LINK and not set(" \\") & set(text) and clean(text, LONGEST_LINK) == text


def _trimmed(link: str) -> str:
    """A link without what merely stands behind it; no letter but ASCII belongs to a short one."""
    short = _SHORT_LINK.match(link)
    return (short[0] if short else link).rstrip(_CLOSING)


def _host(link: str) -> str:
    """The host of any link, and its port; empty where a part of a password may stand in its place."""
    address = _ADDRESS.fullmatch(re.sub(f"^{_HTTP}", "", link))
    if address is None or (address["port"] and "@" in (address["rest"] or "")):
        return ""
    return clean(address["host"], 100) + (address["port"] or "")


def _platform(host: str) -> Platform:
    return "tiktok" if host.split(".")[-2].startswith("tiktok") else "douyin"


def _canonical(platform: Platform, host: str, path: str, query: str) -> tuple[str, str | None] | None:
    """What to ask TikHub for, and the post's id where the link shows it; None for what names no post."""
    found = _IN_PATH[platform].match(path)
    if found is None and platform == "douyin" and not host.startswith(("live.", "webcast.")):
        found = next(filter(None, (pattern.search(query) for pattern in _IN_QUERY)), None)
    if found is None:
        short = _SHORT.match(host + path)
        return (f"https://{short['site'] or 'www.tiktok.com/t'}/{short['code']}/", None) if short else None
    parts = found.groupdict(default="")
    kind, user = parts.get("kind", "").lower() or "video", parts.get("user", "")
    site = "www.douyin.com" if platform == "douyin" else f"www.tiktok.com/@{user if _USER.fullmatch(user) else ''}"
    return f"https://{site}/{kind}/{parts['id']}", parts["id"]


def named(link: Link) -> str:
    """What messages call the post that a link leads to."""
    return f"post {link.post_id}" if link.post_id else f"the post behind {link.url}"
