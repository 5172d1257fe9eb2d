"""One link → the post it leads to. Pure: nothing is looked up, nothing is paid.

Whose link it is, is told by its whole host or its app's scheme; which post or short link it names, by the tables below.
"""

import re
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from urllib.parse import unquote

from tikhub_mcp.errors import UnsupportedLink
from tikhub_mcp.posts.finding import (
    APP_SCHEMES,
    DOMAINS,
    OUR_HOST,
    SCHEME,
    SHORT_LINKS,
    decode_delimiters,
    find,
    unescape,
)
from tikhub_mcp.text import clean

Platform = Literal["tiktok", "douyin"]

MAX_LINK_LENGTH = 2000  # characters; with all its tracking parameters a real one has about 600

# The forms of links. Another form is another line in one of these tables.
_PATHS: dict[Platform, tuple[str, ...]] = {  # how the path of a post begins, upper or lower case
    "tiktok": (
        "/@{user}/{kind}/{id}",
        "/{kind}/{id}",
        "/share/{kind}/{id}",
        "/i18n/share/{kind}/{id}",
        "/embed/(?:v[0-9]/)?{id}",
        "/player/v[0-9]/{id}",
        "/v/{id}",
        "/aweme/detail/{id}",
    ),
    "douyin": ("/{kind}/{id}", "/share/{kind}/{id}", "/m/{kind}/{id}", "/aweme/detail/{id}"),
}
# What a path calls a post, and the kind of which TikHub is asked: it knows no stories, items and slides.
_KINDS: dict[Platform, dict[str, str]] = {
    "tiktok": {"video": "video", "photo": "photo", "story": "video", "item": "video"},
    "douyin": {"video": "video", "note": "note", "slides": "note"},
}
# The parameters of the query that hold the id of the post that is open on a page, the most telling first.
_PARAMETERS: dict[Platform, tuple[str, ...]] = {
    "tiktok": ("item_id", "aweme_id"),
    "douyin": ("modal_id", "vid", "aweme_id", "item_id"),
}
_LIVE_HOSTS = ("live.", "webcast.")
_PAGES = {  # what else is pasted, by a folder of its path; the first that fits
    ("live", "webcast"): "a live room",
    ("music",): "a piece of music",
    ("tag", "hashtag", "challenge"): "a tag",
    ("playlist", "mix", "mixdetail", "collection"): "a playlist, mix or collection",
    ("article",): "an article",
    ("lvdetail",): "a film or series",
    ("user",): "a profile",
}

# Compiled once. (?ai): without the a, other letters fold to ASCII ones where case is ignored, as the Kelvin sign to k.
_POST_ID = "[0-9]{5,25}"
_ID = rf"(?P<id>{_POST_ID})(?![\w-]|%3[0-9])"
_FIELDS = {"user": "(?P<user>[^/]*)", "id": _ID}
_IN_PATH = {
    site: [re.compile("(?ai)" + path.format(kind=f"(?P<kind>{'|'.join(_KINDS[site])})", **_FIELDS)) for path in paths]
    for site, paths in _PATHS.items()
}
# `&amp;` is an `&` too, hence the semicolon.
_IN_QUERY = {site: [re.compile(rf"(?a)[?&;]{name}={_ID}") for name in names] for site, names in _PARAMETERS.items()}
_REDIRECT = re.compile(r"[?&;]redirect_url=([^&#]+)")  # of a page that asks for a login before it shows the post
_APPS = {f"{scheme}://": platform for platform, schemes in APP_SCHEMES.items() for scheme in schemes}
_CODE = re.compile(r"(?a)[\w-]{1,64}(?![\w-])")
_USER = re.compile(r"(?a)[\w.-]{1,30}")
_TAIL = re.compile(r"[,;|]|[^\x00-\x7f]")
_HOST_AND_PORT = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)+\.?)(?P<port>:[0-9]{0,5})?")
# The words of a text that has no link, because only the app finds the post by the text's code.
_PASS_PHRASE = re.compile(r"(?ai)(?:复制|打开|長按|长按)[^\n]{0,30}?(?:抖音|dou音)")


@dataclass(frozen=True, slots=True)
class Link:
    """The address of one post, as far as it tells.

    Attributes:
        given: The link as it stood in the text, without escapes; usable again as input.
        platform: Whose post it is.
        url: What TikHub is asked for: canonical, https, without query and fragment.
        post_id: The post's id; None for a short link, until it is answered.
        key: The same for links to the same post, as far as they tell: `tiktok:ID`, or the short link.
    """

    given: str
    platform: Platform
    url: str
    post_id: str | None
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = f"{self.platform}:{self.post_id}" if self.post_id else self.url
        object.__setattr__(self, "key", key)  # the class is frozen


class _Address(NamedTuple):
    """A link to one of our hosts or apps, split into its parts."""

    platform: Platform
    host: str  # in lower case, without a final dot; empty in an app's link
    path: str
    query: str  # with its question mark


def parse_link(url: str) -> Link:
    """Understand one link, with or without a scheme.

    Raises:
        UnsupportedLink: It does not lead to one post; the message says what it is instead.
    """
    text = unescape(url.strip())
    # What is too long, or holds anything blank, invisible or a backslash, is no single link.
    is_plain = len(text) <= MAX_LINK_LENGTH and not set(" \\") & set(text) and clean(text, MAX_LINK_LENGTH) == text
    given = next(iter(find(text)), "") if is_plain else ""
    if not given or not text.startswith(given):
        raise UnsupportedLink(_no_link(text))
    address = _address(given)
    if address is None:
        raise UnsupportedLink(
            f"This link leads to {_shown_host(given) or 'another site'}. Only links to posts on tiktok.com and "
            "douyin.com can be used, without a user name or a port in them."
        )
    link = _link_at(given, address)
    if link is None:
        page = _page(address)
        raise UnsupportedLink(f"This link leads to {page}. Open one video, and give the link its share button copies.")
    return link


def post_at(link: str) -> Link | None:
    """The post to which a link leads that was found in a text; None where `parse_link` would raise an error."""
    address = _address(link) if len(link) <= MAX_LINK_LENGTH else None
    return _link_at(link, address) if address else None


def platform_in(text: str) -> Platform | None:
    """Whose the first link to one of our hosts in a text is; None where there is none."""
    return next((address.platform for address in map(_address, find(text)) if address), None)


def shown(link: str) -> str:
    """A link that stood among other people's text, fit for a reply.

    Of any but our sites' only scheme and host. Of theirs as much as leads to the post, and where none does, what comes
    before a separator or a character outside ASCII: the next cell of a table, or words that are glued to the link.
    """
    if _address(link):
        return _without_tail(link)
    host = _shown_host(link).partition(":")[0]
    return f"{_split(link)[0]}{host}{'/' if host else ''}…"


def canonical(platform: Platform, post_id: str, kind: str, user: str = "") -> str:
    """The address of a post, without anything that is not needed; a user's name that is none is left out."""
    name = user if _USER.fullmatch(user) else ""
    site = "www.douyin.com" if platform == "douyin" else f"www.tiktok.com/@{name}"
    return f"https://{site}/{kind}/{post_id}"


def is_post_id(text: str) -> bool:
    """Whether a text has the form of a post's id."""
    return re.fullmatch(_POST_ID, text) is not None


def named(link: Link) -> str:
    """What messages call the post that a link leads to."""
    return f"post {link.post_id}" if link.post_id else f"the post behind {link.url}"


def _no_link(text: str) -> str:
    if _PASS_PHRASE.search(text[:MAX_LINK_LENGTH]):
        return (
            "There is no link in this, and only the app opens this text. Open the post in the app, share it as a link "
            "(复制链接), and give that link."
        )
    return (
        "There is no link to a post in this. Give the address of one TikTok or Douyin video, such as "
        "https://www.tiktok.com/@USER/video/ID or https://v.douyin.com/CODE/."
    )


def _without_tail(link: str) -> str:
    """The link up to the first character that may begin a tail and behind which nothing is needed for its post."""
    ends = [match.start() for match in _TAIL.finditer(link)]
    post = post_at(link)

    def leads_to_post(end: int) -> bool:
        shorter = post_at(link[:end])
        return post is None or (shorter is not None and shorter.key == post.key)

    # The search by halves keeps a link of 2,000 separators from being parsed as many times.
    first = bisect_left(ends, True, key=leads_to_post)
    return link[: ends[first]] if first < len(ends) else link


def _split(link: str) -> tuple[str, str, str]:
    """The scheme of a link in lower case, its authority, and the rest.

    Not urlsplit: it raises an error for brackets, and drops tabs and line ends.
    """
    start = scheme.end() if (scheme := SCHEME.match(link)) else 0
    authority = re.split("[/?#]", link[start:], maxsplit=1)[0]
    return link[:start].lower(), authority, link[start + len(authority) :]


def _address(link: str) -> _Address | None:
    """A link split into its parts; None where its host is not ours, or has a user name or an unusual port."""
    scheme, authority, rest = _split(link)
    if app := _APPS.get(scheme):
        return _Address(app, "", *_path_and_query(f"/{authority}{rest}"))
    host = authority.removesuffix(":80" if scheme == "http://" else ":443")
    if not OUR_HOST.fullmatch(host):
        return None
    host = host.lower().rstrip(".")
    platform = next(platform for platform, domains in DOMAINS.items() if host.endswith(domains))
    return _Address(platform, host, *_path_and_query(rest))


def _path_and_query(rest: str) -> tuple[str, str]:
    path, mark, query = rest.partition("#")[0].partition("?")
    if "%" in path:
        path, mark, query = (decode_delimiters(path) + mark + query).partition("?")
    return path, mark + query


def _link_at(given: str, address: _Address) -> Link | None:
    return _post(given, address) or _short_link(given, address) or _redirected(given, address)


def _post(given: str, address: _Address) -> Link | None:
    """The post whose id stands in the path or, with less weight, in the query."""
    platform = address.platform
    matches = (pattern.match(address.path) for pattern in _IN_PATH[platform])
    match = next(filter(None, matches), None)
    if match is None and not address.host.startswith(_LIVE_HOSTS):
        matches = (pattern.search(address.query) for pattern in _IN_QUERY[platform])
        match = next(filter(None, matches), None)
    if match is None:
        return None
    parts = match.groupdict(default="")
    kind = _KINDS[platform][parts.get("kind", "").lower() or "video"]
    return Link(given, platform, canonical(platform, parts["id"], kind, parts.get("user", "")), parts["id"])


def _short_link(given: str, address: _Address) -> Link | None:
    """The short link that an address is; /t/ makes one on any subdomain of tiktok.com."""
    addresses = [address.host + address.path]
    if f".{address.host}".endswith(".tiktok.com"):
        addresses.insert(0, f"www.tiktok.com{address.path}")
    for text in addresses:
        for start in SHORT_LINKS:
            if text.startswith(start) and (code := _CODE.match(text, len(start))):
                return Link(given, address.platform, f"https://{start}{code[0]}/", None)
    return None


def _redirected(given: str, address: _Address) -> Link | None:
    """The post to which a page leads after the login that it asks for."""
    if target := _REDIRECT.search(address.query):
        with suppress(UnsupportedLink):
            return replace(parse_link(unquote(target[1])), given=given)
    return None


def _page(address: _Address) -> str:
    """What an address that names no post leads to instead."""
    if address.host.startswith(_LIVE_HOSTS):
        return "a live room"
    folders = set(address.path.split("/"))
    for names, page in _PAGES.items():
        if not folders.isdisjoint(names):
            return page
    is_profile = address.path.removesuffix("/").rpartition("/")[2].startswith("@")
    return "a profile" if is_profile else "a page that names no post"


def _shown_host(link: str) -> str:
    """The host of any link, and its port; empty where a part of a password may stand in its place.

    Only a name with a dot is a host: any other may be the user's name, where the password holds a slash as it is.
    """
    _, authority, rest = _split(link)
    match = _HOST_AND_PORT.fullmatch(authority.rpartition("@")[2])
    if match is None or (match["port"] and "@" in rest):
        return ""
    return clean(match["host"], 100) + (match["port"] or "")
